"""Random cells: operations, shapes, layouts and dtypes drawn from a seed, and what came of them.

A cell is a case like any other. The same count and seed draw the same cells everywhere, whatever is
installed: only ``random.Random.random`` is asked, which Python keeps as it is.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

from normdrop.benchmark.cases import Case
from normdrop.benchmark.operations import OPERATIONS, Operation
from normdrop.benchmark.report import format_seconds
from normdrop.benchmark.results import LOSS_RATIO, Report, Row

DTYPES = ("float32", "float64", "bfloat16", "float16")
HEAVY_LOSS_RATIO = 0.8
PERCENTILES = (1, 5, 25, 50, 75, 95, 99)

_FEWEST_ELEMENTS, _MOST_ELEMENTS = 4, 20_000_000
_MOST_PARAMETERS, _MOST_NARROW = 65_536, 32
_SHARE_OF_NARROW, _SHARE_OF_ODD = 0.3, 0.5
_RANKS = {"rows": (2, 5), "nchw": (3, 5), "nhwc": (3, 5), "nc": (2, 2), "units": (2, 5)}
_FLAT_RANKS = (1, 5)


class _Draw:
    """Numbers from one seed."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed).random

    def choice(self, values: Sequence[Any]) -> Any:
        """Choose one of the values."""
        return values[int(self._random() * len(values))]

    def happens(self, share: float) -> bool:
        """Tell yes with this probability."""
        return self._random() < share

    def integer(self, least: int, most: int) -> int:
        """Draw uniformly, both ends included."""
        return least + int(self._random() * (most - least + 1))

    def log_uniform(self, least: int, most: int) -> int:
        """Draw so that every factor of two is as likely as any other."""
        return int(least * (most / least) ** self._random() + 0.5)

    def factors(self, product: int, count: int) -> list[int]:
        """Cut a number into so many factors, whose logarithms are the parts of a broken stick."""
        cuts = sorted(self._random() for _ in range(count - 1))
        ends = zip([0.0, *cuts], [*cuts, 1.0], strict=True)
        return [max(1, round(product ** (end - start))) for start, end in ends]


def draw_cases(count: int, seed: int) -> list[Case]:
    """Draw so many different cells."""
    draw, cells = _Draw(seed), dict[str, Case]()
    while len(cells) < count:
        case = _draw_case(draw)
        if case is not None:
            cells.setdefault(case.name, case)
    return list(cells.values())


def _draw_case(draw: _Draw) -> Case | None:
    """Draw a cell; None where the shape is too small for the operation."""
    operation: Operation = draw.choice(list(OPERATIONS.values()))
    direction = draw.choice(list(operation.traffic))
    layout, dtype = draw.choice(operation.layouts), draw.choice(DTYPES)
    case = Case(operation.name, direction, _draw_shape(draw, layout), layout, dtype)
    if operation.geometry is not None:
        geometry = operation.geometry(case)
        if prod(geometry.shape[axis] for axis in geometry.axes) < operation.fewest_values:
            return None
    return case


