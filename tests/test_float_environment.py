"""The caller's floating-point environment is neither changed nor relied on (K4).

On x86-64 it lives in MXCSR, a register of each thread. A few bytes of machine code, put into
executable memory, read and write it from Python.
"""

from __future__ import annotations

import ctypes
import mmap
import platform
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from ml_dtypes import finfo

import normdrop as nd
from cases import is_device, normal, parameter
from comparing import assert_same_bits

FLUSH_TO_ZERO, DENORMALS_ARE_ZERO = 1 << 15, 1 << 6
ROUND_DOWN, ROUND_UP, ROUND_TO_ZERO = 1 << 13, 2 << 13, 3 << 13
CONTROL = 0xFFC0  # everything but the sticky exception flags
SETTINGS = {
    "flush_to_zero": FLUSH_TO_ZERO,
    "denormals_are_zero": DENORMALS_ARE_ZERO,
    "both": FLUSH_TO_ZERO | DENORMALS_ARE_ZERO,
    "round_down": ROUND_DOWN,
    "round_up": ROUND_UP,
    "round_to_zero": ROUND_TO_ZERO,
}


class ControlRegister:
    """MXCSR of the calling thread."""

    def __init__(self) -> None:
        # stmxcsr [rdi]; ret and, 16 bytes on, ldmxcsr [rdi]; ret
        code = b"\x0f\xae\x1f\xc3".ljust(16, b"\x90") + b"\x0f\xae\x17\xc3"
        self._memory = mmap.mmap(-1, mmap.PAGESIZE, prot=7)
        self._memory.write(code)
        start = ctypes.addressof(ctypes.c_char.from_buffer(self._memory))
        signature = ctypes.CFUNCTYPE(None, ctypes.c_void_p)
        self._store, self._load = signature(start), signature(start + 16)

    @property
    def value(self) -> int:
        word = ctypes.c_uint32()
        self._store(ctypes.addressof(word))
        return word.value

    @value.setter
    def value(self, value: int) -> None:
        word = ctypes.c_uint32(value)
        self._load(ctypes.addressof(word))


@pytest.fixture(scope="module")
def register() -> ControlRegister:
    if platform.machine() not in ("x86_64", "AMD64"):
        pytest.skip("reads a register of x86-64")
    try:
        return ControlRegister()
    except (OSError, ValueError, BufferError) as error:
        pytest.skip(f"no executable memory here: {error}")


@pytest.fixture(params=SETTINGS)
def odd(request: pytest.FixtureRequest, register: ControlRegister) -> Iterator[int]:
    """Something that sets the register around a call and puts it back."""
    before = register.value
    yield (before & ~(3 << 13)) | SETTINGS[request.param]
    register.value = before


def calls(rows: int, dtype: type) -> dict[str, Any]:
    """Every operation, on data and gradients that reach into the subnormal numbers."""
    tiny = float(finfo(dtype).tiny)
    x, grad = normal((rows, 257), dtype, "x"), normal((rows, 257), dtype, "grad")
    x[:, ::2] = x[:, ::2] * dtype(tiny / 4)
    x[1] = x[1] * dtype(tiny)
    weight, bias = parameter((257,), dtype, "weight"), parameter((257,), dtype, "bias")
    bias[::3] *= dtype(tiny / 8)
    grad[::2] = grad[::2] * dtype(tiny / 2)
    subnormal, turned = x * dtype(tiny), grad.T
    _, stats = nd.layer_norm_forward(x)
    _, channels = nd.batch_norm_forward(x)

    start = np.full(257, 1e-39, np.float32)

    def update() -> tuple[Any, ...]:
        mean, var = start.copy(), start.copy()
        nd.update_running_stats(mean, var, channels, momentum=1e-3)
        return mean, var

    return {
        "layer_norm": lambda: nd.layer_norm_forward(x, weight, bias),
        "layer_norm eps 0": lambda: nd.layer_norm_forward(x[1:2], eps=0.0),
        "layer_norm_backward": lambda: nd.layer_norm_backward(grad, x, stats, weight),
        "layer_norm columns": lambda: nd.layer_norm_forward(x.T, weight, bias, axis=0),
        "batch_norm_forward": lambda: nd.batch_norm_forward(x, weight, bias),
        "batch_norm": lambda: nd.batch_norm(x, channels.mean, channels.var, weight, bias),
        "batch_norm_backward": lambda: nd.batch_norm_backward(grad, x, channels, weight),
        "dropout": lambda: nd.dropout(subnormal, 0.5, rng=3),
        "dropout copied": lambda: nd.dropout(turned, 0.1, rng=3),
        "update_running_stats": update,
        "from_running": lambda: nd.BatchStats.from_running(*update(), 1e-39),
        "mask scale": lambda: nd.DropoutMask(1, 2, 0.3, (3,)).scale,
    }


def copied(result: Any) -> Any:
    """Keep the values, also where the next call recycles the memory."""
    if isinstance(result, tuple):
        return tuple(copied(part) for part in result)
    return result.copy() if isinstance(result, np.ndarray) else result


@pytest.mark.parametrize("rows", [3, 4001])
def test_results_do_not_depend_on_the_callers_environment(rows, dtype, odd, register, backend,
                                                          threads):  # fmt: skip
    """Small calls run in the caller's thread, large ones in others too: all must agree."""
    threads(2)
    rows = 3 if is_device(backend) else rows  # no part of a device's call is in them
    for name, call in calls(rows, dtype).items():
        if name == "from_running" or name == "mask scale":
            continue  # Python arithmetic of the caller, checked below for flush-to-zero only
        expected, before = copied(call()), register.value
        register.value = odd
        try:
            got = call()
        finally:
            register.value = before
        assert_same_bits(got, expected, name)


@pytest.mark.parametrize("rows", [3, 4001])
def test_the_callers_environment_is_left_as_it_was(rows, odd, register, backend, threads):
    threads(2)
    rows = 3 if is_device(backend) else rows
    before = register.value
    for name, call in calls(rows, np.float32).items():
        register.value = odd
        try:
            call()
            after = register.value
        finally:
            register.value = before
        assert after & CONTROL == odd & CONTROL, name


def test_errors_leave_the_environment_too(odd, register):
    before = register.value
    register.value = odd
    try:
        with pytest.raises(ValueError):
            nd.layer_norm(np.ones((3, 5), np.float32), eps=-1.0)
        with pytest.raises(TypeError):
            nd.dropout([1.0])
        after = register.value
    finally:
        register.value = before
    assert after & CONTROL == odd & CONTROL


def test_import_changes_nothing(register):
    """A library linked with -ffast-math turns subnormals off for the whole process."""
    assert register.value & (FLUSH_TO_ZERO | DENORMALS_ARE_ZERO | ROUND_TO_ZERO) == 0
    tiny = np.array([finfo(np.float32).tiny], np.float32)
    assert (tiny / np.float32(2) > 0).all()
