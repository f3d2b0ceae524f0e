"""The pictures of the sigmoid experiment, for a light and for a dark page."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from normdrop.experiments.canvas import Theme, canvas, legend, name_line, png, title
from normdrop.experiments.sigmoid_depth import VARIANTS, Run
from normdrop.experiments.wording import percent

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Percentiles closer together than this get one label, or their labels would overlap.
SMALLEST_LABELLED_SPREAD = 0.8
MARKERS_PER_CURVE = 6
THIN = 2.0  # where no line covers another


class Style(NamedTuple):
    """How a line is told from the others without its colour."""

    dashes: Any
    marker: str
    width: float


# Curves at chance level lie on one another: "nothing", drawn first, is wide enough to show on both
# sides of the others, and the dashes and markers of these leave room for one another.
STYLES = {
    "nothing": Style("-", "", 6.0),
    "nothing, larger weights": Style("-", "D", 1.6),
    "batch norm": Style("-", "o", 2.0),
    "layer norm": Style((0, (6, 2)), "s", 2.0),
    "dropout": Style((0, (1.5, 1.5)), "^", 2.0),
    "batch norm + dropout": Style((0, (4, 1.5, 1, 1.5)), "v", 2.0),
}


def accuracy_figure(runs: Sequence[Run], depth: int, theme: Theme) -> bytes:
    """Draw test accuracy against the step: median over the seeds, a band from worst to best.

    Parameters
    ----------
    runs : sequence of Run
        All runs; those of other depths are passed over.
    depth : int
        Number of hidden layers.
    theme : Theme
        Colours.

    Returns
    -------
    bytes
        A PNG.
    """
    figure, (plot,) = canvas(theme, height=4.3, panels=1)
    for variant in VARIANTS:
        chosen = _chosen(runs, depth, variant.label)
        curves = 100.0 * np.array([run.accuracy for run in chosen])
        color, steps = theme.series[variant.label], chosen[0].steps
        plot.fill_between(steps, curves.min(0), curves.max(0), color=color, alpha=0.13, linewidth=0)
        _line(plot, steps, np.median(curves, axis=0), variant.label, theme)
    plot.set_ylim(0, 100)
    plot.set_xlim(0, max(runs[0].steps))
    plot.set_xlabel("training step", color=theme.muted)
    plot.set_ylabel("test accuracy (%)", color=theme.muted)
    plain, larger, normed = (
        percent(median_accuracy(runs, depth, name))
        for name in ("nothing", "nothing, larger weights", "batch norm")
    )
    said = f"with larger weights and nothing {larger}"
    title(plot, f"{depth} hidden layers: batch norm {normed}, nothing {plain}", theme, said)
    legend(figure, plot, theme)
    return png(figure)


def percentile_figure(without: Run, with_norm: Run, theme: Theme) -> bytes:
    """Draw one input to the last hidden sigmoid over time, without and with batch norm.

    Parameters
    ----------
    without, with_norm : Run
        Two runs of one depth and seed.
    theme : Theme
        Colours.

    Returns
    -------
    bytes
        A PNG.
    """
    figure, axes = canvas(theme, height=5.1, panels=2)
    names = ("without batch norm", "with batch norm")
    for plot, run, name in zip(axes, (without, with_norm), names, strict=True):
        low, middle, high = np.array(run.percentiles).T
        color = theme.series[run.variant]
        plot.fill_between(run.steps, low, high, color=color, alpha=0.22, linewidth=0)
        for values, width in ((low, 1.0), (middle, 2.2), (high, 1.0)):
            plot.plot(run.steps, values, color=color, linewidth=width)
        spread = high[-1] - low[-1]
        if spread > SMALLEST_LABELLED_SPREAD:
            for values, percentile in ((low, "15th"), (middle, "50th"), (high, "85th")):
                name_line(plot, run.steps[-1], values[-1], percentile, theme)
        else:
            name_line(plot, run.steps[-1], middle[-1], "all three", theme)
        moved = middle.max() - middle.min()
        said = f"median moves over {moved:.1f}; 15th to 85th spans {spread:.1f} at the end"
        title(plot, f"{run.depth} hidden layers {name}", theme, said)
        plot.set_xlim(0, run.steps[-1])
    axes[1].set_xlabel("training step", color=theme.muted)
    figure.supylabel("input of the last hidden sigmoid", color=theme.muted, fontsize=10)
    return png(figure)


def shares_figure(runs: Sequence[Run], depth: int, theme: Theme) -> bytes:
    """Draw, layer by layer, the share of the variance between images, before and after training.

    Parameters
    ----------
    runs, depth, theme
        As :func:`accuracy_figure` takes them.

    Returns
    -------
    bytes
        A PNG.
    """
    figure, axes = canvas(theme, height=5.6, panels=2)
    _layers(axes[0], runs, depth, theme, lambda run: run.shares_before)
    _layers(axes[1], runs, depth, theme, lambda run: run.shares_after)
    title(axes[0], "Variance between images: before the first step", theme)
    title(axes[1], f"After step {runs[0].steps[-1]}", theme)
    axes[1].set_xlabel("hidden layer", color=theme.muted)
    figure.supylabel("share of the variance", color=theme.muted, fontsize=10)
    legend(figure, axes[0], theme)
    return png(figure)


def gradients_figure(runs: Sequence[Run], depth: int, theme: Theme) -> bytes:
    """Draw, layer by layer, the size of the gradient of the weights before the first step.

    Parameters
    ----------
    runs, depth, theme
        As :func:`accuracy_figure` takes them.

    Returns
    -------
    bytes
        A PNG.
    """
    figure, (plot,) = canvas(theme, height=5.6, panels=1)
    _layers(plot, runs, depth, theme, lambda run: run.gradients_before)
    title(plot, "Gradient of the weights: before the first step", theme)
    plot.set_xlabel("hidden layer", color=theme.muted)
    plot.set_ylabel("root mean square", color=theme.muted)
    legend(figure, plot, theme)
    return png(figure)


def median_accuracy(runs: Sequence[Run], depth: int, variant: str) -> float:
    """Take the median over the seeds of the final test accuracy."""
    return float(np.median([run.final_accuracy for run in _chosen(runs, depth, variant)]))


def _chosen(runs: Sequence[Run], depth: int, variant: str) -> list[Run]:
    return [run for run in runs if (run.depth, run.variant) == (depth, variant)]


def _layers(
    plot: Axes,
    runs: Sequence[Run],
    depth: int,
    theme: Theme,
    quantity: Callable[[Run], list[float]],
) -> None:
    """Draw a quantity of the hidden layers, median over the seeds, of all without dropout."""
    for variant in VARIANTS:
        if not variant.dropout:
            curves = [quantity(run) for run in _chosen(runs, depth, variant.label)]
            values = np.median(curves, axis=0)
            values[values <= 0.0] = np.nan  # has no place on a logarithmic axis
            layers = range(1, depth + 1)
            _line(plot, layers, values, variant.label, theme, width=THIN)
    plot.set_yscale("log")
    plot.set_xticks(range(1, depth + 1))


def _line(
    plot: Axes, x: Sequence[int], y: Any, name: str, theme: Theme, width: float = 0.0
) -> None:
    """Draw a line whose markers lie where those of other variants do not, where there is room."""
    style = STYLES[name]
    every = max(1, len(x) // MARKERS_PER_CURVE)
    offset = list(STYLES).index(name) * every // len(STYLES)
    plot.plot(
        x,
        y,
        color=theme.series[name],
        linestyle=style.dashes,
        linewidth=width or style.width,
        marker=style.marker,
        markersize=6,
        markevery=(offset, every),
        label=name,
    )
