"""Many Python threads at once, the GIL, other OpenMP runtimes, and settings per context."""

from __future__ import annotations

import contextvars
import math
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable

import numpy as np
import pytest

import normdrop as nd
from cases import normal, parameter
from comparing import assert_same_bits
from tolerances import HANG_SECONDS


def in_threads(work: Callable[[int], None], count: int) -> None:
    """Run ``work(i)`` in threads; fail on any exception and on a hang."""
    errors: list[BaseException] = []

    def guarded(i: int) -> None:
        try:
            work(i)
        except BaseException as error:
            errors.append(error)

    workers = [threading.Thread(target=guarded, args=(i,), daemon=True) for i in range(count)]
    for worker in workers:
        worker.start()
    deadline = time.monotonic() + HANG_SECONDS
    for worker in workers:
        worker.join(max(0.0, deadline - time.monotonic()))
        assert not worker.is_alive(), "a thread hangs"
    if errors:
        raise errors[0]


def everything(i: int, rows: int) -> tuple:
    """Every operation on data that belongs to thread ``i``."""
    x, grad = (normal((rows, 257), np.float32, name, i) for name in ("x", "grad"))
    weight, bias = (parameter((257,), np.float32, name, i) for name in ("weight", "bias"))
    y, stats = nd.layer_norm_forward(x, weight, bias)
    z, channels = nd.batch_norm_forward(x, weight, bias)
    dropped, mask = nd.dropout_forward(x, 0.3, rng=i)
    return (
        y, stats, nd.layer_norm_backward(grad, x, stats, weight),
        z, tuple(channels), nd.batch_norm_backward(grad, x, channels, weight),
        dropped, mask.keep,
    )  # fmt: skip


@pytest.mark.parametrize("rows", [3, 401])
def test_many_python_threads_at_once(rows, backend):
    """Shared scratch memory, and thread pools inside thread pools (K3, K10)."""
    expected = [everything(i, rows) for i in range(12)]

    def work(i: int) -> None:
        with nd.use_backend(backend):
            for _ in range(8 if rows > 100 else 40):
                assert_same_bits(everything(i, rows), expected[i])

    in_threads(work, 12)


def test_another_thread_progresses_during_a_call():
    """The GIL is released: another thread sees the first element written while the last is not.

    With the GIL held it would see none of a call's elements or all. When it gets to look depends on
    the machine, so the call is repeated until it has seen that.
    """
    x = normal((64, 1 << 18), np.float32, "x")  # 64 MiB: many milliseconds
    out = np.empty_like(x)
    ends = out[:: len(out) - 1, :: out.shape[1] - 1]
    seen, stop = threading.Event(), threading.Event()

    def watch() -> None:
        while not stop.is_set():
            (first, _), (_, last) = ends.tolist()  # one look, in which no other thread runs
            if math.isfinite(first) and math.isnan(last):
                seen.set()
            time.sleep(0)

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    deadline = time.monotonic() + HANG_SECONDS
    try:
        while not seen.is_set() and time.monotonic() < deadline:
            out.fill(np.nan)
            nd.layer_norm(x, out=out)
    finally:
        stop.set()
        watcher.join()
    assert seen.is_set(), "the GIL was held in every call"


def test_threads_do_not_share_a_backend_chosen_by_with():
    names = nd.backends()
    barrier = threading.Barrier(len(names))

    def work(i: int) -> None:
        with nd.use_backend(names[i]):
            for _ in range(50):
                barrier.wait(HANG_SECONDS)
                assert nd.show_config("dict")["backend"] == names[i]

    before = nd.show_config("dict")["backend"]
    in_threads(work, len(names))
    assert nd.show_config("dict")["backend"] == before


