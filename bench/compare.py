#!/usr/bin/env python3
"""Compare two results files of ``normdrop bench --json``, case by case.

The ratio is the first file's time over the second's: above 1 the second is faster. A change
counts where the two intervals between the quartiles do not meet. Needs nothing but Python.

    python bench/compare.py before.json after.json --fail-below 0.95
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FORMAT = 1
WORTH_A_MARK = 0.02
_COLUMNS = ("case", "variant", "first", "second", "ratio", "spread", "change")


@dataclass(frozen=True)
class Change:
    """One case and variant in both files; ``samples`` as `normdrop bench` summarises them."""

    case: str
    variant: str
    first: dict[str, Any]
    second: dict[str, Any]

    @property
    def ratio(self) -> float:
        return float(self.first["median"] / self.second["median"])

    @property
    def spread(self) -> float:
        """The wider of the two distances of the quartiles, over its median."""
        return max(_spread(self.first), _spread(self.second))

    @property
    def beyond_spread(self) -> bool:
        apart = (
            self.first["lower_quartile"] > self.second["upper_quartile"]
            or self.second["lower_quartile"] > self.first["upper_quartile"]
        )
        return apart and abs(self.ratio - 1) > WORTH_A_MARK

    @property
    def mark(self) -> str:
        if not self.beyond_spread:
            return ""
        return "faster" if self.ratio > 1 else "SLOWER"


def _spread(samples: dict[str, Any]) -> float:
    return float((samples["upper_quartile"] - samples["lower_quartile"]) / samples["median"])


def load(path: Path) -> dict[str, Any]:
    """Read a results file; a ValueError where it is none of this format."""
    report: dict[str, Any] = json.loads(path.read_text())
    if not isinstance(report, dict) or report.get("format") != FORMAT:
        raise ValueError(f"{path}: this is no results file of format {FORMAT}")
    return report


def compare(
    first: dict[str, Any], second: dict[str, Any], variants: list[str]
) -> tuple[list[Change], list[str]]:
    """The changes of all cases in both files, and the names of the cases in one only."""
    first_rows = {row["case"]: row for row in first["rows"]}
    second_rows = {row["case"]: row for row in second["rows"]}
    changes = [
        Change(case, variant, row["variants"][variant], second_rows[case]["variants"][variant])
        for case, row in first_rows.items()
        for variant in variants
        if case in second_rows
        and variant in row["variants"]
        and variant in second_rows[case]["variants"]
    ]
    return changes, sorted(first_rows.keys() ^ second_rows.keys())


def differences(first: dict[str, Any], second: dict[str, Any]) -> list[str]:
    """Settings, machine and versions that are not the same in both files."""
    lines = []
    for part in ("machine", "settings", "versions"):
        for name in sorted({*first[part], *second[part]}):
            before, after = first[part].get(name), second[part].get(name)
            if before != after and name != "load_average":
                lines.append(f"{name}: {before} -> {after}")
    return lines


def render(changes: list[Change]) -> str:
    """The table as aligned text."""
    rows = [
        (
            change.case,
            change.variant,
            f"{1e3 * change.first['median']:.4g} ms",
            f"{1e3 * change.second['median']:.4g} ms",
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
            text.ljust(width) if i in (0, 1, 6) else text.rjust(width)
            for i, (text, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )


def main(arguments: list[str] | None = None) -> int:
    """Run the program; the exit status: 1 where a case fell below the limit."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("first", type=Path, help="results file of the earlier run")
    parser.add_argument("second", type=Path, help="results file of the later run")
    parser.add_argument(
        "--variant",
        action="append",
        choices=("fresh", "out", "kept"),
        help="which of our times to compare; may be given more than once; default: fresh",
    )
    parser.add_argument(
        "--fail-below",
        type=float,
        metavar="RATIO",
        help="exit with status 1 where a ratio is below this, beyond the spread",
    )
    args = parser.parse_args(arguments)
    try:
        first, second = load(args.first), load(args.second)
    except (OSError, ValueError) as error:
        print(f"compare: {error}", file=sys.stderr)
        return 2
    changes, alone = compare(first, second, args.variant or ["fresh"])
    print(render(changes))
    for line in differences(first, second):
        print(f"differs: {line}")
    for case in alone:
        print(f"in one file only: {case}")
    if args.fail_below is None:
        return 0
    failed = [c for c in changes if c.ratio < args.fail_below and c.beyond_spread]
    for change in failed:
        print(f"below {args.fail_below:g}: {change.case} {change.variant} {change.ratio:.3f}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
