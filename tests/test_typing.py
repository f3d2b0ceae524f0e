"""What type checkers make of typed programs: results keep their types, wrong calls are errors."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import normdrop

PACKAGES = Path(normdrop.__file__).parent.parent

NUMPY = """
from typing import Any
import numpy as np
import numpy.typing as npt
import normdrop as nd
from typing_extensions import assert_type

Single = npt.NDArray[np.float32]
Double = npt.NDArray[np.float64]

def layer_norm(x: Single, wide: Double, maybe: Double | None) -> None:
    assert_type(nd.layer_norm(x), Single)
    assert_type(nd.layer_norm(wide, wide, maybe, axis=np.int64(0), eps=1, out=wide), Double)
    with nd.use_backend("baseline"):
        assert_type(nd.layer_norm(x, axis=(np.int64(0), 1)), Single)
    assert_type(nd.layer_norm_forward(x), tuple[Single, nd.NormStats])
    y, stats = nd.layer_norm_forward(x, maybe, axis=np.int32(-1))
    assert_type(y, Single)
    assert_type(stats.mean, Double)
    mean, inv_std = stats
    assert_type(inv_std, Double)
    gradients = nd.layer_norm_backward(y, x, stats, axis=np.uint8(1))
    assert_type(gradients.x, Single)
    assert_type(gradients.bias, Single | None)
    assert_type(nd.layer_norm_backward(y, x, stats, wide).weight, Double | None)
    assert_type(nd.layer_norm_backward(y, x, stats, maybe).x, Single)
    anything: nd.Gradients = gradients

def batch_norm(x: Single, wide: Double) -> None:
    assert_type(nd.batch_norm(x, wide, wide, channel_axis=np.int64(1)), Single)
    y, stats = nd.batch_norm_forward(x, channel_axis=np.int64(1))
    assert_type(y, Single)
    assert_type(stats, nd.BatchStats)
    assert_type(stats.var, Double)
    assert_type(stats.count, int)
    assert_type(nd.batch_norm_backward(y, x, stats, x).weight, Single | None)
    assert_type(nd.batch_norm_backward(y, x, stats).x, Single)
    assert_type(nd.BatchStats.from_running(x, wide).inv_std, Double)
    nd.update_running_stats(wide, wide, stats, correction=np.int64(0))

def family(x: Single, wide: Double, maybe: Double | None) -> None:
    assert_type(nd.rms_norm(x, axis=(np.int64(0), 1)), Single)
    y, rms_stats = nd.rms_norm_forward(x, maybe)
    assert_type(rms_stats, nd.NormStats[Double, None])
    assert_type(rms_stats.mean, None)
    assert_type(rms_stats.inv_std, Double)
    assert_type(nd.rms_norm_backward(y, x, rms_stats, wide).weight, Double | None)
    assert_type(nd.group_norm(x, np.int64(2), wide), Single)
    y, stats = nd.group_norm_forward(x, 2, channel_axis=np.int8(-1))
    assert_type(stats.mean, Double)
    assert_type(nd.group_norm_backward(y, x, stats, 2).x, Single)
    y, stats = nd.instance_norm_forward(x)
    assert_type(nd.instance_norm_backward(y, x, stats, wide, bias=False).weight, Double | None)
    w, norm = nd.weight_norm_forward(x, wide)
    assert_type(w, Single)
    assert_type(norm, Double)
    assert_type(nd.weight_norm_backward(w, x, wide, norm), tuple[Single, Double])
    assert_type(nd.prelu(x, wide), Single)
    assert_type(nd.prelu_backward(y, x, wide), nd.Gradients[Single, Double])

def fused(x: Single, wide: Double, maybe: Double | None) -> None:
    layer = nd.dropout_add_layer_norm_forward(x, x, maybe, p=0.1, rng=np.random.default_rng(0))
    assert_type(layer, nd.FusedNorm[Single])
    assert_type(layer.sum, Single)
    assert_type(layer.stats.mean, Double)
    assert_type(layer.mask, nd.DropoutMask)
    gradients = nd.dropout_add_layer_norm_backward(x, layer, wide, grad_sum=x)
    assert_type(gradients, nd.FusedGradients[Single, Double])
    assert_type(gradients.residual, Single)
    assert_type(gradients.weight, Double | None)
    root = nd.dropout_add_rms_norm_forward(x, x)
    assert_type(root.stats.mean, None)
    assert_type(nd.dropout_add_rms_norm_backward(x, root).x, Single)

