"""The arrays of a case on the device, and the same memory as each library sees it."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from math import prod
from types import SimpleNamespace
from typing import Any

import numpy as np

from gpu_check.card import Card, DryCard, numpy_dtype
from normdrop.benchmark.cases import Case
from normdrop.benchmark.operations import operation_of
from normdrop.benchmark.peers.torch_peer import tensor_of

# Buffers in turn hold several times what the last cache level holds: 50 MB on an H200.
ROTATED_BYTES = 4 * 50 * 10**6
FEWEST_BUFFERS, MOST_BUFFERS = 2, 32


class DeviceData(SimpleNamespace):
    """Inputs of one call, as `normdrop.benchmark.data.CaseData`; ``out`` is like x."""

    x: Any
    out: Any

    def for_torch(self) -> DeviceData:
        """As tensors; those of the host share memory as well."""
        return self._each(_torch_tensor)

    def for_jax(self, jax: Any) -> DeviceData:
        """As JAX arrays, by DLPack where they are on a device."""
        return self._each(lambda array: _jax_array(jax, array))

    def for_cupy(self, cupy: Any) -> DeviceData:
        """As CuPy arrays, by DLPack; NumPy's own as they are."""
        return self._each(lambda a: a if isinstance(a, np.ndarray) else cupy.from_dlpack(a))

    def _each(self, convert: Callable[[Any], Any]) -> DeviceData:
        return DeviceData(**{name: convert(array) for name, array in vars(self).items()})


def _torch_tensor(array: Any) -> Any:
    if not isinstance(array, np.ndarray):
        return array
    return tensor_of(importlib.import_module("torch"), array)


def _jax_array(jax: Any, array: Any) -> Any:
    return (
        jax.numpy.asarray(array) if isinstance(array, np.ndarray) else jax.dlpack.from_dlpack(array)
    )


def buffers_of(case: Case, bytes_moved: int) -> int:
    """How many sets of arrays a case takes turns on, so that no cache holds the next one."""
    return int(np.clip(-(-ROTATED_BYTES // bytes_moved), FEWEST_BUFFERS, MOST_BUFFERS))


def estimated_bytes(case: Case, buffers: int) -> int:
    """Memory of a case while it is timed: inputs, outputs that stay alive, and one peer's mask."""
    read, written = operation_of(case).traffic[case.direction]
    return buffers * (len(read) + len(written) + 2) * case.array_bytes


def make_data(card: DryCard, case: Case, seed: int) -> DeviceData:
    """Draw the inputs of one call: activations with a mean, and what the record lists.

    Parameters stay float32 beside bfloat16, as mixed-precision training has them, except where the
    record says that PyTorch takes no others than those of x.
    """
    operation = operation_of(case)
    kind = case.dtype if operation.parameters_of_x else "float32"

    def draw(index: int, shape: tuple[int, ...], dtype: str, mean: float, std: float) -> Any:
        return normal(card, shape, dtype, mean, std, 100 * seed + index)

    x = draw(0, case.memory_shape, case.dtype, 0.5, 1.5)
    data = DeviceData(x=x, out=empty_like(card, x))
    for index, (given, shape) in enumerate(operation.inputs_of(case), start=1):
        dtype = "float32" if given.single else case.dtype if given.like_x else kind
        values = draw(index, shape, dtype, given.mean, given.std)
        setattr(data, given.name, abs(values) if given.positive else values)
    return data


def normal(
    card: DryCard, shape: tuple[int, ...], dtype: str, mean: float, std: float, seed: int
) -> Any:
    """Draw on the device itself: a quarter of a billion numbers take the host seconds."""
    if not isinstance(card, Card):
        values = np.random.default_rng(seed).normal(mean, std, prod(shape)).reshape(shape)
        return values.astype(numpy_dtype(dtype))
    generator = card.torch.Generator(card.device).manual_seed(seed)
    kind = getattr(card.torch, dtype)
    tensor = card.torch.empty(shape, dtype=kind, device=card.device)
    return tensor.normal_(mean, std, generator=generator)


def empty_like(card: DryCard, x: Any) -> Any:
    """Make an array that results go into."""
    return card.torch.empty_like(x) if isinstance(card, Card) else np.empty_like(x)