def test_with_in_many_threads_leaves_the_process_as_it_was():
    """Contexts entered and left at once, in any order, must not leave a wrong default behind."""
    names, before = nd.backends(), nd.show_config("dict")["backend"]
    wrong: list[str] = []

    def work(i: int) -> None:
        name = names[i % len(names)]
        for _ in range(3000):
            with nd.use_backend(name):
                seen = nd.show_config("dict")["backend"]
                if seen != name:
                    wrong.append(seen)

    old = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        in_threads(work, 6)
    finally:
        sys.setswitchinterval(old)
        after = nd.show_config("dict")["backend"]
        nd.use_backend(before)
    assert not wrong, f"a context saw {wrong[0]} {len(wrong)} times"
    assert after == before


def test_backend_follows_the_context():
    name = nd.backends()[-1]
    with nd.use_backend(name):
        context = contextvars.copy_context()
    assert context.run(lambda: nd.show_config("dict")["backend"]) == name


def test_nested_contexts_and_exceptions_restore_the_backend():
    names, before = nd.backends(), nd.show_config("dict")["backend"]
    with nd.use_backend(names[0]):
        with pytest.raises(KeyError), nd.use_backend(names[-1]):
            raise KeyError
        assert nd.show_config("dict")["backend"] == names[0]
    assert nd.show_config("dict")["backend"] == before


def test_plain_call_sets_the_process():
    before = nd.show_config("dict")["backend"]
    name = nd.backends()[-1]
    try:
        nd.use_backend(name)
        seen: list[str] = []
        in_threads(lambda i: seen.append(nd.show_config("dict")["backend"]), 2)
        assert seen == [name, name]
    finally:
        nd.use_backend(before)


def test_thread_count(threads):
    for count in (1, 2, 5):
        threads(count)
        assert nd.get_num_threads() == count


def run(code: str, **variables: str) -> subprocess.CompletedProcess[str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("NORMDROP", "OMP"))}
    return subprocess.run([sys.executable, "-c", code], env={**kept, **variables}, text=True,
                          capture_output=True, timeout=HANG_SECONDS, check=False)  # fmt: skip


THREADS_OF = "import normdrop as nd; print('imported'); print(nd.get_num_threads())"
BACKEND_OF = "import normdrop as nd; print('imported'); print(nd.show_config('dict')['backend'])"


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({"NORMDROP_NUM_THREADS": "3"}, "3"),
        ({"NORMDROP_NUM_THREADS": "3", "OMP_NUM_THREADS": "1"}, "3"),
        ({"OMP_NUM_THREADS": "1"}, "1"),
    ],
)
def test_environment_sets_the_threads(variables, expected):
    result = run(THREADS_OF, **variables)
    assert result.stdout.split() == ["imported", expected], result.stderr


@pytest.mark.parametrize("value", ["0", "-1", "two", "1.5", "3x", "99999999999999999999"])
def test_bad_thread_environment_raises_at_the_first_call_that_needs_it(value):
    result = run(THREADS_OF, NORMDROP_NUM_THREADS=value)
    assert result.stdout.split() == ["imported"] and result.returncode == 1
    assert "NORMDROP_NUM_THREADS" in result.stderr and value in result.stderr


@pytest.mark.parametrize("name", nd.backends())
def test_environment_sets_the_backend(name):
    assert run(BACKEND_OF, NORMDROP_BACKEND=name).stdout.split() == ["imported", name]


ABSENT = [name for name in ("cuda", "cuda-emulated") if name not in nd.backends()]


@pytest.mark.parametrize(
    ("value", "error"), [("fast", "ValueError"), *((name, "RuntimeError") for name in ABSENT)]
)
def test_bad_backend_environment_raises_at_the_first_call_that_needs_it(value, error):
    result = run(BACKEND_OF, NORMDROP_BACKEND=value)
    assert result.stdout.split() == ["imported"] and result.returncode == 1
    last = result.stderr.strip().splitlines()[-1]
    assert last.startswith(error) and "NORMDROP_BACKEND" in last and value in last


