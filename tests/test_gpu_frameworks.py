"""PyTorch, CuPy and JAX arrays on a real device; left out where there is none."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np
import pytest

import normdrop as nd
from cases import normal, parameter
from comparing import assert_same_bits
from tolerances import BFLOAT16_UNIT, CHAIN_ABSOLUTE, CHAIN_RELATIVE

pytestmark = [
    pytest.mark.frameworks,
    pytest.mark.skipif("cuda" not in nd.backends(), reason="needs a CUDA device"),
]
SHAPE = (37, 129)
DTYPES = ["float32", "float64", "float16"]


@pytest.fixture
def torch() -> Any:
    module = pytest.importorskip("torch")
    if not module.cuda.is_available():
        pytest.skip("needs PyTorch with CUDA")
    return module


@pytest.fixture
def cupy() -> ModuleType:
    return pytest.importorskip("cupy")


@pytest.fixture
def jax() -> Any:
    module = pytest.importorskip("jax")
    if module.default_backend() != "gpu":
        pytest.skip("needs JAX with CUDA")
    return module


def inputs(dtype: str) -> tuple[np.ndarray, ...]:
    x, grad = normal(SHAPE, dtype, "x"), normal(SHAPE, dtype, "grad")
    return x, grad, parameter((129,), dtype, "w"), parameter((129,), dtype, "b")


def everything(x: Any, grad: Any, w: Any, b: Any) -> tuple[Any, ...]:
    """Every operation on arrays of one kind; no scalars among the results."""
    y, rows = nd.layer_norm_forward(x, w, b)
    z, channels = nd.batch_norm_forward(x, w, b)
    d, mask = nd.dropout_forward(x, 0.3, rng=(5, 6))
    inference = nd.batch_norm(x, channels.mean, channels.var, w, b)
    return (
        y, *rows, *nd.layer_norm_backward(grad, x, rows, w),
        z, *channels[:3], *nd.batch_norm_backward(grad, x, channels, w),
        d, nd.dropout_backward(grad, mask), inference,
    )  # fmt: skip


def staged(dtype: str) -> tuple[np.ndarray, ...]:
    """The same through NumPy arrays on the same backend, which must have the same bits."""
    with nd.use_backend("cuda"):
        return everything(*inputs(dtype))


@pytest.mark.parametrize("dtype", DTYPES)
def test_torch(torch, dtype):
    arrays = [torch.from_numpy(array).cuda() for array in inputs(dtype)]
    with torch.cuda.stream(torch.cuda.Stream()):
        torch.cuda.current_stream().wait_stream(torch.cuda.default_stream())
        results = everything(*arrays)
        assert all(type(result) is torch.Tensor and result.is_cuda for result in results)
        got = tuple(result.cpu().numpy() for result in results)
    assert_same_bits(got, staged(dtype))


def test_torch_bfloat16_and_strides(torch):
    x = torch.randn(32, 64, 48, device="cuda", dtype=torch.bfloat16).permute(2, 0, 1)
    y = nd.layer_norm(x, axis=0)
    assert y.dtype == torch.bfloat16 and y.stride() == x.stride()
    expected = torch.nn.functional.layer_norm(x.permute(1, 2, 0).float(), (48,))
    unit = BFLOAT16_UNIT
    torch.testing.assert_close(y.permute(1, 2, 0).float(), expected, rtol=unit, atol=unit)


def test_torch_out_running_statistics_and_gradients(torch):
    x = torch.randn(*SHAPE, device="cuda")
    expected = nd.layer_norm(x)
    assert nd.layer_norm(x, out=x) is x
    assert torch.equal(x, expected)
    mean, var = torch.zeros(129, device="cuda"), torch.ones(129, device="cuda")
    layer = torch.nn.BatchNorm1d(129).cuda()
    layer(x)
    nd.update_running_stats(mean, var, nd.batch_norm_forward(x)[1])
    torch.testing.assert_close(mean, layer.running_mean)
    torch.testing.assert_close(var, layer.running_var)
    with pytest.raises(TypeError, match=r"\.detach\(\)"):
        nd.layer_norm(x.clone().requires_grad_())
    with pytest.raises(TypeError, match=r"got numpy\.ndarray"):
        nd.layer_norm(x, np.ones(129, np.float32))


def test_a_captured_graph_moves_its_dropout_on(torch):
    x = torch.ones(4096, device="cuda")
    draw = torch.tensor([7, 0], device="cuda").view(torch.uint64)
    out = torch.empty_like(x)
    nd.dropout(x, rng=draw, out=out)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        nd.dropout(x, rng=draw, out=out)
    for call in (0, 1, 2):
        draw.copy_(torch.tensor([7, call], device="cuda").view(torch.uint64))
        graph.replay()
        expected = nd.dropout(np.ones(4096, np.float32), rng=(7, call))
        assert_same_bits(out.cpu().numpy(), expected)


@pytest.mark.parametrize("dtype", DTYPES)
def test_cupy(cupy, dtype):
    arrays = [cupy.asarray(array) for array in inputs(dtype)]
    with cupy.cuda.Stream(non_blocking=True) as stream:
        cupy.cuda.Device().synchronize()
        results = everything(*arrays)
        assert all(type(result) is cupy.ndarray for result in results)
        stream.synchronize()
        got = tuple(cupy.asnumpy(result) for result in results)
    assert_same_bits(got, staged(dtype))


def test_cupy_memory_order(cupy):
    x = cupy.asfortranarray(cupy.asarray(inputs("float32")[0]))
    y = nd.layer_norm(x)
    assert y.strides == x.strides and type(y) is cupy.ndarray


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_jax(jax, dtype):
    arrays = [jax.device_put(array) for array in inputs(dtype)]
    results = everything(*arrays)
    assert isinstance(results[0], jax.Array)
    own = [r.to_numpy() if isinstance(r, nd.DeviceArray) else np.asarray(r) for r in results]
    assert_same_bits(tuple(own), staged(dtype))
    with pytest.raises(TypeError, match="JAX"):
        nd.layer_norm(arrays[0], out=arrays[0])


def test_jax_results_are_computed_after_what_they_depend_on(jax):
    """A chain of JAX and ours without a wait on the host."""
    x = jax.device_put(inputs("float32")[0])
    for _ in range(20):
        x = nd.layer_norm(x * 2.0 + 1.0)
    values = np.asarray(inputs("float32")[0])
    for _ in range(20):
        values = nd.layer_norm(values * 2.0 + 1.0)
    np.testing.assert_allclose(np.asarray(x), values, rtol=CHAIN_RELATIVE, atol=CHAIN_ABSOLUTE)
