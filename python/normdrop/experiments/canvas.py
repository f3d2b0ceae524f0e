"""What every picture of the demo is drawn on: colours of a light and a dark page, axes, titles."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, NamedTuple

from normdrop.experiments.output_folder import MARK

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Drawn for a column some 370 CSS pixels wide (a phone): 5.2 inches make 10 points legible there.
WIDTH_INCHES = 5.2
DOTS_PER_INCH = 160


class Theme(NamedTuple):
    """Colours of a page; those of the series are after Okabe and Ito, for the colour-blind."""

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
        "nothing": "#6f7680",
        "nothing, larger weights": "#9a7400",
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
        "nothing": "#9aa1ab",
        "nothing, larger weights": "#f0e442",
        "batch norm": "#56b4e9",
        "layer norm": "#2fc79b",
        "dropout": "#f0873a",
        "batch norm + dropout": "#e08fc0",
    },
)
THEMES = {"light": LIGHT, "dark": DARK}


def title(plot: Axes, text: str, theme: Theme, second_line: str = "") -> None:
    """Write what a panel shows above it, in bold, and a line of detail."""
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


def name_line(plot: Axes, step: int, value: float, name: str, theme: Theme) -> None:
    """Write a name to the right of where a line ends."""
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


def canvas(theme: Theme, *, height: float, panels: int) -> tuple[Figure, list[Axes]]:
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


def legend(figure: Figure, plot: Axes, theme: Theme) -> None:
    """Name the lines of a panel below the picture."""
    figure.legend(
        *plot.get_legend_handles_labels(),
        loc="outside lower center",
        ncols=2,
        frameon=False,
        labelcolor=theme.text,
        handlelength=3.6,
        columnspacing=1.6,
    )


def png(figure: Figure) -> bytes:
    """Draw it; the mark tells :mod:`~normdrop.experiments.output_folder` whose file it is."""
    buffer = io.BytesIO()
    # No version in the mark: equal pictures are equal files.
    figure.savefig(
        buffer, format="png", facecolor=figure.get_facecolor(), metadata={"Software": MARK}
    )
    return buffer.getvalue()
