"""NumPy arrays under a device's backend: staged through pinned buffers, in chunks and whole."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import normdrop as nd
from cases import normal, parameter
from comparing import assert_same_bits, check_batch_norm, check_layer_norm
from normdrop import _core
from tolerances import HANG_SECONDS

EMULATED = "cuda-emulated"
pytestmark = pytest.mark.emulated_device
SMALL, DEFAULT = 4096, 4 << 20  # bytes of a chunk
ROWS = (251, 67)

LAYOUTS = {
    "dense": lambda a: a,
    "Fortran order": np.asfortranarray,
    "gaps between rows": lambda a: np.repeat(a, 2, 0)[::2],
    "a step inside": lambda a: np.repeat(a, 2, 1)[:, ::2],
    "rows reversed": lambda a: a[::-1],
    "broadcast": lambda a: np.broadcast_to(a[:1], a.shape),
}


@pytest.fixture(autouse=True)
def small_chunks() -> Iterator[None]:
    """Chunks of a few rows, so that short arrays go through several of them."""
    _core.set_staging_chunk(SMALL)
    with nd.use_backend(EMULATED):
        yield
    _core.set_staging_chunk(DEFAULT)


def calls(x: np.ndarray) -> dict[str, Any]:
    """Every operation on (rows, columns), with results as a tuple."""
    count = x.shape[1]
    w, b = (parameter((count,), x.dtype, name) for name in "wb")
    grad = normal(x.shape, x.dtype, "grad")
    mean, var = np.linspace(-1, 1, count), np.linspace(1, 2, count, dtype=np.float32)
    rows, channels = nd.layer_norm_forward(x)[1], nd.batch_norm_forward(x)[1]
    return {
        "layer_norm": lambda: (nd.layer_norm(x, w, b),),
        "layer_norm over columns": lambda: (nd.layer_norm(x, axis=0),),
        "layer_norm_forward": lambda: _flat(nd.layer_norm_forward(x, w, b)),
        "layer_norm_backward": lambda: tuple(nd.layer_norm_backward(grad, x, rows, w)),
        "batch_norm": lambda: (nd.batch_norm(x, mean, var, w, b),),
        "batch_norm_forward": lambda: _flat(nd.batch_norm_forward(x, w, b)),
        "batch_norm_backward": lambda: tuple(nd.batch_norm_backward(grad, x, channels, w)),
        "dropout": lambda: (nd.dropout(x, 0.3, rng=(5, 6)),),
        "dropout of rows": lambda: (nd.dropout(x, 0.3, rng=(5, 6), shared_axes=1),),
        "dropout of columns": lambda: (nd.dropout(x, 0.3, rng=(5, 6), shared_axes=0),),
        "alpha_dropout": lambda: (nd.alpha_dropout(x, 0.3, rng=(5, 6)),),
        "gaussian_dropout": lambda: (nd.gaussian_dropout(x, 0.3, rng=(5, 6)),),
        "uniform_dropout": lambda: (nd.uniform_dropout(x, 0.3, rng=(5, 6)),),
    }


def _flat(result: tuple[Any, tuple[Any, ...]]) -> tuple[Any, ...]:
    return result[0], *result[1]


OPERATIONS = list(calls(np.ones((2, 3), np.float32)))


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_the_size_of_a_chunk_shows_nowhere(operation, layout, dtype):
    x = LAYOUTS[layout](normal(ROWS, dtype, "x"))
    before = x.tobytes()
    in_chunks = calls(x)[operation]()
    _core.set_staging_chunk(DEFAULT)
    at_once = calls(x)[operation]()
    assert_same_bits(in_chunks, at_once, operation)
    assert all(type(part) is np.ndarray for part in in_chunks if not isinstance(part, int))
    assert [getattr(part, "strides", None) for part in in_chunks] == [
        getattr(part, "strides", None) for part in at_once
    ]
    assert x.tobytes() == before, "an input was written to"


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_results_are_right(layout, dtype):
    x = LAYOUTS[layout](normal(ROWS, dtype, "x"))
    w, b = (parameter((67,), dtype, name) for name in "wb")
    grad = normal(ROWS, dtype, "grad")
    check_layer_norm(x, w, b, grad)
    if layout != "broadcast":  # no variance along the batch
        check_batch_norm(x, w, b, grad)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_masks_are_those_of_the_host(layout):
    x = LAYOUTS[layout](normal(ROWS, np.float32, "x"))
    staged, mask = nd.dropout_forward(x, 0.3, rng=(2**63, 7))
    with nd.use_backend("baseline"):
        assert_same_bits(staged, nd.dropout(x, 0.3, rng=(2**63, 7)))
        assert_same_bits(nd.dropout_backward(x, mask), staged)


@pytest.mark.parametrize("layout", [name for name in LAYOUTS if name != "broadcast"])
def test_out_and_in_place(layout):
    x = normal(ROWS, np.float32, "x")
    w = parameter((67,), np.float32, "w")
    expected = nd.layer_norm(x, w)
    out = LAYOUTS[layout](np.full(ROWS, 7, np.float32))
    assert nd.layer_norm(x, w, out=out) is out
    assert_same_bits(out, expected)
    own = LAYOUTS[layout](x.copy())
    expected = nd.layer_norm(own, w)  # another memory order may round differently
    assert nd.layer_norm(own, w, out=own) is own
    assert_same_bits(own, expected)
    own = LAYOUTS[layout](x.copy())
    expected = nd.dropout(own, rng=3)
    nd.dropout(own, rng=3, out=own)
    assert_same_bits(own, expected)


def test_the_gap_between_the_rows_of_out_is_left_alone():
    frame = np.full((251, 70), 7.0, np.float32)
    nd.layer_norm(normal(ROWS, np.float32, "x"), out=frame[:, :67])
    assert (frame[:, 67:] == 7.0).all()


def test_running_statistics_are_written_in_place():
    _, stats = nd.batch_norm_forward(normal(ROWS, np.float32, "x"))
    got, expected = ((np.zeros(67), np.ones(134, np.float32)[::2]) for _ in range(2))
    nd.update_running_stats(*got, stats)
    with nd.use_backend("baseline"):
        nd.update_running_stats(*expected, stats)
    for left, right in zip(got, expected, strict=True):
        np.testing.assert_array_almost_equal_nulp(left, right, 2)
    assert (got[1].base[1::2] == 1).all()


@pytest.mark.parametrize("shape", [(0, 67), (5, 0), (0, 0), (1, 67), (2, 5000)])
def test_shapes_that_make_no_chunks(shape):
    """Nothing to stage, one row, and rows that are longer than a chunk."""
    x = normal(shape, np.float32, "x")
    y, stats = nd.layer_norm_forward(x)
    assert y.shape == shape
    with nd.use_backend("baseline"):
        expected = nd.layer_norm(x)
        assert_same_bits(nd.dropout(x, rng=3), _staged(lambda: nd.dropout(x, rng=3)))
    np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-6)
    got = nd.layer_norm_backward(x, x, stats)
    assert got.x.shape == shape and got.bias.shape == (shape[1],)


def _staged(call: Any) -> Any:
    with nd.use_backend(EMULATED):
        return call()


def test_errors_leave_everything_usable():
    x = normal(ROWS, np.float32, "x")
    expected = nd.layer_norm(x)
    for wrong in ({"eps": -1.0}, {"weight": np.ones(3, np.float32)}, {"out": x[:, ::-1]}):
        with pytest.raises(ValueError, match="layer_norm"):
            nd.layer_norm(x, **wrong)
        assert_same_bits(nd.layer_norm(x), expected)


def test_threads_have_rings_of_their_own():
    x = normal(ROWS, np.float32, "x")
    expected = nd.layer_norm(x).tobytes()

    def work(_: int) -> bytes:
        with nd.use_backend(EMULATED):
            return nd.layer_norm(x).tobytes()

    with ThreadPoolExecutor(4) as pool:
        assert set(pool.map(work, range(40))) == {expected}


def test_idle_rings_are_released():
    x = normal(ROWS, np.float32, "x")
    expected = nd.layer_norm(x)
    nd.release_pool()
    assert_same_bits(nd.layer_norm(x), expected)


@pytest.mark.parametrize("order", ["deferred", "lazy"])
def test_nothing_rests_on_streams_that_run_at_once(order):
    """All of this file again, with work that is put off until somebody waits for it."""
    if os.environ.get("NORMDROP_EMULATION_STREAMS"):
        return
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", __file__]
    environment = {**os.environ, "NORMDROP_EMULATION_STREAMS": order}
    run = subprocess.run(
        command, env=environment, cwd=Path(__file__).parent.parent, capture_output=True,
        text=True, timeout=HANG_SECONDS,
    )  # fmt: skip
    assert run.returncode == 0, run.stdout[-3000:]


def test_the_host_stays_the_default():
    with nd.use_backend(nd.backends()[0]):
        assert nd.backends()[-1] == EMULATED
    code = "import normdrop; print(normdrop.show_config('dict')['backend'])"
    environment = {k: v for k, v in os.environ.items() if k != "NORMDROP_BACKEND"}
    run = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert run.stdout.strip() not in (EMULATED, "cuda")
