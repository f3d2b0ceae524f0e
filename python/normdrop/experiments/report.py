"""The demo's page: one file without any reference to another, light or dark as the reader's."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from html import escape
from importlib import resources
from typing import Any

from normdrop.experiments.sigmoid_depth import VARIANTS

Pictures = Mapping[str, Mapping[str, bytes]]  # name -> theme -> PNG
Content = Mapping[str, Any]


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
        _benchmark_section(content["benchmark"]),
        _settings_section(content),
    )
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        f"<title>normdrop demo</title>\n<style>\n{style}</style>\n</head>\n<body>\n<main>\n"
        + "\n".join(sections)
        + "\n</main>\n</body>\n</html>\n"
    )


def percent(share: float) -> str:
    """Write 0.9735 as 97.4 %."""
    return f"{100 * share:.1f} %"


def _introduction(content: Content) -> str:
    deepest = max(content["settings"]["depths"])
    plain = _summary(content, deepest, "nothing")["median"]
    normed = _summary(content, deepest, "batch norm")["median"]
    cards = "".join(
        f'<div class="card {kind}"><strong>{value}</strong><span>{escape(text)}</span></div>'
        for kind, value, text in (
            ("bad", percent(plain), f"{deepest} sigmoid layers, nothing"),
            ("good", percent(normed), f"{deepest} sigmoid layers, batch norm"),
            ("", percent(1 / content["settings"]["classes"]), "guessing"),
        )
    )
    return (
        "<h1>Can a deep sigmoid network learn?</h1>\n"
        f'<p class="lead">{_verdict(plain, normed, content)}</p>\n'
        f'<div class="numbers">{cards}</div>'
    )


def _verdict(plain: float, normed: float, content: Content) -> str:
    """State the paper's claim, or plainly that this run does not show it."""
    settings = content["settings"]
    deepest = max(settings["depths"])
    data = f"{escape(settings['dataset'])}, {settings['steps']} steps"
    seeds = _count(len(settings["seeds"]), "seed")
    if plain < 2 / settings["classes"] and normed > 0.9:
        return (
            f"With {deepest} hidden layers of {settings['width']} units: not without batch norm, "
            f"and well with it. ({data}; test accuracy, median over {seeds}.)"
        )
    return (
        f"With {deepest} hidden layers, {percent(plain)} of the test images are recognised without "
        f"batch norm and {percent(normed)} with it. This run, with these settings, does not show "
        f"the clear separation that the paper reports. ({data}.)"
    )


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _accuracy_section(content: Content, pictures: Pictures) -> str:
    depths = content["settings"]["depths"]
    figures = "".join(
        _figure(pictures[f"accuracy-{depth}"], f"Test accuracy, {depth} hidden layers")
        for depth in depths
    )
    head = "".join(f"<th>{depth} layers</th>" for depth in depths)
    rows = "".join(
        f"<tr><td>{escape(variant.label)}</td>"
        + "".join(_accuracy_cell(_summary(content, depth, variant.label)) for depth in depths)
        + "</tr>"
        for variant in VARIANTS
    )
    return (
        "<h2>Test accuracy</h2>\n<p>Lines are medians over the seeds, bands reach from the worst "
        "to the best. Networks of one seed start from equal weights and see the same images.</p>\n"
        f'<div class="grid">{figures}</div>\n'
        "<h2>After the last step</h2>\n"
        '<div class="scroll"><table>'
        f"<tr><th>around each sigmoid</th>{head}</tr>{rows}</table></div>\n"
        '<p class="note">Median over the seeds on all test images, and lowest to highest.</p>'
    )


def _accuracy_cell(summary: Mapping[str, Any]) -> str:
    spread = f"{100 * summary['lowest']:.1f} to {100 * summary['highest']:.1f}"
    return f"<td>{percent(summary['median'])}<br><small>{spread}</small></td>"


def _percentile_section(content: Content, pictures: Pictures) -> str:
    figures = "".join(
        _figure(
            pictures[f"percentiles-{depth}"],
            f"15th, 50th and 85th percentile of a deep pre-activation, {depth} hidden layers",
        )
        for depth in content["settings"]["depths"]
    )
    return (
        "<h2>What the last sigmoid sees</h2>\n"
        "<p>The 15th, 50th and 85th percentile, over test images, of the first input to the last "
        "hidden sigmoid, for the first seed. Where the three fall together, the network sends "
        "all images on as one and the same; where they keep their distance, the sigmoid has "
        "something to tell apart. Step 0 comes before any batch has been seen.</p>\n"
        f'<div class="grid">{figures}</div>'
    )