BESIDE_TORCH = """
import {first}
import {second}
import numpy as np, normdrop as nd, torch, threading
x = np.random.default_rng(0).normal(size=(2000, 1000)).astype(np.float32)
t = torch.from_numpy(x.copy())
expected, theirs = nd.layer_norm(x), torch.nn.functional.layer_norm(t, (1000,))
def ours():
    for _ in range(10):
        assert np.array_equal(nd.layer_norm(x), expected)
def other():
    for _ in range(10):
        assert torch.equal(torch.nn.functional.layer_norm(t, (1000,)), theirs)
workers = [threading.Thread(target=f) for f in (ours, other, ours, other)]
for w in workers: w.start()
for w in workers: w.join()
print("done", np.abs(theirs.numpy() - expected).max() < 1e-4)
"""


@pytest.mark.frameworks
@pytest.mark.parametrize(("first", "second"), [("torch", "normdrop"), ("normdrop", "torch")])
def test_beside_the_openmp_of_torch(first, second):
    """Two OpenMP runtimes in one process, imported in either order (K2)."""
    pytest.importorskip("torch")
    result = run(BESIDE_TORCH.format(first=first, second=second), NORMDROP_NUM_THREADS="2")
    assert result.stdout.split() == ["done", "True"], result.stderr


def test_threads_of_a_context(threads):
    """They hold for the calling thread alone, nest, and come back after an exception."""
    threads(5)
    seen: list[int] = []
    with nd.num_threads(3):
        assert nd.get_num_threads() == nd.show_config("dict")["threads"] == 3
        with pytest.raises(KeyError), nd.num_threads(2):
            assert nd.get_num_threads() == 2
            raise KeyError
        assert nd.get_num_threads() == 3
        nd.set_num_threads(4)
        assert nd.get_num_threads() == 3
        in_threads(lambda i: seen.append(nd.get_num_threads()), 1)
        context = contextvars.copy_context()
    assert seen == [4] and nd.get_num_threads() == 4
    assert context.run(nd.get_num_threads) == 3
    again = nd.num_threads(2)
    with again, again:
        assert nd.get_num_threads() == 2
    assert nd.get_num_threads() == 4


OPENMP_THREADS = """
import os, numpy as np, normdrop as nd
x = np.random.default_rng(0).normal(size=(2000, 1000)).astype(np.float32)
def started():
    before = len(os.listdir("/proc/self/task"))
    nd.layer_norm(x)
    return len(os.listdir("/proc/self/task")) - before
"""


@pytest.mark.skipif(not os.path.isdir("/proc/self/task"), reason="threads are counted in /proc")
def test_a_context_decides_how_many_threads_work():
    """Counted by the system, not asked of normdrop."""
    code = """
with nd.num_threads(1):
    few = started()
with nd.num_threads(3):
    more = started()
print(few, more)
"""
    result = run(OPENMP_THREADS + code, NORMDROP_NUM_THREADS="2")
    assert result.stdout.split() == ["0", "2"], result.stderr


LIMITED = """
from threadpoolctl import threadpool_limits
with threadpool_limits(1):
    first = nd.get_num_threads(), started()
without = nd.get_num_threads(), started()
with threadpool_limits(2):
    later = nd.get_num_threads()
print(*first, *without, later, nd.get_num_threads())
"""


@pytest.mark.skipif(not os.path.isdir("/proc/self/task"), reason="threads are counted in /proc")
def test_limits_of_threadpoolctl_are_followed_and_forgotten():
    """A first call inside a limit must not keep it, and a later limit must be seen."""
    pytest.importorskip("threadpoolctl")
    result = run(OPENMP_THREADS + LIMITED, OMP_NUM_THREADS="3")
    assert result.stdout.split() == ["1", "0", "3", "2", "2", "3"], result.stderr


def test_a_choice_of_ours_comes_before_the_limits_of_others():
    pytest.importorskip("threadpoolctl")
    code = """
from threadpoolctl import threadpool_limits
import normdrop as nd
with threadpool_limits(1):
    named = nd.get_num_threads()
    nd.set_num_threads(5)
    print(named, nd.get_num_threads())
"""
    result = run(code, NORMDROP_NUM_THREADS="4", OMP_NUM_THREADS="3")
    assert result.stdout.split() == ["4", "5"], result.stderr
