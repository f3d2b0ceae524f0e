"""What a command's options may hold; the message is what argparse prints behind the option."""

from __future__ import annotations

import argparse
from collections.abc import Callable


def integer(lowest: int, highest: int | None = None) -> Callable[[str], int]:
    """Make the ``type=`` of an option that takes an integer of a range."""
    limits = f"of {lowest} or more" if highest is None else f"from {lowest} to {highest}"

    def parsed(text: str) -> int:
        try:
            number = int(text)
        except ValueError:
            number = lowest - 1
        if number < lowest or (highest is not None and number > highest):
            raise argparse.ArgumentTypeError(f"must be an integer {limits}, got {text!r}")
        return number

    return parsed