def _benchmark_section(benchmark: Mapping[str, Any]) -> str:
    title = "<h2>How fast the kernels are here</h2>\n"
    if "rows" not in benchmark:
        return f"{title}<p>Not measured: {escape(benchmark['missing'])}</p>"
    peers = [
        name
        for name in benchmark["rows"][0]["peers"]
        if any(row["peers"][name]["ratio"] is not None for row in benchmark["rows"])
    ]
    head = "".join(f"<th>{escape(name)}</th>" for name in peers)
    rows = "".join(_benchmark_row(row, peers) for row in benchmark["rows"])
    absent = "; ".join(f"{name}: {why}" for name, why in benchmark["unavailable"].items())
    skipped = "; ".join(f"{name}: {why}" for name, why in benchmark["skipped"].items())
    left_out = "".join(
        f'\n<p class="note">{label}: {escape(text)}.</p>'
        for label, text in (("Not compared", absent), ("Not measured", skipped))
        if text
    )
    return (
        f"{title}<p>Each library's time over ours: above 1, ours is faster. "
        f"Everyone uses {_count(benchmark['settings']['threads'], 'thread')}; float32, "
        "every result in fresh memory, medians of runs taken in turns.</p>\n"
        '<div class="scroll"><table><tr><th>case</th><th>normdrop</th>'
        f"{head}</tr>{rows}</table></div>{left_out}"
    )


def _benchmark_row(row: Mapping[str, Any], peers: Sequence[str]) -> str:
    name = f"{row['op'].replace('_', ' ')} {row['direction']}"
    shape = " × ".join(f"{size:,}" for size in row["shape"])
    if row["layout"] in ("nchw", "nhwc"):
        shape += f" {row['layout'].upper()}"
    cells = "".join(_ratio_cell(row["peers"][peer]) for peer in peers)
    return (
        f"<tr><td>{escape(name)}<br><small>{escape(shape)}</small></td>"
        f"<td>{_time(row['ours_ms'])}</td>{cells}</tr>"
    )


def _ratio_cell(cell: Mapping[str, Any]) -> str:
    ratio = cell["ratio"]
    if ratio is None:
        return "<td>–</td>"
    digits = 2 if ratio < 10 else 0
    kind = ' class="loss"' if ratio < 1 else ""
    return f"<td{kind}>{ratio:.{digits}f}×<br><small>{_time(cell['ms'])}</small></td>"


def _time(milliseconds: float) -> str:
    if milliseconds < 0.1:
        return f"{1e3 * milliseconds:.1f} µs"
    return f"{milliseconds:.3g} ms"


def _settings_section(content: Content) -> str:
    settings, timing = content["settings"], content["timing"]
    machine = content["machine"]
    versions = content["versions"] | {
        name: version
        for name, version in content["benchmark"].get("versions", {}).items()
        if name not in (*content["versions"], "python")
    }
    facts = {
        "images": f"{settings['dataset']}: {settings['train_images']} for training, "
        f"{settings['test_images']} for the test, values from 0 to 1",
        "split": settings["split"],
        "network": f"{' and '.join(map(str, settings['depths']))} hidden layers of "
        f"{settings['width']} sigmoid units, softmax with cross-entropy; linear, norm, sigmoid, "
        "dropout in this order; float32",
        "initialisation": f"weights normal with standard deviation {settings['weight_scale']}, "
        "biases 0; norms start as weight 1 and bias 0",
        "training": f"{settings['steps']} steps of SGD, batch {settings['batch_size']}, "
        f"learning rate {settings['learning_rate']}, momentum {settings['momentum']}, the same "
        "for all networks; chosen by hand while looking at test accuracy, without a "
        "validation split",
        "dropout": f"a unit is dropped with probability {settings['dropout']}, after its sigmoid",
        "batch norm": "running averages, weight of the new batch 0.1, are used for the test",
        "seeds": ", ".join(map(str, settings["seeds"])),
        "curves": f"up to {settings['curve_images']} test images; the table uses all",
        "threads": settings["threads"],
        "time": f"{timing['training_seconds']:.0f} s of training, "
        f"{timing['benchmark_seconds']:.0f} s of benchmark",
        "machine": f"{machine['cpu']}, {_count(machine['processors'], 'processor')}, "
        f"{machine['system']} {machine['kernel']}, kernels: {content['backend']}",
        "versions": ", ".join(f"{name} {version}" for name, version in versions.items()),
    }
    items = "".join(f"<dt>{escape(k)}</dt><dd>{escape(str(v))}</dd>" for k, v in facts.items())
    return (
        f'<h2>What was run</h2>\n<dl class="card">{items}</dl>\n'
        '<p class="note">After section 4.1 of Ioffe and Szegedy, Batch Normalization (2015), '
        "at a smaller size. The same seed gives the same numbers on the same machine with the "
        "same versions; all of them are in results.json beside this page.</p>"
    )


def _summary(content: Content, depth: int, variant: str) -> Mapping[str, Any]:
    found: Mapping[str, Any] = next(
        row
        for row in content["results"]["summary"]
        if (row["depth"], row["variant"]) == (depth, variant)
    )
    return found


def _figure(themes: Mapping[str, bytes], description: str) -> str:
    light, dark = (
        "data:image/png;base64," + base64.b64encode(themes[name]).decode()
        for name in ("light", "dark")
    )
    return (
        f'<figure><picture><source media="(prefers-color-scheme: dark)" srcset="{dark}">'
        f'<img src="{light}" alt="{escape(description)}"></picture></figure>'
    )
