"""``normdrop compare``: results files of ``normdrop bench`` side by side."""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from typing import Any

from normdrop.benchmark.compare import (
    NoResults,
    Results,
    compare,
    differences,
    load_results,
    render_changes,
)
from normdrop.benchmark.results import VARIANTS
from normdrop.cli.ending import FAILURE, WRONG_ARGUMENTS, CommandError, describe


def add_parser(subparsers: Any) -> None:
    """Add the ``compare`` command to the program's commands."""
    parser = subparsers.add_parser(
        "compare",
        help="set results files of 'normdrop bench --json' side by side",
        description="Set results files of 'normdrop bench --json' side by side, case by case. The "
        "ratio is the first file's time over the second's: above 1 the second is faster. A change "
        "counts where the two intervals between the quartiles do not meet.",
    )
    parser.add_argument("first", type=Path, metavar="FIRST", help="results of the earlier run")
    parser.add_argument(
        "later",
        type=Path,
        metavar="SECOND",
        nargs="+",
        help="results of a later run; each is compared with the first",
    )
    parser.add_argument(
        "--variant",
        action="append",
        choices=VARIANTS,
        help="which of our times to compare; may be given more than once; default: fresh",
    )
    parser.add_argument(
        "--fail-below",
        type=_ratio,
        metavar="RATIO",
        help="exit with status 1 where a ratio is below this, beyond the spread, and where "
        "there is nothing to compare",
    )
    parser.set_defaults(func=main)


def main(args: argparse.Namespace) -> int:
    """Run the command; the exit status: 1 where a case fell below the limit."""
    results = {path: _load(path) for path in (args.first, *args.later)}
    statuses = []
    for path in args.later:
        if len(args.later) > 1:
            print(f"{args.first} -> {path}")
        statuses.append(_compare(results[args.first], results[path], args))
    return max(statuses)


def _compare(first: Results, second: Results, args: argparse.Namespace) -> int:
    changes, alone = compare(first, second, args.variant or VARIANTS[:1])
    print(
        render_changes(changes)
        if changes
        else "nothing to compare: no case was measured in both files"
    )
    for line in differences(first, second):
        print(f"differs: {line}")
    for case in alone:
        print(f"in one file only: {case}")
    if args.fail_below is None:
        return 0
    failed = [c for c in changes if c.ratio < args.fail_below and c.beyond_spread]
    for change in failed:
        print(f"below {args.fail_below:g}: {change.case} {change.variant} {change.ratio:.3f}")
    return FAILURE if failed or not changes else 0


def _load(path: Path) -> Results:
    try:
        return load_results(path)
    except (NoResults, OSError) as error:
        raise CommandError(describe(error), WRONG_ARGUMENTS) from error


def _ratio(text: str) -> float:
    try:
        ratio = float(text)
    except ValueError:
        ratio = math.nan
    if not 0 < ratio < math.inf:
        raise argparse.ArgumentTypeError(f"must be a positive number, got {text!r}")
    return ratio
