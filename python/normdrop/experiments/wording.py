"""How numbers are written, and what they allow to be said, on the page and on the terminal."""

from __future__ import annotations

import math


def percent(share: float, error: float | None = None) -> str:
    """Write a share, with its standard error if there is one.

    >>> percent(0.9735)
    '97.4 %'
    >>> percent(0.9735, 0.0072)
    '97.4 ± 0.7 %'
    """
    return f"{100 * share:.1f}{'' if error is None else f' ± {100 * error:.1f}'} %"


def spread(lowest: float, highest: float) -> str:
    """Write the range of some shares.

    >>> spread(0.936, 0.966)
    '93.6 to 96.6 %'
    """
    return f"{100 * lowest:.1f} to {percent(highest)}"


def standard_error(share: float, images: int) -> float:
    """Compute how far a share of so many test images typically lies from that of all images.

    >>> round(standard_error(0.9, 100), 12)
    0.03
    """
    return math.sqrt(share * (1.0 - share) / images)


def is_guessing(accuracy: float, classes: int) -> bool:
    """Whether the page may say that a network has learnt nothing.

    >>> is_guessing(0.12, 10), is_guessing(0.99, 2)
    (True, False)
    """
    return accuracy < 1.0 / classes + 0.1


def has_learnt(accuracy: float, classes: int) -> bool:
    """Whether the page may say that a network learns: halfway from guessing to all right.

    >>> has_learnt(0.6, 10), has_learnt(0.6, 2)
    (True, False)
    """
    return accuracy > 0.5 + 0.5 / classes


def counted(number: int, noun: str) -> str:
    """Write a number of things.

    >>> counted(1, "seed"), counted(3, "seed")
    ('1 seed', '3 seeds')
    """
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def scientific(number: float) -> str:
    """Write a number that may be tiny, to two digits.

    >>> scientific(0.288), scientific(9.34e-9), scientific(0.0)
    ('0.29', '9.3·10⁻⁹', '0')
    """
    if number == 0.0:
        return "0"
    digits, _, exponent = f"{number:.1e}".partition("e")
    if -3 < int(exponent) < 3:
        return f"{float(f'{number:.1e}'):g}"
    return f"{digits}·10{str(int(exponent)).translate(str.maketrans('-0123456789', '⁻⁰¹²³⁴⁵⁶⁷⁸⁹'))}"


def printable(text: str) -> str:
    r"""Escape what would break a line, or cannot be written at all.

    >>> printable("two\nlines")
    'two\\nlines'
    """
    return "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape").decode("ascii")
        for letter in text
    )
