"""``normdrop info``: what was built, and what of it this machine can run."""

from __future__ import annotations

import argparse
import json
from typing import Any

from normdrop.runtime import show_config


def add_parser(subparsers: Any) -> None:
    """Add the ``info`` command to the program's commands."""
    parser = subparsers.add_parser(
        "info",
        help="show version, compiler, backends and threads",
        description="Show what was built, and what of it this machine can run.",
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(func=main)


def main(args: argparse.Namespace) -> int:
    """Run the command; the exit status."""
    if args.json:
        print(json.dumps(show_config(mode="dict"), indent=2))
    else:
        show_config(mode="stdout")
    return 0
