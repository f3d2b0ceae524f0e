"""The pictures of the sigmoid experiment, for a light and for a dark page."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from normdrop.experiments.sigmoid_depth import VARIANTS, Run

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Drawn for a column some 370 CSS pixels wide (a phone): 5.2 inches make 10 points legible there.
WIDTH_INCHES = 5.2
DOTS_PER_INCH = 160

# Percentiles closer together than this get one label, or their labels would overlap.
SMALLEST_LABELLED_SPREAD = 0.8


class Theme(NamedTuple):
    """Colours of a page. The five series colours are Okabe and Ito's, safe for the colour-blind."""

    background: str
    text: str
    muted: str
    grid: str
    series: dict[str, str]


LIGHT = Theme(
    "#ffffff",
    "#1c2330",
    "#5b6575",
    "#e3e7ed",
    {
        "nothing": "#4d4d4d",
        "batch norm": "#0072b2",
        "layer norm": "#009e73",
        "dropout": "#d55e00",
        "batch norm + dropout": "#b8528f",
    },
)
DARK = Theme(
    "#171c25",
    "#e8ecf2",
    "#a3adbd",
    "#2d3542",
    {
        "nothing": "#b5b5b5",
        "batch norm": "#56b4e9",
        "layer norm": "#2fc79b",
        "dropout": "#f0873a",
        "batch norm + dropout": "#e08fc0",
    },
)
THEMES = {"light": LIGHT, "dark": DARK}

# Told apart without colour too: curves at chance level lie on one another.
DASHES: dict[str, Any] = {
    "nothing": "-",
    "batch norm": "-",
    "layer norm": (0, (6, 2)),
    "dropout": (0, (1.5, 1.5)),
    "batch norm + dropout": (0, (4, 1.5, 1, 1.5)),
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
    figure, axes = _canvas(theme, height=3.9, panels=1)
    plot = axes[0]
    for variant in VARIANTS:
        chosen = [run for run in runs if (run.depth, run.variant) == (depth, variant.label)]
        curves = np.array([run.accuracy for run in chosen])
        color, steps = theme.series[variant.label], chosen[0].steps
        plot.fill_between(steps, curves.min(0), curves.max(0), color=color, alpha=0.16, linewidth=0)
        plot.plot(
            steps,
            np.median(curves, axis=0),
            color=color,
            linestyle=DASHES[variant.label],
            linewidth=2,
            label=variant.label,
        )
    plot.set_ylim(0, 1)
    plot.set_xlim(0, max(runs[0].steps))
    plot.set_xlabel("training step", color=theme.muted)
    plot.set_ylabel("test accuracy", color=theme.muted)
    plain, normed = (median_accuracy(runs, depth, name) for name in ("nothing", "batch norm"))
    _title(plot, f"{depth} hidden layers: batch norm {normed:.0%}, nothing {plain:.0%}", theme)
    figure.legend(
        *plot.get_legend_handles_labels(),
        loc="outside lower center",
        ncols=3,
        frameon=False,
        labelcolor=theme.text,
        handlelength=2.4,
        columnspacing=1.2,
    )
    return _png(figure)


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
    figure, axes = _canvas(theme, height=5.1, panels=2)
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
                _name_line(plot, run.steps[-1], values[-1], percentile, theme)
        else:
            _name_line(plot, run.steps[-1], middle[-1], "all three", theme)
        moved = middle.max() - middle.min()
        said = f"median moves over {moved:.1f}; 15th to 85th spans {spread:.1f} at the end"
        _title(plot, f"{run.depth} hidden layers {name}", theme, said)
        plot.set_xlim(0, run.steps[-1])
    axes[1].set_xlabel("training step", color=theme.muted)
    figure.supylabel("input of the last hidden sigmoid", color=theme.muted, fontsize=10)
    return _png(figure)


def median_accuracy(runs: Sequence[Run], depth: int, variant: str) -> float:
    """Take the median over the seeds of the final test accuracy."""
    chosen = [run.final_accuracy for run in runs if (run.depth, run.variant) == (depth, variant)]
    return float(np.median(chosen))


def _title(plot: Axes, text: str, theme: Theme, second_line: str = "") -> None:
    pad = 20 if second_line else 7
    plot.set_title(text, color=theme.text, fontsize=11, fontweight="bold", loc="left", pad=pad)
    plot.annotate(
        second_line,
        (0, 1),
        xytext=(0, 6),
        xycoords="axes fraction",
        textcoords="offset points",
        fontsize=9,
        color=theme.muted,
    )


def _name_line(plot: Axes, step: int, value: float, name: str, theme: Theme) -> None:
    plot.annotate(
        name,
        (step, value),
        xytext=(5, 0),
        textcoords="offset points",
        va="center",
        fontsize=9,
        color=theme.muted,
        annotation_clip=False,
    )


def _canvas(theme: Theme, *, height: float, panels: int) -> tuple[Figure, list[Axes]]:
    """Make a figure outside pyplot, so that no window system and no global state take part."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(
        figsize=(WIDTH_INCHES, height),
        dpi=DOTS_PER_INCH,
        facecolor=theme.background,
        layout="constrained",
    )
    FigureCanvasAgg(figure)
    axes = list(figure.subplots(panels, 1, sharex=True, sharey=True, squeeze=False)[:, 0])
    for plot in axes:
        plot.set_facecolor(theme.background)
        plot.grid(color=theme.grid, linewidth=0.8)
        plot.set_axisbelow(True)
        plot.tick_params(colors=theme.muted, labelsize=9.5, length=0)
        for spine in plot.spines.values():
            spine.set_visible(False)
    return figure, axes


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    # No software tag: equal pictures are equal files.
    figure.savefig(
        buffer, format="png", facecolor=figure.get_facecolor(), metadata={"Software": None}
    )
    return buffer.getvalue()
