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
from cases import normal
from comparing import assert_near_reference, assert_same_bits
from good_calls import Case, Geometry, cases, get, put
from normdrop import _core
from tolerances import HANG_SECONDS, RUNNING_UNITS

EMULATED = "cuda-emulated"
pytestmark = pytest.mark.emulated_device
SMALL, DEFAULT = 4096, 4 << 20  # bytes of a chunk
ROWS = (101, 67)

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


CASES = cases(
    {
        "over_axes": [(ROWS, -1), (ROWS, 0)],
        "per_channel": [(ROWS, 1)],
        "channel_groups": [((101, 66), 1, 3)],
        "elements": [(ROWS,)],
    },
    short=True,
)
WITH_OUT = [case for case in CASES if case.function.out]


def laid_out(case: Case, arguments: dict[str, Any], layout: str) -> dict[str, Any]:
    """The arguments with every array like x in a layout."""
    changed = dict(arguments)
    for name in case.function.arrays("leader", "like"):
        put(changed, name, LAYOUTS[layout](get(arguments, name)))
    return changed


def results(case: Case, arguments: dict[str, Any], **out: Any) -> list[Any]:
    returned = case.function.call(**arguments, **out)
    return [one.array for one in case.function.results(returned, arguments)]


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_the_size_of_a_chunk_shows_nowhere(case, layout, dtype, unchanged):
    arguments = laid_out(case, case.arguments(dtype), layout)
    unchanged(*(get(arguments, name) for name in case.function.arrays()))
    in_chunks = results(case, arguments)
    _core.set_staging_chunk(DEFAULT)
    at_once = results(case, arguments)
    for left, right in zip(in_chunks, at_once, strict=True):
        assert_same_bits(left, right)
        assert type(left) is type(right) and type(left) in (np.ndarray, int)
        assert getattr(left, "strides", None) == getattr(right, "strides", None)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_results_are_right(case, layout, dtype):
    arguments = laid_out(case, case.arguments(dtype), layout)
    assert_near_reference(case, arguments, case.function.call(**arguments))


@pytest.mark.parametrize("layout", [name for name in LAYOUTS if name != "broadcast"])
@pytest.mark.parametrize("case", WITH_OUT, ids=str)
def test_out_and_in_place(case, layout):
    """Into a layout, into the gaps of a frame, and into the input that it may be."""
    arguments = case.arguments(np.float32)
    expected = case.function.call(**arguments)
    out = LAYOUTS[layout](np.full(case.shape, 7, np.float32))
    got = case.function.call(**arguments, out=out)
    assert case.function.results(got, arguments)[0].array is out
    assert_same_bits(got, expected)
    frame = np.full((case.shape[0], case.shape[1] + 3), 7.0, np.float32)
    assert_same_bits(case.function.call(**arguments, out=frame[:, :-3]), expected)
    assert (frame[:, -3:] == 7.0).all()
    odd = laid_out(case, arguments, layout)
    expected = case.function.call(**odd)  # another memory order may round differently
    own = get(odd, case.function.out.may_be)
    assert_same_bits(case.function.call(**odd, out=own), expected)


NO_CHUNKS: dict[str, list[Geometry]] = {
    "over_axes": [((0, 67), -1), ((5, 0), -1), ((0, 0), -1), ((1, 67), -1), ((2, 5000), -1)],
    "per_channel": [((5, 0), 1), ((1, 67), 1), ((2, 5000), 1)],
    "channel_groups": [((0, 66), 1, 3), ((1, 66), 1, 3), ((2, 5000), 1, 4)],
    "elements": [((0, 67),), ((1, 67),), ((2, 5000),)],
}


@pytest.mark.parametrize("case", cases(NO_CHUNKS, short=True), ids=str)
def test_shapes_that_make_no_chunks(case):
    """Nothing to stage, one row, and rows that are longer than a chunk."""
    arguments = case.arguments(np.float32)
    if case.values_of_a_set < case.function.least_values:
        with pytest.raises(ValueError, match="at least"):
            case.function.call(**arguments)
        return
    assert_near_reference(case, arguments, case.function.call(**arguments))


# Dropout, running statistics, errors, threads ----------------------------------------------------


@pytest.mark.parametrize("layout", LAYOUTS)
def test_masks_are_those_of_the_host(layout):
    x = LAYOUTS[layout](normal(ROWS, np.float32, "x"))
    staged, mask = nd.dropout_forward(x, 0.3, rng=(2**63, 7))
    with nd.use_backend("baseline"):
        assert_same_bits(staged, nd.dropout(x, 0.3, rng=(2**63, 7)))
        assert_same_bits(nd.dropout_backward(x, mask), staged)


def test_running_statistics_are_written_in_place():
    _, stats = nd.batch_norm_forward(normal(ROWS, np.float32, "x"))
    got, expected = ((np.zeros(67), np.ones(134, np.float32)[::2]) for _ in range(2))
    nd.update_running_stats(*got, stats)
    with nd.use_backend("baseline"):
        nd.update_running_stats(*expected, stats)
    for left, right in zip(got, expected, strict=True):
        np.testing.assert_array_almost_equal_nulp(left, right, RUNNING_UNITS)
    assert (got[1].base[1::2] == 1).all()


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
    """This file again, of one dtype, with work that is put off until somebody waits for it."""
    if os.environ.get("NORMDROP_EMULATION_STREAMS"):
        return
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", __file__]
    command += ["-k", "not float16 and not float64"]
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
