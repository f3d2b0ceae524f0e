"""Short calls of every kind of kernel and dtype, to run under compute-sanitizer.

NumPy arrays only: nothing but normdrop's own kernels and copies runs on the device, and nothing
but NumPy has to be loaded under the tool.

    compute-sanitizer --tool memcheck python -m gpu_check.sanitizer_cases cuda
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

import normdrop as nd
from gpu_check.card import numpy_dtype
from gpu_check.findings import Skip

Array = np.ndarray[Any, Any]

DTYPES = ("float32", "float64", "float16", "bfloat16")
# Rows by a few threads, a warp, a block, a cluster, and in chunks; odd lengths lie on no boundary.
_ROWS = ((9, 1), (7, 31), (5, 64), (5, 255), (3, 1000), (3, 1001), (3, 4096), (2, 8192), (2, 16384),
         (2, 33_333), (1, 65_536), (1, 140_001))  # fmt: skip
_CHANNELS = (
    ((3, 5, 7, 11), 1),
    ((2, 3, 4099), 1),
    ((3, 7, 11, 5), -1),
    ((261, 33), 1),
    ((5, 3), 1),
)
_SIZES = (1, 7, 255, 4097, 70_001)


def layer_norms(shape: tuple[int, int], dtype: Any) -> None:
    """Forward, and backward with all gradients."""
    generator = np.random.default_rng(1)
    x, grad = (generator.standard_normal(shape).astype(dtype) for _ in range(2))
    weight, bias = generator.standard_normal((2, shape[1])).astype(dtype)
    _, stats = nd.layer_norm_forward(x, weight, bias)
    nd.layer_norm_backward(grad, x, stats, weight)
    # Channels first: columns instead of rows.
    nd.layer_norm(x, axis=0)


def batch_norms(shape: tuple[int, ...], axis: int, dtype: Any) -> None:
    """Training forward and backward, running statistics, inference."""
    generator = np.random.default_rng(2)
    x, grad = (generator.standard_normal(shape).astype(dtype) for _ in range(2))
    weight, bias = generator.standard_normal((2, shape[axis])).astype(dtype)
    _, stats = nd.batch_norm_forward(x, weight, bias, channel_axis=axis)
    nd.batch_norm_backward(grad, x, stats, weight, channel_axis=axis)
    mean, var = np.zeros(shape[axis]), np.ones(shape[axis])
    nd.update_running_stats(mean, var, stats)
    nd.batch_norm(x, mean, var, weight, bias, channel_axis=axis)


def dropouts(size: int, dtype: Any) -> None:
    """Forward and backward, at an even and at an odd address."""
    line = np.ones(size + 1, dtype)
    for x in (line[:size], line[1:]):
        _, mask = nd.dropout_forward(x, 0.3, rng=(7, 2**33))
        nd.dropout_backward(x, mask)


def run_all(backend: str, tiny: bool) -> int:
    """Run everything; the number of cases."""
    count = 0
    with nd.use_backend(backend):
        for name in DTYPES:
            try:
                dtype = numpy_dtype(name)
            except Skip as reason:
                print(f"skipped: {reason}")
                continue
            for shape in _ROWS[: 3 if tiny else None]:
                layer_norms(shape, dtype)
            for channels, axis in _CHANNELS[: 1 if tiny else None]:
                batch_norms(channels, axis, dtype)
            for size in _SIZES[: 3 if tiny else None]:
                dropouts(size, dtype)
            count += 1
    return count


if __name__ == "__main__":
    print(f"cases of {run_all(sys.argv[1], '--tiny' in sys.argv)} dtypes done")
