"""The same calls in PyTorch: names, momentum, eps and estimators mean what its users expect.

Only the meaning is compared; accuracy is measured against exact answers elsewhere.
"""

from __future__ import annotations

import numpy as np
import pytest

import normdrop as nd
from cases import axis_shape, normal, parameter
from comparing import close_to_framework
from tolerances import KEEP_RATE_ABSOLUTE

pytestmark = pytest.mark.frameworks
torch = pytest.importorskip("torch")
functional = torch.nn.functional


def tensors(*arrays: np.ndarray) -> list[torch.Tensor]:
    return [torch.from_numpy(array.copy()).requires_grad_() for array in arrays]


@pytest.mark.parametrize(("shape", "axis"), [((7, 13), -1), ((3, 5, 7), (1, 2)), ((2, 3, 5), -1)])
def test_layer_norm(shape, axis):
    sizes = axis_shape(shape, axis)
    x, grad = normal(shape, np.float32, "x"), normal(shape, np.float32, "grad")
    weight, bias = parameter(sizes, np.float32, "weight"), parameter(sizes, np.float32, "bias")
    tx, tw, tb = tensors(x, weight, bias)
    theirs = functional.layer_norm(tx, sizes, tw, tb)
    theirs.backward(torch.from_numpy(grad))
    y, stats = nd.layer_norm_forward(x, weight, bias, axis=axis)
    gradients = nd.layer_norm_backward(grad, x, stats, weight, axis=axis)
    close_to_framework(y, theirs)
    for got, tensor in zip(gradients, (tx, tw, tb), strict=True):
        close_to_framework(got, tensor.grad)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("shape", [(7, 5), (7, 5, 3), (2, 5, 3, 7)])
def test_batch_norm(shape, training):
    x, grad = normal(shape, np.float32, "x"), normal(shape, np.float32, "grad")
    weight, bias = parameter((5,), np.float32, "weight"), parameter((5,), np.float32, "bias")
    mean, var = normal((5,), np.float32, "mean"), normal((5,), np.float32, "var") ** 2 + 1
    running = [torch.from_numpy(array.copy()) for array in (mean, var)]
    tx, tw, tb = tensors(x, weight, bias)
    theirs = functional.batch_norm(tx, *running, tw, tb, training=training, momentum=0.3)
    theirs.backward(torch.from_numpy(grad))
    if training:
        y, stats = nd.batch_norm_forward(x, weight, bias)
        nd.update_running_stats(mean, var, stats, momentum=0.3)
        close_to_framework(mean, running[0])
        close_to_framework(var, running[1])
    else:
        y, stats = nd.batch_norm(x, mean, var, weight, bias), nd.BatchStats.from_running(mean, var)
    gradients = nd.batch_norm_backward(grad, x, stats, weight, frozen=not training)
    close_to_framework(y, theirs)
    for got, tensor in zip(gradients, (tx, tw, tb), strict=True):
        close_to_framework(got, tensor.grad)


def test_dropout_probability_is_that_of_dropping():
    """Papers write p for keeping; here and in PyTorch it is dropping."""
    x = np.ones(100_000, np.float32)
    ours = nd.dropout(x, 0.2, rng=3)
    theirs = functional.dropout(torch.from_numpy(x), 0.2)
    assert abs((ours != 0).mean() - float((theirs != 0).float().mean())) < KEEP_RATE_ABSOLUTE
    assert ours.max() == pytest.approx(float(theirs.max()))


def test_ours_is_more_exact_than_theirs_on_offset_rows():
    """Where a float32 mean is rounded, x - mean is not what it should be."""
    x = normal((1, 4099), np.float32, "x", offset=3e4)
    exact = x.astype(np.float64)
    exact = (exact - exact.mean()) / np.sqrt(exact.var() + 1e-5)
    theirs = functional.layer_norm(torch.from_numpy(x), (4099,)).numpy()
    ours = nd.layer_norm(x)
    assert np.abs(ours - exact).max() < np.abs(theirs - exact).max()