def halves(x: Single, wide: Double) -> None:
    stats = nd.batch_stats(x, channel_axis=np.int64(-1))
    assert_type(stats, nd.BatchStats)
    assert_type(nd.BatchStats.merged([stats, stats], eps=1), nd.BatchStats)
    assert_type(nd.batch_norm_apply(x, stats, wide), Single)
    sums = nd.batch_norm_gradient_sums(x, x, stats)
    assert_type(sums, nd.GradientSums)
    assert_type((sums + sums).grad, Double)
    assert_type(nd.batch_norm_backward_apply(x, x, stats, sums, wide), Single)

def dropout(x: Single, bits: np.random.BitGenerator, seeds: np.random.SeedSequence) -> None:
    assert_type(nd.dropout(x, 0.5, rng=np.random.default_rng(0)), Single)
    assert_type(nd.dropout(x, rng=bits), Single)
    assert_type(nd.dropout(x, rng=seeds), Single)
    assert_type(nd.dropout(x, rng=(np.uint64(1), 2)), Single)
    y, mask = nd.dropout_forward(x)
    assert_type(mask, nd.DropoutMask)
    assert_type(mask.keep, npt.NDArray[np.bool_])
    assert_type(nd.dropout_backward(y, mask, out=y), Single)

def unknown_dtype(x: npt.NDArray[Any]) -> None:
    assert_type(nd.layer_norm(x), npt.NDArray[Any])
    assert_type(nd.layer_norm_forward(x)[0], npt.NDArray[Any])

def layers(x: Single) -> None:
    layer = nd.layers.BatchNorm(np.int64(8), channel_axis=np.int64(1))
    assert_type(layer.eval(), nd.layers.BatchNorm)
    assert_type(nd.layers.LayerNorm([3, np.int64(4)]).train(), nd.layers.LayerNorm)
    assert_type(layer.load_state_dict({}, strict=False).missing_keys, list[str])
    output = nd.layers.Dropout(0.5, rng=0)(layer(x, training=True), for_backward=False)
    print(nd.reference.layer_norm(output))

class Scale(nd.layers.Layer[npt.NDArray[Any]]):
    def __init__(self) -> None:
        super().__init__()
        self.weight = self.add_parameter("weight", np.ones(3))
        self.inner = self.add_layer("inner", nd.layers.LayerNorm(3))

    def both(self) -> None:
        assert_type(self.weight, npt.NDArray[Any])
        assert_type(self.inner, nd.layers.LayerNorm)
"""

DEVICES = """
from typing import Any
import normdrop as nd
from typing_extensions import assert_type

class OffersDLPack:
    def __dlpack__(self, *, stream: int | None = None) -> Any:
        raise NotImplementedError
    def __dlpack_device__(self) -> tuple[int, int]:
        raise NotImplementedError

class OffersCuda:
    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        raise NotImplementedError

def device(x: nd.DeviceArray) -> None:
    assert_type(nd.layer_norm(x, x), nd.DeviceArray)
    y, stats = nd.batch_norm_forward(x, x, x)
    assert_type(y, nd.DeviceArray)
    assert_type(stats.mean, Any)
    assert_type(nd.batch_norm_backward(y, x, stats, x).weight, nd.DeviceArray | None)
    nd.update_running_stats(x, x, stats)
    assert_type(nd.BatchStats.from_running(x, x), nd.BatchStats[Any])
    assert_type(nd.group_norm(x, 2, x), nd.DeviceArray)
    assert_type(nd.rms_norm_forward(x)[1].inv_std, Any)
    fused = nd.dropout_add_rms_norm_forward(x, x, x, rng=x)
    assert_type(fused.sum, nd.DeviceArray)
    assert_type(nd.dropout_add_rms_norm_backward(x, fused, x).bias, nd.DeviceArray | None)
    assert_type(nd.batch_norm_gradient_sums(x, x, nd.batch_stats(x)), nd.GradientSums[Any])
    assert_type(nd.weight_norm_forward(x, x), tuple[nd.DeviceArray, Any])