def _draw_shape(draw: _Draw, layout: str) -> tuple[int, ...]:
    rank = draw.integer(*_RANKS.get(layout, _FLAT_RANKS))
    elements = draw.log_uniform(_FEWEST_ELEMENTS, _MOST_ELEMENTS)
    if layout == "flat":
        return tuple(_odd(draw, size) for size in draw.factors(elements, rank))
    own = draw.log_uniform(1, min(elements, _MOST_PARAMETERS))
    if draw.happens(_SHARE_OF_NARROW):
        own = draw.integer(1, min(elements, _MOST_NARROW))
    sizes = [_odd(draw, size) for size in draw.factors(max(1, elements // own), rank - 1)]
    place = {"rows": rank - 1, "units": 0}.get(layout, 1)
    return (*sizes[:place], own, *sizes[place:])


def _odd(draw: _Draw, size: int) -> int:
    """Make half of the sizes odd; of those drawn, few of the large ones would be round."""
    return size | 1 if draw.happens(_SHARE_OF_ODD) else size


@dataclass(frozen=True)
class Ratios:
    """The distribution of one peer's times over ours."""

    ratios: tuple[float, ...]

    @property
    def geometric_mean(self) -> float:
        """Return the mean of the ratios' logarithms, as a ratio."""
        return math.exp(sum(map(math.log, self.ratios)) / len(self.ratios))

    def percentile(self, percent: float) -> float:
        """Interpolate between the ratios in order."""
        ordered = sorted(self.ratios)
        place = percent / 100 * (len(ordered) - 1)
        low = int(place)
        high = min(low + 1, len(ordered) - 1)
        return ordered[low] + (place - low) * (ordered[high] - ordered[low])

    def share_below(self, limit: float) -> float:
        """Return the share of the cells whose ratio is below a limit."""
        return sum(ratio < limit for ratio in self.ratios) / len(self.ratios)

    def to_dict(self) -> dict[str, Any]:
        """Turn into plain types."""
        return {
            "cells": len(self.ratios),
            "geometric_mean": self.geometric_mean,
            "percentiles": {str(percent): self.percentile(percent) for percent in PERCENTILES},
            f"share_below_{LOSS_RATIO}": self.share_below(LOSS_RATIO),
            f"share_below_{HEAVY_LOSS_RATIO}": self.share_below(HEAVY_LOSS_RATIO),
        }


def ratios_of(rows: Sequence[Row], peer: str) -> Ratios | None:
    """Collect a peer's ratios; None where it has none."""
    found = [row.peers[peer].ratio for row in rows if peer in row.peers]
    timed = tuple(ratio for ratio in found if ratio is not None)
    return Ratios(timed) if timed else None


def findings(report: Report, count: int, seed: int) -> dict[str, Any]:
    """Sum a sweep up in plain types, for the results file."""
    by_peer = {peer: ratios_of(report.rows, peer) for peer in report.peer_names}
    peers = {peer: ratios.to_dict() for peer, ratios in by_peer.items() if ratios is not None}
    return {"sweep": {"count": count, "seed": seed, "peers": peers}}


def render_sweep(report: Report, count: int, seed: int) -> str:
    """Tell the distribution of each peer's ratios, by operation too, and every losing cell."""
    lines = [f"{len(report.rows)} of {count} cells of seed {seed}: time of the peer over ours"]
    for peer in report.peer_names:
        lines += ["", *_distribution(report, peer), "", *_losses(report, peer, count, seed)]
    lines += _left_out(report)
    return "\n".join(lines) + "\n"


def _distribution(report: Report, peer: str) -> Iterator[str]:
    columns = [f"{percent} %" for percent in PERCENTILES]
    columns += [f"<{limit:g}" for limit in (LOSS_RATIO, HEAVY_LOSS_RATIO)]
    heading = "".join(f"{column:>8}" for column in columns)
    yield f"{peer:34}{'cells':>6}{'mean':>8}{heading}"
    groups: dict[str, list[Row]] = {"all": report.rows}
    for row in report.rows:
        groups.setdefault(f"{row.op}-{row.direction}", []).append(row)
    for name, rows in groups.items():
        ratios = ratios_of(rows, peer)
        if ratios is None:
            continue
        values = "".join(_in_eight(ratios.percentile(percent)) for percent in PERCENTILES)
        shares = "".join(
            f"{100 * ratios.share_below(limit):6.1f} %" for limit in (LOSS_RATIO, HEAVY_LOSS_RATIO)
        )
        yield f"  {name:32}{len(ratios.ratios):6}{_in_eight(ratios.geometric_mean)}{values}{shares}"


def _in_eight(ratio: float) -> str:
    """Format in eight characters."""
    return f"{ratio:8.2f}" if ratio < 1000 else f"{ratio:8.0f}"


def _losses(report: Report, peer: str, count: int, seed: int) -> Iterator[str]:
    """List what the peer does in less time, the worst first; a star: beyond the spread."""
    rows = [(row, row.peers[peer]) for row in report.rows if peer in row.peers]
    lost = [(cell.ratio, row, cell) for row, cell in rows if cell.ratio is not None]
    lost = sorted((item for item in lost if item[0] < LOSS_RATIO), key=lambda item: item[0])
    if not lost:
        yield f"no cell in which {peer} is faster"
        return
    again = f"normdrop bench --sweep {count} --seed {seed} NAME"
    yield f"{peer} is faster (* beyond the spread): ratio, ours, theirs, name; again: {again}"
    for ratio, row, cell in lost:
        assert cell.samples is not None
        yield (
            f"  {'*' if cell.is_loss else ' '}{ratio:5.2f} {format_seconds(1e-3 * row.ours_ms):>9}"
            f"{format_seconds(cell.samples.median):>9}  {row.case} "
            f"({row.layout}, {'x'.join(map(str, row.shape))}, {row.dtype})"
        )


def _left_out(report: Report) -> Iterator[str]:
    """Count what was not measured, by reason."""
    reasons: dict[str, int] = {}
    for row in report.rows:
        for peer, cell in row.peers.items():
            if cell.missing is not None:
                reason = f"{peer}: {cell.missing}"
                reasons[reason] = reasons.get(reason, 0) + 1
    for reason in report.skipped.values():
        reasons[reason] = reasons.get(reason, 0) + 1
    for reason, cells in reasons.items():
        yield f"left out in {cells} cells: {reason}"
