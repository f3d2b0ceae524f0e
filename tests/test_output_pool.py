"""Recycled output memory: nothing that is still in use is handed out again."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import threading
import weakref

import numpy as np
import pytest

import normdrop as nd
from cases import normal
from comparing import assert_same_bits
from good_calls import Geometry, cases
from tolerances import HANG_SECONDS

DEFAULT_LIMIT = 512 * 2**20
ROWS = (1024, 1024)  # 4 MiB in float32, well above what small allocations recycle


@pytest.fixture(autouse=True)
def fresh_pool():
    before = nd.show_config("dict")["pool_limit_bytes"]
    nd.release_pool()
    yield
    nd.set_pool_limit(before)
    nd.release_pool()


def idle_bytes() -> int:
    return nd.show_config("dict")["pool_idle_bytes"]


def address(array: np.ndarray) -> int:
    return array.__array_interface__["data"][0]


def test_dropped_output_serves_the_next_one():
    x = normal(ROWS, np.float32, "x")
    y = nd.layer_norm(x)
    first, expected = address(y), y.copy()
    del y
    assert idle_bytes() >= x.nbytes
    y = nd.layer_norm(x)
    assert address(y) == first
    assert_same_bits(y, expected)


def test_results_stay_valid_while_alive():
    """Two living results never share memory, nor does a view of a dropped one lose it."""
    x = normal(ROWS, np.float32, "x")
    results = [nd.layer_norm(x * (i + 1)) for i in range(6)]
    expected = [y.copy() for y in results]
    view = nd.layer_norm(x)[3:5, ::2]
    kept = view.copy()
    for _ in range(4):
        nd.dropout(x, 0.5)
    for y, copy in zip(results, expected, strict=True):
        assert_same_bits(y, copy)
    assert_same_bits(view.copy(), kept)
    assert len({address(y) for y in results}) == 6


def test_a_view_keeps_the_memory():
    x = normal(ROWS, np.float32, "x")
    y = nd.layer_norm(x)
    view, first = y[:1], address(y)
    del y
    gc.collect()
    assert address(nd.layer_norm(x)) != first
    del view
    assert idle_bytes() > 0


def test_outputs_are_ordinary_arrays():
    x = normal(ROWS, np.float32, "x")
    y = nd.layer_norm(x)
    assert type(y) is np.ndarray and y.flags.writeable and y.flags.aligned
    assert y.flags.c_contiguous and address(y) % 64 == 0
    alive = weakref.ref(y)
    y += 1
    del y
    assert alive() is None


def test_limit_0_turns_recycling_off():
    nd.set_pool_limit(0)
    x = normal(ROWS, np.float32, "x")
    expected = nd.layer_norm(x).copy()
    assert idle_bytes() == 0
    assert_same_bits(nd.layer_norm(x), expected)


def test_limit_bounds_what_lies_idle():
    x = normal(ROWS, np.float32, "x")
    nd.set_pool_limit(3 * x.nbytes)
    results = [nd.layer_norm(x) for _ in range(8)]
    del results
    assert 0 < idle_bytes() <= 3 * x.nbytes
    nd.set_pool_limit(x.nbytes)
    assert idle_bytes() <= x.nbytes


def test_release_pool_empties_it():
    x = normal(ROWS, np.float32, "x")
    kept = nd.layer_norm(x)
    expected = kept.copy()
    nd.layer_norm(x)
    assert idle_bytes() > 0
    nd.release_pool()
    assert idle_bytes() == 0
    assert_same_bits(kept, expected)


def test_small_request_does_not_occupy_a_large_buffer():
    large = normal((4096, 2048), np.float32, "large")
    nd.layer_norm(large)
    small = nd.layer_norm(normal((300, 300), np.float32, "small"))
    assert idle_bytes() >= large.nbytes
    del small


LARGE: dict[str, list[Geometry]] = {
    "over_axes": [((1003, 1021), -1)],
    "per_channel": [((1003, 1021), 1)],
    "channel_groups": [((1003, 1020), 1, 3)],
    "elements": [((1003, 1021),)],
}


@pytest.mark.parametrize("case", cases(LARGE), ids=str)
def test_recycled_memory_shows_nothing_of_its_past(case):
    """Every byte of every result is written (C5): NaNs left behind must not come back."""
    arguments = case.arguments(np.float32)
    expected = case.function.call(**arguments)
    bad = np.full(case.shape, np.nan, np.float32)
    left_behind = [nd.layer_norm(bad) for _ in range(3)]
    del left_behind
    assert idle_bytes() >= 3 * bad.nbytes
    assert_same_bits(case.function.call(**arguments), expected)


def test_threads_share_the_pool():
    """Many threads take and give at once; no buffer has two owners."""
    x = normal((512, 512), np.float32, "x")
    factors = range(1, 9)
    expected = {factor: nd.dropout(x * factor, 0.5, rng=3) for factor in factors}
    wrong: list[int] = []

    def work(factor: int) -> None:
        data = x * factor
        for _ in range(30):
            y = nd.dropout(data, 0.5, rng=3)
            z = nd.dropout(data, 0.5, rng=3)
            if not (np.array_equal(y, expected[factor]) and np.array_equal(z, y)):
                wrong.append(factor)

    workers = [threading.Thread(target=work, args=(factor,)) for factor in factors]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert not wrong


def test_errors_and_recycling_do_not_leak():
    """Resident memory stays where it is over many calls, failing ones too (G14)."""
    resource = pytest.importorskip("resource")
    x = normal(ROWS, np.float32, "x")

    def rounds(count: int) -> None:
        for _ in range(count):
            nd.layer_norm(x)
            with pytest.raises(ValueError):
                nd.layer_norm(x, np.ones(3, np.float32))

    rounds(20)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    rounds(100)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown * (1 if sys.platform == "darwin" else 1024) < 4 * x.nbytes


def run_with(**variables: str) -> subprocess.CompletedProcess[str]:
    code = """
import numpy as np, normdrop as nd
print("imported")
y = nd.layer_norm(np.ones((1024, 1024), np.float32))
print(nd.show_config("dict")["pool_limit_bytes"])
"""
    return subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        timeout=HANG_SECONDS,
        check=False,
    )


@pytest.mark.parametrize(("value", "limit"), [("0", 0), ("1048576", 1048576)])
def test_environment_sets_the_limit(value, limit):
    assert run_with(NORMDROP_POOL_BYTES=value).stdout.split() == ["imported", str(limit)]


def test_default_limit():
    variables = {k: v for k, v in os.environ.items() if k != "NORMDROP_POOL_BYTES"}
    code = "import normdrop as nd; print(nd.show_config('dict')['pool_limit_bytes'])"
    result = subprocess.run([sys.executable, "-c", code], env=variables, capture_output=True,
                            text=True, timeout=HANG_SECONDS, check=True)  # fmt: skip
    assert int(result.stdout) == DEFAULT_LIMIT


@pytest.mark.parametrize("value", ["-1", "many", "1.5", "12abc", "99999999999999999999999"])
def test_bad_environment_raises_at_the_first_call_that_needs_it(value):
    """Not at import, and with the name of the variable and what stood in it."""
    result = run_with(NORMDROP_POOL_BYTES=value)
    assert "imported" in result.stdout and result.returncode == 1
    assert "NORMDROP_POOL_BYTES" in result.stderr and value in result.stderr
    assert "Error" in result.stderr.splitlines()[-1]
