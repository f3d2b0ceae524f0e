"""The team of threads as the system sees it: places, limits, signals, waiting."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from test_threads import run

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="threads are looked at in /proc")

PREPARE = """
import os, threading, time
import numpy as np, normdrop as nd
x = np.random.default_rng(0).normal(size=(2000, 1000)).astype(np.float32)
with nd.num_threads(1):
    expected = nd.layer_norm(x)
out = np.empty_like(x)
before = set(os.listdir("/proc/self/task"))
def started():
    return sorted(map(int, set(os.listdir("/proc/self/task")) - before))
def field(thread, name):
    with open(f"/proc/self/task/{thread}/status") as lines:
        return next(line.split()[1] for line in lines if line.startswith(name))
def processor_seconds(thread):
    with open(f"/proc/self/task/{thread}/stat") as line:
        user, system = line.read().rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")
def same():
    return np.array_equal(nd.layer_norm(x, out=out), expected)
"""


def answer(code: str, **variables: str) -> list[str]:
    result: subprocess.CompletedProcess[str] = run(PREPARE + code, **variables)
    assert result.returncode == 0, result.stderr
    return result.stdout.split()


def test_a_limit_of_openmp_holds_for_a_number_set_by_hand():
    code = "nd.set_num_threads(4); print(same(), len(started()))"
    assert answer(code, OMP_THREAD_LIMIT="2") == ["True", "1"]


def test_without_memory_for_threads_the_caller_works_alone():
    """Where the system has no more threads, nothing is to be waited for, and nothing ends."""
    code = """
import resource
size = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (size + (2 << 20), -1))
nd.set_num_threads(3)
print(same(), same(), len(started()))
resource.setrlimit(resource.RLIMIT_AS, (-1, -1))
print(same(), len(started()))
"""
    assert answer(code) == ["True", "True", "0", "True", "2"]


def test_signals_are_for_the_programs_own_threads():
    """A signal that one of ours took would not interrupt what the main thread waits for."""
    code = """
nd.set_num_threads(3); same()
blocked = [int(field(thread, "SigBlk"), 16) for thread in started()]
usual = (1 << 31) - 1 & ~(1 << 8) & ~(1 << 18)  # but SIGKILL and SIGSTOP
print([mask & usual == usual for mask in blocked], field(os.getpid(), "SigBlk").strip("0"))
"""
    assert " ".join(answer(code)) == "[True, True]"


def test_places_of_openmp_are_taken_one_each():
    """A bound caller's threads must not all inherit its one processor."""
    code = """
nd.set_num_threads(2); same()
print(os.sched_getaffinity(0).isdisjoint(os.sched_getaffinity(started()[0])))
"""
    processors = sorted(os.sched_getaffinity(0))[:2]
    if len(processors) < 2:
        pytest.skip("one processor")
    places = ",".join(f"{{{processor}}}" for processor in processors)
    assert answer(code, OMP_PROC_BIND="true", OMP_PLACES=places) == ["True"]


def test_passive_threads_sleep_between_calls():
    """Processor time, not duration: 50 pauses in which a waiting thread stayed awake would show."""
    code = """
nd.set_num_threads(2)
for _ in range(50):
    with nd.num_threads(2):
        nd.layer_norm(x[:64], out=out[:64])
    time.sleep(0.005)
print(processor_seconds(started()[0]) < 0.1)
"""
    assert answer(code, OMP_WAIT_POLICY="passive") == ["True"]


def test_active_threads_stay_awake():
    """However long it takes: half a second of processor time without a call."""
    code = """
nd.set_num_threads(2); same()
while processor_seconds(started()[0]) < 0.5:
    time.sleep(0.01)
print(same())
"""
    assert answer(code, OMP_WAIT_POLICY="ACTIVE") == ["True"]


def test_threads_fall_asleep_by_themselves():
    code = """
nd.set_num_threads(4); same()
while any(field(thread, "State") != "S" for thread in started()):
    time.sleep(0.001)
print(same(), len(started()))
"""
    assert answer(code) == ["True", "3"]


@pytest.mark.parametrize("policy", ["passive", "active", "neither"])
def test_results_whatever_the_waiting(policy):
    code = """
nd.set_num_threads(3)
print(all(same() for _ in range(200)))
"""
    assert answer(code, OMP_WAIT_POLICY=policy) == ["True"]
