"""Dropout against the CPU bit for bit, and norms against the emulated kernels."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

import normdrop as nd
from gpu_check.card import DryCard, numpy_dtype, reference_backend
from gpu_check.findings import Different, Findings, Skip

Array = np.ndarray[Any, Any]

DTYPES = ("float32", "float64", "float16", "bfloat16")
_SEEDS = (0, 1, 7, 2**32 - 1, 2**32, 2**63 + 11, 2**64 - 1)
_CALLS = (0, 1, 2**32 + 3, 2**64 - 1)
_PROBABILITIES = (0.1, 0.5, 0.0, 0.999, 1.0)
# Around a Philox block of 4, around vectors, warps and blocks of threads, and beyond a grid's wave.
_SIZES = (1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 65, 127, 129, 255, 257, 1023, 1025,
          4095, 4097, 65_535, 65_537, 1_000_003, (1 << 24) + 5)  # fmt: skip
_OFFSETS = (0, 1, 2, 3, 5, 7)
_TINY = (1, 5, 17)


def check_bits(card: DryCard | None, backend: str, findings: Findings) -> None:
    """Run every comparison; without a card (no PyTorch) on NumPy arrays alone."""
    reference = reference_backend(backend)
    tiny = backend != "cuda"
    for dtype in DTYPES:
        findings.run(
            f"dropout of NumPy arrays, {dtype}, {backend} against {reference}",
            lambda dtype=dtype: _host_arrays(dtype, backend, reference, tiny),
        )
        if card is not None:
            findings.run(
                f"dropout of device arrays at odd addresses, {dtype}, against {reference}",
                lambda dtype=dtype: _device_arrays(card, dtype, reference, tiny),
            )
            findings.run(
                f"layer norm of device arrays at odd addresses, {dtype}, against aligned ones",
                lambda dtype=dtype: _rows_at_offsets(card, dtype, tiny),
            )
    _check_norms(backend, findings, tiny)


def _draws(sizes: tuple[int, ...]) -> Iterator[tuple[int, int, int, float]]:
    """Give every size some seeds, calls and probabilities, and one size all of them."""
    draws = list(itertools.product(_SEEDS, _CALLS, _PROBABILITIES))
    for index, size in enumerate(sizes):
        for step in range(5):
            # 37 has no factor in common with the number of draws: all of them come up.
            yield size, *draws[(index * 5 + step) * 37 % len(draws)]
    for draw in draws:
        yield sizes[-1] % 1000 + 3, *draw


def _values(size: int, dtype: np.dtype[Any]) -> Array:
    """Draw numbers, none of them 0, so that a 0 in a result was dropped."""
    values = np.random.default_rng(size).standard_normal(size, dtype=np.float32)
    return np.where(values == 0, 1, values).astype(dtype)


def require_same_bits(got: Array, wanted: Array, what: str) -> None:
    """Fail with the first difference."""
    if got.dtype != wanted.dtype or got.shape != wanted.shape:
        raise AssertionError(
            f"{what}: {got.dtype} {got.shape} instead of {wanted.dtype} {wanted.shape}"
        )
    bits = np.dtype(f"u{got.itemsize}")
    differ = np.flatnonzero(
        np.ascontiguousarray(got).view(bits) != np.ascontiguousarray(wanted).view(bits)
    )
    if differ.size:
        first = int(differ[0])
        raise AssertionError(
            f"{what}: {differ.size} of {got.size} elements differ, first [{first}]: "
            f"{got.ravel()[first]} instead of {wanted.ravel()[first]}"
        )


def _expected(x: Array, p: float, rng: tuple[int, int], reference: str) -> tuple[Array, Array]:
    with nd.use_backend(reference):
        y, mask = nd.dropout_forward(x, p, rng=rng)
        return y, mask.keep


def _host_arrays(name: str, backend: str, reference: str, tiny: bool) -> str:
    dtype = numpy_dtype(name)
    count = 0
    for size, seed, call, p in _draws(_TINY if tiny else _SIZES):
        x, rng = _values(size, dtype), (seed, call)
        what = f"size {size}, p {p}, rng {rng}"
        wanted, keep = _expected(x, p, rng, reference)
        with nd.use_backend(backend):
            y, mask = nd.dropout_forward(x, p, rng=rng)
            require_same_bits(y, wanted, what)
            require_same_bits(nd.dropout_backward(x, mask), wanted, f"{what}, backward")
            require_same_bits(mask.keep, keep, f"{what}, mask")
        count += 1
    return f"{count} masks"


def _device_arrays(card: DryCard, name: str, reference: str, tiny: bool) -> str:
    dtype = numpy_dtype(name)
    count = 0
    sizes = _TINY if tiny else tuple(size for size in _SIZES if size < 1 << 20)
    with nd.use_backend(card.backend):
        for (size, seed, call, p), offset in zip(_draws(sizes), itertools.cycle(_OFFSETS)):
            x, rng = _values(size, dtype), (seed, call)
            what = f"size {size}, p {p}, rng {rng}, {offset} elements behind"
            wanted, keep = _expected(x, p, rng, reference)
            device_x = card.put(x, offset)
            y, mask = nd.dropout_forward(device_x, p, rng=rng)
            require_same_bits(card.get(y), wanted, what)
            require_same_bits(mask.keep, keep, f"{what}, mask")
            target = card.put(np.zeros_like(x), (offset + 1) % 4)
            nd.dropout_backward(device_x, mask, out=target)
            require_same_bits(card.get(target), wanted, f"{what}, backward into other lanes")
            count += 1
    return f"{count} masks"


def _rows_at_offsets(card: DryCard, name: str, tiny: bool) -> str:
    """Forward and backward: the same bits wherever the arrays begin."""
    dtype = numpy_dtype(name)
    generator = np.random.default_rng(5)
    count = 0
    for shape in ((5, 17),) if tiny else ((7, 1001), (7, 1024), (3, 9000), (2, 40_001)):
        x, grad = (generator.standard_normal(shape).astype(dtype) for _ in range(2))
        weight = card.put(generator.standard_normal(shape[1]).astype(dtype))
        wanted: list[Array] = []
        for offset in _OFFSETS:
            device_x, device_grad = card.put(x, offset), card.put(grad, (offset + 3) % 8)
            with nd.use_backend(card.backend):
                y, stats = nd.layer_norm_forward(device_x, weight)
                grads = nd.layer_norm_backward(device_grad, device_x, stats, weight)
            results = [card.get(result) for result in (y, *grads)]
            for index, (got, first) in enumerate(zip(results, wanted or results, strict=True)):
                require_same_bits(got, first, f"{shape}, {offset} elements behind, result {index}")
            wanted = wanted or results
            count += 1
    return f"{count} calls"


# Rows of every kind of kernel, few rows and many; channels in every layout.
_ROWS = ((37, 1), (33, 31), (64, 64), (9, 255), (17, 1000), (5, 1001), (6, 4096), (3, 8192),
         (2, 16384), (2, 40_001), (1, 131_072), (1, 200_001))  # fmt: skip
_CHANNELS = (
    ((3, 5, 7, 11), 1),
    ((3, 7, 11, 5), -1),
    ((257, 33), 1),
    ((13, 3), 1),
    ((2, 3, 9001), 1),
)


def _check_norms(backend: str, findings: Findings, tiny: bool) -> None:
    """Compare with the emulation; a difference is told and is no failure.

    The card may round a division or a root of the statistics like the host or like itself.
    """
    cases = [*((shape, None) for shape in _ROWS), *_CHANNELS]
    for dtype, (shape, axis) in itertools.product(DTYPES, cases[::8] if tiny else cases):
        kind = "layer norm" if axis is None else "batch norm"
        findings.run(
            f"{kind} {shape} {dtype}, {backend} against the emulation",
            lambda shape=shape, axis=axis, dtype=dtype: _compare_norms(
                _norm_results(shape, axis, dtype), backend
            ),
        )


def _norm_results(
    shape: tuple[int, ...], axis: int | None, name: str
) -> Callable[[str], list[Array]]:
    """Return a function that computes all results of a norm under a backend."""
    dtype = numpy_dtype(name)
    generator = np.random.default_rng(shape[0])
    x = (generator.standard_normal(shape) + 2).astype(dtype)
    grad = generator.standard_normal(shape).astype(dtype)
    length = shape[-1] if axis is None else shape[axis]
    weight, bias = generator.standard_normal((2, length)).astype(dtype)

    def results(backend: str) -> list[Array]:
        with nd.use_backend(backend):
            if axis is None:
                y, row_stats = nd.layer_norm_forward(x, weight, bias)
                return [y, *row_stats, *nd.layer_norm_backward(grad, x, row_stats, weight)]
            y, stats = nd.batch_norm_forward(x, weight, bias, channel_axis=axis)
            back = nd.batch_norm_backward(grad, x, stats, weight, channel_axis=axis)
            return [y, stats.mean, stats.var, stats.inv_std, *back]

    return results


def _compare_norms(results: Callable[[str], list[Array]], backend: str) -> None:
    if "cuda-emulated" not in nd.backends():
        raise Skip("this build has no emulation")
    different = []
    for index, (got, wanted) in enumerate(
        zip(results(backend), results("cuda-emulated"), strict=True)
    ):
        try:
            require_same_bits(got, wanted, f"result {index}")
        except AssertionError as error:
            different.append(str(error))
    if different:
        raise Different("; ".join(different))
