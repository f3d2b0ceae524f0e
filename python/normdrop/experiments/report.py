"""The demo's page: one file without any reference to another, light or dark as the reader's."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from importlib import resources
from typing import Any

from normdrop.experiments.output_folder import SIGNATURES
from normdrop.experiments.report_facts import benchmark_section, settings_section
from normdrop.experiments.report_layers import layers_section
from normdrop.experiments.report_parts import Content, Pictures, figure, scroll_table, summary_of
from normdrop.experiments.sigmoid_depth import VARIANTS
from normdrop.experiments.wording import counted, has_learnt, is_guessing, percent, spread

WELL = 0.9  # an accuracy above this counts as learning well


def render_page(content: Content, pictures: Pictures) -> str:
    """Render the page.

    Parameters
    ----------
    content : mapping
        What goes into ``results.json``.
    pictures : mapping of str to mapping of str to bytes
        PNGs by name, then by theme (``'light'``, ``'dark'``).
    """
    style = resources.files("normdrop.experiments").joinpath("report.css").read_text()
    sections = (
        _introduction(content),
        _accuracy_section(content, pictures),
        _percentile_section(content, pictures),
        layers_section(content, pictures),
        benchmark_section(content["benchmark"]),
        settings_section(content),
    )
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f"{SIGNATURES['.html']}\n"
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        f"<title>normdrop demo</title>\n<style>\n{style}</style>\n</head>\n<body>\n<main>\n"
        + "\n".join(sections)
        + "\n</main>\n</body>\n</html>\n"
    )


def _introduction(content: Content) -> str:
    deepest, classes = max(content["settings"]["depths"]), content["settings"]["classes"]
    layers = f"{deepest} sigmoid layers"
    plain, larger, normed = (
        summary_of(content, deepest, variant)["median"]
        for variant in ("nothing", "nothing, larger weights", "batch norm")
    )
    cards = "".join(
        f'<div class="card {kind}"><strong>{percent(value)}</strong>'
        f"<span>{escape(text)}</span></div>"
        for kind, value, text in (
            ("bad" if is_guessing(plain, classes) else "", plain, f"{layers}, nothing"),
            ("good" if has_learnt(normed, classes) else "", normed, f"{layers}, batch norm"),
            ("", larger, f"{layers}, nothing, larger weights"),
            ("", 1 / classes, "guessing"),
        )
    )
    return (
        "<h1>Can a deep sigmoid network learn?</h1>\n"
        f'<p class="lead">{_verdict(plain, larger, normed, content)}</p>\n'
        f'<div class="numbers">{cards}</div>'
    )


def _verdict(plain: float, larger: float, normed: float, content: Content) -> str:
    """State the paper's claim with its condition, or plainly that this run does not show it."""
    settings = content["settings"]
    start = (
        f"With {max(settings['depths'])} hidden layers of {settings['width']} units, from this "
        f"initialisation (weights of standard deviation {settings['weight_scale']})"
    )
    scale = settings["larger_weight_scales"][-1]
    control = f"with larger weights (standard deviation {scale:.2f}) and nothing else"
    data = (
        f"({escape(settings['dataset'])}, {settings['steps']} steps; test accuracy, "
        f"median over {counted(len(settings['seeds']), 'seed')}.)"
    )
    classes = settings["classes"]
    if not (is_guessing(plain, classes) and has_learnt(normed, classes)):
        return (
            f"{start}, {percent(plain)} of the test images are recognised without batch norm and "
            f"{percent(normed)} with it; {control}, {percent(larger)}. This run, with these "
            f"settings, does not show the clear separation that the paper reports. {data}"
        )
    well = "well " if normed > WELL else ""
    said = f"{start}: not with nothing around the sigmoids, and {well}with batch norm."
    if has_learnt(larger, classes):
        said += f" The depth alone is not to blame: {control}, it learns too."
    else:
        said += f" {control.capitalize()} it reaches {percent(larger)}."
    return f"{said} {data}"


def _accuracy_section(content: Content, pictures: Pictures) -> str:
    depths = content["settings"]["depths"]
    figures = "".join(
        figure(pictures[f"accuracy-{depth}"], f"Test accuracy, {depth} hidden layers")
        for depth in depths
    )
    head = "".join(f"<th>{depth} layers</th>" for depth in depths)
    rows = "".join(
        f"<tr><td>{escape(variant.label)}</td>"
        + "".join(_accuracy_cell(summary_of(content, depth, variant.label)) for depth in depths)
        + "</tr>"
        for variant in VARIANTS
    )
    test_images = content["settings"]["test_images"]
    extremes = any(row["standard_error"] == 0.0 for row in content["results"]["summary"])
    beyond = " Where all or none are right, this formula gives 0, which is too little."
    return (
        "<h2>Test accuracy</h2>\n<p>Lines are medians over the seeds, bands reach from the worst "
        "to the best. Networks of one seed start from equal weights, with “larger weights” from "
        "the same ones times a factor, and see the same images.</p>\n"
        f'<div class="grid">{figures}</div>\n'
        "<h2>After the last step</h2>\n"
        f"{scroll_table(f'<th>around each sigmoid</th>{head}', rows)}\n"
        '<p class="note">Median over the seeds on all test images, and below it lowest to '
        "highest where they differ. ± is the standard error √(p (1 − p) / n) of a share p of "
        f"n = {test_images} test images: about how far it would move with other "
        f"test images, whatever the seeds.{beyond if extremes else ''}</p>"
    )


def _accuracy_cell(summary: Mapping[str, Any]) -> str:
    middle = percent(summary["median"], summary["standard_error"])
    lowest, highest = summary["lowest"], summary["highest"]
    seeds = f"<br><small>{spread(lowest, highest)}</small>" if lowest < highest else ""
    return f"<td>{middle}{seeds}</td>"


def _percentile_section(content: Content, pictures: Pictures) -> str:
    figures = "".join(
        figure(
            pictures[f"percentiles-{depth}"],
            f"15th, 50th and 85th percentile of a deep pre-activation, {depth} hidden layers",
        )
        for depth in content["settings"]["depths"]
    )
    return (
        "<h2>What the last sigmoid sees</h2>\n"
        "<p>The 15th, 50th and 85th percentile, over test images, of the first input to the last "
        "hidden sigmoid, for the first seed. Where the three fall together, this input is nearly "
        "the same for most images; where they keep their distance, the sigmoid has "
        "something to tell apart. Step 0 comes before any batch has been seen.</p>\n"
        f'<div class="grid">{figures}</div>'
    )
