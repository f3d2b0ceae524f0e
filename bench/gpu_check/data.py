"""The arrays of a case on the device, and the same memory as each library sees it."""

from __future__ import annotations

import importlib
from dataclasses import dataclass, fields, replace
from math import prod
from typing import Any

import numpy as np

from gpu_check.card import Card, DryCard, numpy_dtype
from normdrop.benchmark.cases import Case

# Buffers in turn hold several times what the last cache level holds: 50 MB on an H200.
ROTATED_BYTES = 4 * 50 * 10**6
FEWEST_BUFFERS, MOST_BUFFERS = 2, 32


@dataclass(frozen=True)
class DeviceData:
    """Inputs of one call, as `normdrop.benchmark.data.CaseData`; ``out`` is like x."""

    x: Any
    weight: Any
    bias: Any
    grad_output: Any
    running_mean: Any
    running_var: Any
    out: Any

    def for_torch(self) -> Any:
        """As tensors; those of the host share memory as well."""
        return self._each(lambda array: _torch_tensor(array))

    def for_jax(self, jax: Any) -> Any:
        """As JAX arrays, by DLPack where they are on a device."""
        return self._each(lambda array: _jax_array(jax, array))

    def for_cupy(self, cupy: Any) -> Any:
        """As CuPy arrays, by DLPack; NumPy's own as they are."""
        return self._each(lambda a: a if isinstance(a, np.ndarray) else cupy.from_dlpack(a))

    def _each(self, convert: Any) -> DeviceData:
        named = {field.name: getattr(self, field.name) for field in fields(self)}
        return replace(self, **{k: None if v is None else convert(v) for k, v in named.items()})


def _torch_tensor(array: Any) -> Any:
    if not isinstance(array, np.ndarray):
        return array
    torch: Any = importlib.import_module("torch")
    if array.dtype.name == "bfloat16":
        return torch.from_numpy(array.view(np.int16)).view(torch.bfloat16)
    return torch.from_numpy(array)


def _jax_array(jax: Any, array: Any) -> Any:
    return (
        jax.numpy.asarray(array) if isinstance(array, np.ndarray) else jax.dlpack.from_dlpack(array)
    )


def buffers_of(case: Case, bytes_moved: int) -> int:
    """How many sets of arrays a case takes turns on, so that no cache holds the next one."""
    return int(np.clip(-(-ROTATED_BYTES // bytes_moved), FEWEST_BUFFERS, MOST_BUFFERS))


def estimated_bytes(case: Case, buffers: int) -> int:
    """Memory of a case while it is timed: inputs, outputs that stay alive, and one peer's mask."""
    arrays = 4 if case.direction == "backward" else 3
    return buffers * (arrays + 1) * case.array_bytes


def make_data(card: DryCard, case: Case, seed: int) -> DeviceData:
    """Draw the inputs of one call: activations with a mean, parameters near 1 and 0.

    Parameters of a batch norm stay float32 beside bfloat16, as mixed-precision training has them;
    those of a layer norm have the dtype of x, since PyTorch takes no others on a GPU.
    """
    kind = case.dtype if case.op == "layer_norm" else "float32"
    with_parameters, inference = case.op != "dropout", case.direction == "inference"

    def draw(index: int, shape: tuple[int, ...], dtype: str, mean: float, std: float) -> Any:
        return normal(card, shape, dtype, mean, std, 10 * seed + index)

    x = draw(0, case.memory_shape, case.dtype, 0.5, 1.5)
    length = (case.parameters,)
    backward = case.direction == "backward"
    return DeviceData(
        x=x,
        weight=draw(1, length, kind, 1.0, 0.2) if with_parameters else None,
        bias=draw(2, length, kind, 0.0, 0.2) if with_parameters else None,
        grad_output=draw(3, case.memory_shape, case.dtype, 0.0, 1.0) if backward else None,
        running_mean=draw(4, length, "float32", 0.5, 0.1) if inference else None,
        running_var=draw(5, length, "float32", 2.25, 0.02) if inference else None,
        out=empty_like(card, x),
    )


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
