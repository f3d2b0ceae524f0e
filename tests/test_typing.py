"""A user's typed program passes mypy --strict, and a wrong one does not."""

import subprocess
import sys

import pytest

pytest.importorskip("mypy")

GOOD = """
import numpy as np
import numpy.typing as npt
import normdrop as nd
from normdrop.layers import BatchNorm, Dropout

x: npt.NDArray[np.float32] = np.ones((4, 8), np.float32)
y, stats = nd.layer_norm_forward(x, axis=(0, 1), eps=1e-6)
gradients: nd.Gradients = nd.layer_norm_backward(y, x, stats, bias=False)
if gradients.weight is not None:
    print(gradients.weight.sum())
z, mask = nd.dropout_forward(x, 0.1, rng=(1, 2))
kept: npt.NDArray[np.bool_] = mask.keep
count: int = nd.batch_norm_forward(x)[1].count
with nd.use_backend("baseline"):
    nd.batch_norm(x, stats.mean, stats.mean, out=y)
layer = BatchNorm(8)
output = Dropout(0.5, rng=0)(layer(x, training=True))
"""

BAD = """
import normdrop as nd
nd.layer_norm("text", axis=1.5)
"""


def run_mypy(tmp_path, text):
    source = tmp_path / "program.py"
    source.write_text(text)
    command = [sys.executable, "-m", "mypy", "--strict", "--cache-dir", str(tmp_path), str(source)]
    return subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)


def test_a_typed_program_passes(tmp_path):
    result = run_mypy(tmp_path, GOOD)
    assert result.returncode == 0, result.stdout + result.stderr


def test_a_wrong_program_fails(tmp_path):
    result = run_mypy(tmp_path, BAD)
    assert result.returncode == 1
    assert result.stdout.count("error:") >= 2, result.stdout
