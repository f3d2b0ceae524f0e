"""Faults that are put into ``scale_shift``, one at a time, and the tests that must notice each.

All of them are compiled in at once; ``NORMDROP_PLANTED`` names the one that acts.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

PLANTED = """
#include <cstdlib>
#include <cstring>

static bool planted(const char* fault) {
  const char* chosen = std::getenv("NORMDROP_PLANTED");
  return chosen && std::strcmp(chosen, fault) == 0;
}
"""

PLANTED_IN_PYTHON = """
import os
import numpy as np

def planted(fault):
    return os.environ.get("NORMDROP_PLANTED") == fault

"""


class Fault(NamedTuple):
    """A text of a file, what stands in its place, and who must notice."""

    name: str
    path: str
    old: str
    new: str
    noticed_by: tuple[str, ...]


FORWARD = "csrc/cpu/kernels/scale_shift.cpp"
BACKWARD = "csrc/cpu/kernels/scale_shift_backward.cpp"
CUDA_FORWARD = "csrc/cuda/kernels/scale_shift.cu"
CUDA_BACKWARD = "csrc/cuda/kernels/scale_shift_backward.cu"
PYTHON = "python/normdrop/functional/scale_shift.py"

FAULTS = [
    Fault(
        "the last element of a line is not written",
        FORWARD,
        "const std::int64_t count = a.inner;",
        "const std::int64_t count = a.inner - (a.inner > 16 && planted({name}) ? 1 : 0);",
        ("test_described", "test_layouts", "test_determinism"),
    ),
    Fault(
        "an input is written to",
        FORWARD,
        "    const pack weight = splat(",
        "    if (planted({name})) const_cast<T*>(x)[0] = x[a.inner - 1];\n"
        "    const pack weight = splat(",
        ("test_described", "test_layouts"),
    ),
    Fault(
        "the address counts",
        FORWARD,
        "parameter<T>(a.weight, channel, 1.0)",
        "parameter<T>(a.weight, channel, 1.0) *\n"
        "        (reinterpret_cast<std::uintptr_t>(x) % 64 == 4 && planted({name}) ? 1.25 : 1.0)",
        ("test_determinism",),
    ),
    Fault(
        "float32 parameters are read as halves",
        FORWARD,
        "void scale_shift(const ScaleShiftForward& arguments) {\n",
        "void scale_shift(const ScaleShiftForward& arguments) {\n"
        "  ScaleShiftForward same = arguments;\n"
        "  same.parameter_dtype = arguments.dtype;\n"
        "  if (planted({name}) && arguments.parameter_dtype != arguments.dtype)\n"
        "    return scale_shift(same);\n",
        ("test_described",),
    ),
    Fault(
        "a sum holds an element of the next channel",
        BACKWARD,
        "    for_each_pack(a.inner,",
        "    if (planted({name}) && channel + 1 < a.channels)\n"
        "      sum = sum + keep_first(load(grad + a.inner, last_pack{1}), 1);\n"
        "    for_each_pack(a.inner,",
        ("test_described", "test_determinism"),
    ),
    Fault(
        "threads count",
        BACKWARD,
        "static_cast<wide<T>>(sum_of_lanes(sum));",
        "static_cast<wide<T>>(\n"
        "      sum_of_lanes(sum) * (cpu::thread_count() == 3 && planted({name}) ? 1.25 : 1.0));",
        ("test_determinism",),
    ),
    Fault(
        "y has x's stride",
        CUDA_FORWARD,
        "void scale_shift(const ScaleShiftForward& a) {\n",
        "void scale_shift(const ScaleShiftForward& given) {\n"
        "  ScaleShiftForward a = given;\n"
        "  if (planted({name})) a.y_batch_stride = a.x_batch_stride;\n",
        ("test_device_arrays",),
    ),
    Fault(
        "the last channel has no gradient",
        CUDA_BACKWARD,
        "void scale_shift_backward(const ScaleShiftBackward& a) {\n",
        "void scale_shift_backward(const ScaleShiftBackward& given) {\n"
        "  ScaleShiftBackward a = given;\n"
        "  if (planted({name}) && a.channels > 1) a.channels -= 1;\n",
        ("test_staging",),
    ),
    Fault(
        "a wrong dtype is accepted",
        PYTHON,
        "    return _core.scale_shift(x,",
        "    if planted({name}) and weight is not None:\n"
        "        weight = np.asarray(weight, x.dtype)\n"
        "    return _core.scale_shift(x,",
        ("test_bad_input",),
    ),
    Fault(
        "out is passed over",
        PYTHON,
        "channel_axis, bias, out)",
        "channel_axis, bias, None if planted({name}) else out)",
        ("test_described", "test_layouts", "test_staging", "test_device_arrays"),
    ),
]


def plant(tree: Path) -> None:
    """All of them, each behind a question for its name."""
    for path in sorted({fault.path for fault in FAULTS}):
        text = (tree / path).read_text()
        for fault in FAULTS:
            if fault.path == path:
                assert text.count(fault.old) == 1, f"{path} must hold {fault.old!r} once"
                text = text.replace(fault.old, fault.new.replace("{name}", f'"{fault.name}"'))
        place = "from typing import" if path.endswith(".py") else "namespace normdrop"
        question = PLANTED_IN_PYTHON if path.endswith(".py") else PLANTED
        head, sign, tail = text.partition(place)
        (tree / path).write_text(f"{head}{question}\n{sign}{tail}")
