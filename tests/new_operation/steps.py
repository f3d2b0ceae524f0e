"""CONTRIBUTING's steps for a new operation, taken for ``scale_shift`` in a copy of the tree."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

FILES = Path(__file__).with_name("scale_shift")
NAMES = ("scale_shift", "scale_shift_backward")
LISTED = "".join(f'    "{name}",\n' for name in NAMES)
IMPORTED = ", ".join(NAMES)

STUBS = """
def scale_shift(x: Any, weight: Any, bias: Any, channel_axis: SupportsIndex, out: Any) -> Any: ...
def scale_shift_backward(
    grad_output: Any, x: Any, weight: Any, channel_axis: SupportsIndex, bias: bool, out: Any
) -> tuple[Any, Any, Any]: ...
"""
ROWS = """
`scale_shift(x, weight=None, bias=None, *, channel_axis=1, out=None)` scales and shifts channels;
`scale_shift_backward(grad_output, x, weight=None, *, channel_axis=1, bias=True, out=None)` gives
their `Gradients`.
"""


def before(anchor: str, line: str) -> Callable[[str], str]:
    """Insert a line before the first place of an anchor."""

    def change(text: str) -> str:
        assert anchor in text, f"{anchor!r} is no longer there"
        return text.replace(anchor, line + anchor, 1)

    return change


def after(anchor: str, line: str) -> Callable[[str], str]:
    """Insert a line behind the first place of an anchor."""

    def change(text: str) -> str:
        assert anchor in text, f"{anchor!r} is no longer there"
        return text.replace(anchor, anchor + line, 1)

    return change


def at_the_end(lines: str) -> Callable[[str], str]:
    return lambda text: text + lines


# What is written into files that exist, in the order of CONTRIBUTING.
LINES: list[tuple[str, Callable[[str], str]]] = [
    ("csrc/ops/operations.h", after("#pragma once\n\n", '#include "ops/scale_shift.h"\n')),
    (
        "csrc/ops/operations.h",
        after(
            "#define NORMDROP_OPERATIONS(X) \\\n",
            "  X(scale_shift, ScaleShiftForward) X(scale_shift_backward, ScaleShiftBackward) \\\n",
        ),
    ),
    (
        "python/normdrop/functional/__init__.py",
        before("\n__all__ = [", f"from normdrop.functional.scale_shift import {IMPORTED}\n"),
    ),
    ("python/normdrop/functional/__init__.py", after("__all__ = [\n", LISTED)),
    (
        "python/normdrop/__init__.py",
        before("from normdrop.results import", f"from normdrop.functional import {IMPORTED}\n"),
    ),
    ("python/normdrop/__init__.py", after("__all__ = [\n", LISTED)),
    ("python/normdrop/_core.pyi", at_the_end(STUBS)),
    ("docs/reference.md", at_the_end(ROWS)),
    (
        "python/normdrop/reference/__init__.py",
        before("\n__all__ = [", f"from .scale_shift import {IMPORTED}\n"),
    ),
    ("python/normdrop/reference/__init__.py", after("__all__ = [\n", LISTED)),
    ("CHANGELOG.md", after("### Added\n\n", "- `scale_shift`, `scale_shift_backward`.\n")),
]


def follow(tree: Path) -> list[str]:
    """Write the operation's files and lines; say which files are new, and which got lines."""
    said = []
    for source in sorted(path for path in FILES.rglob("*") if path.is_file()):
        if "__pycache__" in source.parts:
            continue
        name = source.relative_to(FILES)
        assert not (tree / name).exists(), f"{name} is there already"
        shutil.copyfile(source, tree / name)
        said.append(f"new      {name}")
    lines: dict[str, int] = {}
    for name, change in LINES:
        old = (tree / name).read_text()
        new = change(normalised(name, old))
        lines[name] = lines.get(name, 0) + new.count("\n") - old.count("\n")
        (tree / name).write_text(new)
    return said + [f"+{count:<7} {name}" for name, count in lines.items()]


def normalised(name: str, text: str) -> str:
    """The list of operations without the spaces that line its backslashes up."""
    if not name.endswith("operations.h"):
        return text
    head, sign, tail = text.partition("#define NORMDROP_OPERATIONS(X)")
    return head + sign + " " + tail.lstrip(" ")
