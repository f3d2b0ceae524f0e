"""Results files side by side, case by case: what became faster or slower beyond the spread.

The ratio is the first file's time over the second's: above 1 the second is faster. A change counts
where the two intervals between the quartiles do not meet.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from normdrop.benchmark.results import FORMAT, VARIANTS

WORTH_A_MARK = 0.02
_COLUMNS = ("case", "variant", "first", "second", "ratio", "spread", "change")
_TEXT_COLUMNS = ("case", "variant", "change")
_DESCRIPTIONS = ("machine", "settings", "versions")
_KINDS: dict[type, str] = {dict: "an object", list: "a list", str: "printable text"}
_Times = dict[str, dict[str, "Time"]]


class NoResults(ValueError):
    """A file that is no results file, or a damaged one; the text says where."""


@dataclass(frozen=True)
class Time:
    """Seconds per call of one variant of one case."""

    median: float
    lower_quartile: float
    upper_quartile: float

    @property
    def spread(self) -> float:
        """Distance of the quartiles over the median."""
        return (self.upper_quartile - self.lower_quartile) / self.median


@dataclass(frozen=True)
class Results:
    """What a comparison needs of a file: times by case and variant, and their circumstances."""

    times: _Times
    made_with: dict[str, dict[str, Any]]


@dataclass(frozen=True)
class Change:
    """One case and variant in both files."""

    case: str
    variant: str
    first: Time
    second: Time

    @property
    def ratio(self) -> float:
        """Time of the first over that of the second."""
        return self.first.median / self.second.median

    @property
    def spread(self) -> float:
        """The wider of the two."""
        return max(self.first.spread, self.second.spread)

    @property
    def beyond_spread(self) -> bool:
        """Whether the intervals between the quartiles do not meet."""
        apart = (
            self.first.lower_quartile > self.second.upper_quartile
            or self.second.lower_quartile > self.first.upper_quartile
        )
        return apart and abs(self.ratio - 1) > WORTH_A_MARK

    @property
    def mark(self) -> str:
        """What the last column says."""
        if not self.beyond_spread:
            return ""
        return "faster" if self.ratio > 1 else "SLOWER"


def load_results(path: Path) -> Results:
    """Read a results file.

    Raises
    ------
    NoResults
        Where it is none of this format, or damaged.
    OSError
        Where it cannot be read.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise NoResults(f"{path}: this is no JSON, so no results file") from error
    try:
        return _read_results(content)
    except NoResults as error:
        raise NoResults(f"{path}: {error}") from error


def _read_results(content: Any) -> Results:
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise NoResults(f"this is no results file of format {FORMAT}")
    made_with = {part: _field(content, part, dict, "the file") for part in _DESCRIPTIONS}
    times: _Times = {}
    for index, row in enumerate(_field(content, "rows", list, "the file")):
        case = _field(row, "case", str, f"row {index}")
        variants = _field(row, "variants", dict, case)
        times[case] = {
            name: _read_time(variants, name, case) for name in VARIANTS if name in variants
        }
    return Results(times, made_with)


def _read_time(variants: dict[str, Any], name: str, case: str) -> Time:
    samples = _field(variants, name, dict, case)
    where = f"{case}, {name}"
    return Time(*(_seconds(samples, key, where) for key in Time.__dataclass_fields__))


def _field(fields: Any, name: str, kind: type, where: str) -> Any:
    """Return an entry of the expected kind; names that are shown hold no control characters."""
    if not isinstance(fields, dict):
        raise NoResults(f"{where} must be an object, got {_shown(fields)}")
    if name not in fields:
        raise NoResults(f"{where} has no {name!r}")
    value = fields[name]
    if not isinstance(value, kind) or (isinstance(value, str) and not value.isprintable()):
        raise NoResults(f"{where}: {name!r} must be {_KINDS[kind]}, got {_shown(value)}")
    return value


def _seconds(samples: dict[str, Any], name: str, where: str) -> float:
    value = samples.get(name)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise NoResults(f"{where}: {name!r} must be a number, got {_shown(value)}")
    try:
        seconds = float(value)
    except OverflowError:
        seconds = math.inf
    if not 0 < seconds < math.inf:
        raise NoResults(f"{where}: {name!r} must be positive and finite, got {_shown(value)}")
    return seconds


def _shown(value: Any) -> str:
    """Show a value from a file in a few ASCII characters."""
    text = ascii(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def compare(
    first: Results, second: Results, variants: Sequence[str] = ("fresh",)
) -> tuple[list[Change], list[str]]:
    """Return the changes of all cases in both, and the names of the cases in one only."""
    changes = [
        Change(case, variant, times[variant], second.times[case][variant])
        for case, times in first.times.items()
        if case in second.times
        for variant in variants
        if variant in times and variant in second.times[case]
    ]
    return changes, sorted(first.times.keys() ^ second.times.keys())


def differences(first: Results, second: Results) -> list[str]:
    """List settings, machine and versions that are not the same in both."""
    lines = []
    for part in _DESCRIPTIONS:
        before, after = first.made_with[part], second.made_with[part]
        for name in sorted({*before, *after} - {"load_average"}):
            if before.get(name) != after.get(name):
                values = f"{_plain(before.get(name))} -> {_plain(after.get(name))}"
                lines.append(f"{_plain(name)}: {values}")
    return lines


def _plain(value: Any) -> str:
    """Show text as it is, unless that could do something to a terminal."""
    text = str(value)
    return text if text.isprintable() else ascii(text)


def render_changes(changes: Sequence[Change]) -> str:
    """Render the table as aligned text."""
    rows = [
        (
            change.case,
            change.variant,
            f"{1e3 * change.first.median:.4g} ms",
            f"{1e3 * change.second.median:.4g} ms",
            f"{change.ratio:.3f}",
            f"{100 * change.spread:.0f} %",
            change.mark,
        )
        for change in changes
    ]
    lines = [_COLUMNS, *rows]
    widths = [max(len(line[i]) for line in lines) for i in range(len(_COLUMNS))]
    return "\n".join(
        "  ".join(
            text.ljust(width) if column in _TEXT_COLUMNS else text.rjust(width)
            for column, text, width in zip(_COLUMNS, line, widths, strict=True)
        ).rstrip()
        for line in lines
    )