def others(first: OffersDLPack, second: OffersCuda) -> None:
    assert_type(nd.layer_norm(first), OffersDLPack)
    assert_type(nd.layer_norm_forward(second)[0], OffersCuda)
    assert_type(nd.dropout(second, rng=first), OffersCuda)
"""

FRAMEWORK = """
import {module}
import normdrop as nd
from typing_extensions import assert_type

def program(x: {array}, rng: {array}) -> None:
    assert_type(nd.layer_norm(x, x, axis=(0, 1), out=x), {array})
    y, stats = nd.layer_norm_forward(x)
    assert_type(y, {array})
    gradients = nd.layer_norm_backward(y, x, stats, x)
    assert_type(gradients.x, {array})
    assert_type(gradients.weight, {array} | None)
    assert_type(nd.dropout_forward(x, rng=rng)[0], {array})
"""

ARRAY = """
import numpy as np
import normdrop as nd
x = np.ones((4, 8), np.float32)
mask = nd.DropoutMask(1, 2, 0.5, (4, 8))
y, stats = nd.layer_norm_forward(x)
"""

WRONG = [
    "nd.layer_norm([[1.0, 2.0]])",
    "nd.layer_norm_forward([[1.0, 2.0]])",
    "nd.layer_norm_backward([[1.0]], x, stats)",
    "nd.batch_norm('text', x, x)",
    "nd.batch_norm_forward((1.0, 2.0))",
    "nd.dropout([1.0])",
    "nd.dropout_backward(1.0, mask)",
    "nd.layer_norm(x, axis='0')",
    "nd.layer_norm(x, axis=1.5)",
    "nd.layer_norm_forward(x, axis=('0', 1))",
    "nd.batch_norm_forward(x, channel_axis='1')",
    "nd.layer_norm(x, x, x, -1)",
    "nd.layer_norm_forward(x, eps='small')",
    "nd.dropout(x, rng='seed')",
    "nd.dropout(x, rng=np.random.RandomState(0))",
    "nd.dropout(x, rng=(1, 2, 3))",
    "nd.layers.BatchNorm('three')",
    "nd.layers.LayerNorm((3, 'four'))",
    "nd.layers.LayerNorm(3)(x, training='yes')",
    "nd.layers.LayerNorm(3)([1.0])",
]


CHECKERS = {
    "mypy": ["--strict", "--python-version", "3.10", "--no-error-summary"],
    "pyright": ["--pythonpath", sys.executable, "--pythonversion", "3.10"],
}


def run(checker: str, folder: Path, *arguments: str) -> tuple[int, str]:
    result = subprocess.run(
        [sys.executable, "-m", checker, *arguments],
        capture_output=True,
        text=True,
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(PACKAGES)},
    )
    return result.returncode, result.stdout + result.stderr


@pytest.fixture(params=CHECKERS, scope="module")
def check(request, tmp_path_factory):
    """A function that checks a program; programs share a folder, and so mypy's cache."""
    checker, folder = request.param, tmp_path_factory.mktemp(request.param)
    pytest.importorskip(checker)
    if run(checker, folder, "--version")[0]:
        pytest.skip(f"{checker} does not start; the package of pyright fetches the program itself")

    def checked(text: str) -> tuple[int, str]:
        (folder / "program.py").write_text("from __future__ import annotations\n" + text)
        return run(checker, folder, *CHECKERS[checker], "program.py")

    return checked


@pytest.mark.parametrize("program", [NUMPY, DEVICES], ids=["numpy", "devices"])
def test_a_typed_program_passes(check, program):
    status, output = check(program)
    assert status == 0, output


@pytest.mark.frameworks
@pytest.mark.parametrize(
    ("module", "array"), [("torch", "torch.Tensor"), ("jax", "jax.Array")], ids=["torch", "jax"]
)
def test_arrays_of_other_libraries_pass(check, module, array):
    if importlib.util.find_spec(module) is None:
        pytest.skip(f"{module} is not installed")
    status, output = check(FRAMEWORK.format(module=module, array=array))
    assert status == 0, output


def test_every_wrong_call_is_an_error(check):
    start = 2 + ARRAY.count("\n")
    status, output = check(ARRAY + "\n".join(WRONG) + "\n")
    lines = {int(line) for line in re.findall(r"program\.py:(\d+).* error", output)}
    assert status == 1, output
    assert lines == set(range(start, start + len(WRONG))), output
