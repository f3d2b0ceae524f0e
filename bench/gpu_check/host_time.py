"""What a call costs the host: many small calls in a row, without waiting for the device."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import normdrop as nd
from gpu_check.card import DryCard
from gpu_check.data import DeviceData, make_data
from gpu_check.findings import Findings
from gpu_check.peers import TorchOnDevice, ours
from gpu_check.plan import HOST_MICROSECONDS
from normdrop.benchmark.cases import Case
from normdrop.benchmark.results import VARIANTS
from normdrop.benchmark.timing import summarise

# Small enough that the device is done before the next call comes; an empty queue never blocks.
_CASES = (
    Case("layer_norm", "forward", (16, 256), "rows"),
    Case("layer_norm", "backward", (16, 256), "rows"),
    Case("batch_norm", "forward", (16, 32), "nc"),
    Case("batch_norm", "inference", (16, 32), "nc"),
    Case("dropout", "forward", (4096,), "flat"),
    Case("dropout", "backward", (4096,), "flat"),
)
_SAMPLES, _CALLS = 41, 200
_DRY_SAMPLES, _DRY_CALLS = 3, 4


def measure_host_times(card: DryCard, findings: Findings) -> None:
    """Time ours, fresh and with ``out=``, and PyTorch's, and note them by case."""
    times: dict[str, dict[str, Any]] = {}
    findings.extra["host_time"] = times
    print(f"  host time of a call in us (target: below {HOST_MICROSECONDS:g})")
    with nd.use_backend(card.backend):
        for case in _CASES:
            findings.run(
                f"host time of {case.name}",
                lambda case=case: _measure(card, case, times),
            )


def _measure(card: DryCard, case: Case, times: dict[str, dict[str, Any]]) -> str:
    data = make_data(card, case, seed=0)
    calls = {**ours(case, data), **_torch_call(case, data)}
    found = {name: _host_time(card, call) for name, call in calls.items()}
    times[case.name] = found
    if card.dry:
        return f"ran {', '.join(found)}"
    text = ", ".join(f"{name} {1e6 * samples['median']:.2f}" for name, samples in found.items())
    worst = max(found[name]["median"] for name in VARIANTS if name in found)
    return f"{text} us: {'hit' if 1e6 * worst < HOST_MICROSECONDS else 'MISS'}"


def _torch_call(case: Case, data: DeviceData) -> dict[str, Callable[[], Any]]:
    try:
        return {"torch": TorchOnDevice().call(case, data)}
    except ModuleNotFoundError:
        return {}


def _host_time(card: DryCard, call: Callable[[], Any]) -> dict[str, Any]:
    """Time batches; the device catches up between them, outside of the time."""
    count, calls = (_DRY_SAMPLES, _DRY_CALLS) if card.dry else (_SAMPLES, _CALLS)
    samples = []
    for _ in range(count + 1):
        card.synchronise()
        start = time.perf_counter()
        for _ in range(calls):
            call()
        samples.append((time.perf_counter() - start) / calls)
    card.synchronise()
    # The first batch warms up.
    return summarise([[sample] for sample in samples[1:]], calls).to_dict()
