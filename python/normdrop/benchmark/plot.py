"""A picture of a report: ratios to the peers, and shares of the copy bandwidth."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

from normdrop.benchmark.report import format_seconds
from normdrop.benchmark.results import Report

_PEER_COLOURS = {
    "numpy": "#8c8c8c",
    "torch": "#d1495b",
    "torch_compile": "#edae49",
    "jax": "#00798c",
    "onnxruntime": "#5c4d9a",
    "cupy": "#5c4d9a",
}
_VARIANT_COLOURS = {"fresh": "#2e5eaa", "out": "#7fb069", "kept": "#c9ada7"}
_VARIANT_LABELS = {"fresh": "fresh outputs", "out": "out=", "kept": "results kept alive"}
_GROUP_HEIGHT = 0.8


def plot_format(path: Path) -> str:
    """Return what a file's ending asks for, ``png`` without one.

    Raises
    ------
    ValueError
        Where matplotlib cannot write it.
    ModuleNotFoundError
        Where matplotlib is not installed.
    """
    bases: Any = importlib.import_module("matplotlib.backend_bases")
    known = sorted(bases.FigureCanvasBase.get_supported_filetypes())
    wanted = path.suffix[1:].lower() or "png"
    if wanted not in known:
        raise ValueError(f"{path}: the ending must be one of {', '.join(known)}, got {wanted!r}")
    return wanted


def save_plot(report: Report, path: Path) -> None:
    """Draw a report into a PNG (or whatever the file's ending says).

    Parameters
    ----------
    report : Report
        At least one row.
    path : Path
        File to write.

    Raises
    ------
    ModuleNotFoundError
        Where matplotlib is not installed.
    """
    figure_module: Any = importlib.import_module("matplotlib.figure")
    peers = report.peer_names
    bars = max(len(peers), len(_VARIANT_LABELS), 1)
    height = 1.8 + len(report.rows) * (0.11 * bars + 0.12)
    figure = figure_module.Figure(figsize=(14, height), layout="constrained")
    ratio_axes, share_axes = figure.subplots(1, 2, sharey=True, width_ratios=(3, 2))
    _draw_ratios(ratio_axes, report, peers)
    _draw_shares(share_axes, report)
    labels = [f"{row.case}\n{format_seconds(row.variants['fresh'].median)}" for row in report.rows]
    ratio_axes.set_yticks(range(len(labels)), labels, fontsize=8)
    ratio_axes.set_ylim(len(labels) - 0.4, -0.6)
    figure.suptitle(_title(report), fontsize=11)
    figure.savefig(path, dpi=130, format=plot_format(path))


def _title(report: Report) -> str:
    """Tell where the times come from; a run on a GPU says so itself."""
    machine, settings = report.machine, report.settings
    place = settings.get("title") or f"{machine['cpu']}, {settings['threads']} threads"
    return f"{place}, {report.date[:10]}"


def _positions(row: int, bars: int) -> list[tuple[float, float]]:
    """Tell place and thickness of the bars of one case, from top to bottom."""
    thickness = _GROUP_HEIGHT / max(bars, 1)
    top = row - _GROUP_HEIGHT / 2
    return [(top + (bar + 0.5) * thickness, 0.92 * thickness) for bar in range(bars)]


def _draw_ratios(axes: Any, report: Report, peers: list[str]) -> None:
    labelled: set[str] = set()
    for index, row in enumerate(report.rows):
        timed = [name for name in peers if name in row.peers and row.peers[name].ratio is not None]
        for name, (place, thickness) in zip(timed, _positions(index, len(timed)), strict=True):
            cell = row.peers[name]
            assert cell.ratio is not None
            label = None if name in labelled else name
            labelled.add(name)
            # From 1 outwards: a bar to the left is a case that the peer wins.
            axes.barh(
                place, cell.ratio - 1, thickness, left=1, label=label, color=_PEER_COLOURS[name]
            )
            axes.annotate(
                f" {cell.ratio:.2g}" if cell.ratio < 100 else f" {cell.ratio:.0f}",
                (max(cell.ratio, 1), place),
                va="center",
                fontsize=6,
            )
    _scale_ratios(axes)
    axes.axvline(1, color="black", linewidth=1)
    axes.set_title("time of the peer over ours (right of 1: normdrop is faster)", fontsize=10)
    axes.margins(x=0.08)
    axes.grid(axis="x", which="both", alpha=0.25)
    if labelled:
        axes.legend(fontsize=8, loc="lower right")


def _scale_ratios(axes: Any) -> None:
    """Make the axis logarithmic, with plain numbers on it."""
    ticker: Any = importlib.import_module("matplotlib.ticker")
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_minor_locator(ticker.NullLocator())
    axes.xaxis.set_major_formatter(ticker.FormatStrFormatter("%g"))


def _draw_shares(axes: Any, report: Report) -> None:
    labelled: set[str] = set()
    for index, row in enumerate(report.rows):
        positions = _positions(index, len(_VARIANT_LABELS))
        for variant, (place, thickness) in zip(_VARIANT_LABELS, positions, strict=True):
            share = row.share_of_copy_of(variant)
            if share is None:
                continue
            label = None if variant in labelled else _VARIANT_LABELS[variant]
            labelled.add(variant)
            colour = _VARIANT_COLOURS[variant]
            axes.barh(place, 100 * share, thickness, color=colour, label=label)
    axes.axvline(100, color="black", linewidth=1)
    axes.set_xlim(left=0)
    axes.set_title("share of the copy bandwidth, %", fontsize=10)
    axes.tick_params(labelleft=False)
    axes.grid(axis="x", alpha=0.25)
    if labelled:
        axes.legend(fontsize=8, loc="lower right")
