"""A forked child works, however many threads its parent had started; it never hangs (K1)."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tolerances import HANG_SECONDS

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")

PREPARE = """
import multiprocessing, os, sys, threading, warnings
import numpy as np, normdrop as nd
warnings.simplefilter("ignore", DeprecationWarning)  # newer Pythons warn of fork with threads
nd.set_num_threads(4)
x = np.random.default_rng(0).normal(size=(3000, 769)).astype(np.float32)
def results():
    y, stats = nd.layer_norm_forward(x)
    z, _ = nd.batch_norm_forward(x)
    return [y, nd.layer_norm_backward(x, x, stats).x, z, nd.dropout(x, 0.5, rng=3)]
expected = results()
def same():
    return all(np.array_equal(a, b) for a, b in zip(results(), expected))
def fork_and_check():
    child = os.fork()
    if child == 0:
        os._exit(0 if same() else 3)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
"""


def run(code: str) -> str:
    """Run in a fresh process under a watchdog; a hang is a failure."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("NORMDROP", "OMP"))}
    try:
        result = subprocess.run([sys.executable, "-c", PREPARE + code], env=kept, text=True,
                                capture_output=True, timeout=HANG_SECONDS, check=False)  # fmt: skip
    except subprocess.TimeoutExpired:
        pytest.fail("a forked child hangs")
    assert result.returncode == 0, result.stderr
    return result.stdout.strip()


def test_run_fork_run():
    """The bits are the same in the child, whatever number of threads it falls back to."""
    assert run("print([fork_and_check() for _ in range(20)] == [0] * 20, same())") == "True True"


def test_fork_before_the_first_call():
    code = """
nd.set_num_threads(3)
print(fork_and_check(), same())
"""
    assert run(code) == "0 True"


def test_fork_of_a_fork():
    code = """
child = os.fork()
if child == 0:
    os._exit(fork_and_check() if same() else 4)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), same())
"""
    assert run(code) == "0 True"


def test_fork_while_other_threads_compute():
    """Locks of the pool or the runtime may be held by a thread that the child does not have."""
    code = """
stop = threading.Event()
def work():
    while not stop.is_set():
        results()
workers = [threading.Thread(target=work) for _ in range(2)]
for w in workers: w.start()
codes = [fork_and_check() for _ in range(10)]
stop.set()
for w in workers: w.join()
print(codes == [0] * 10, same())
"""
    assert run(code) == "True True"


def test_fork_with_living_results():
    """Parent and child write to copies of the same recycled memory."""
    code = """
kept = [nd.layer_norm(x) for _ in range(3)]
copies = [y.copy() for y in kept]
child = os.fork()
if child == 0:
    for _ in range(3):
        nd.dropout(x, 0.5)
    good = same() and all(np.array_equal(a, b) for a, b in zip(kept, copies))
    del kept
    os._exit(0 if good and same() else 3)
code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
print(code, all(np.array_equal(a, b) for a, b in zip(kept, copies)), same())
"""
    assert run(code) == "0 True True"


def test_multiprocessing_fork():
    code = """
context = multiprocessing.get_context("fork")
with context.Pool(2) as pool:
    got = pool.map(nd.layer_norm, [x, x * 2, x * 3])
print(np.array_equal(got[0], expected[0]), np.array_equal(got[2], nd.layer_norm(x * 3)))
"""
    assert run(code) == "True True"


def test_child_may_set_its_threads():
    code = """
child = os.fork()
if child == 0:
    nd.set_num_threads(2)
    os._exit(0 if same() and nd.get_num_threads() == 2 else 3)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    assert run(code) == "0"
