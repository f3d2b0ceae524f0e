"""``normdrop info``: what was built, and what of it this machine can run."""

from __future__ import annotations

import argparse
import json
from typing import Any

from normdrop.cli.ending import BAD_ENVIRONMENT, CommandError, describe
from normdrop.runtime import read_config, render_config


def add_parser(subparsers: Any) -> None:
    """Add the ``info`` command to the program's commands."""
    parser = subparsers.add_parser(
        "info",
        help="show versions, compiler, backends and threads",
        description="Show what was built, and what of it this machine can run.",
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(func=main)


def main(args: argparse.Namespace) -> int:
    """Run the command; the exit status."""
    try:
        config, faults = read_config()
    except RuntimeError as error:  # of a device that is there and cannot be asked
        raise CommandError(str(error)) from error
    texts = {name: describe(fault) for name, fault in faults.items()}
    shown = {**config, "environment_faults": texts}
    print(json.dumps(shown, indent=2) if args.json else render_config(shown), flush=True)
    if texts:
        raise CommandError("; ".join(texts.values()), BAD_ENVIRONMENT)
    return 0
