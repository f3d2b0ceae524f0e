"""The measuring part: registry, bytes, errors, timing, workers. No time is judged."""

from __future__ import annotations

import io
import json
import weakref
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from normdrop.benchmark import (
    CASES,
    OPS,
    PEER_NAMES,
    Case,
    Interrupted,
    MeasuringFailed,
    Report,
    Settings,
    accuracy,
    peers,
    run,
    select_cases,
    timing,
    worker,
)
from normdrop.benchmark.data import make_data
from normdrop.benchmark.machine import (
    ASSUMED_CACHES,
    Caches,
    describe_machine,
    describe_versions,
    read_caches,
)
from normdrop.benchmark.operations import OPERATIONS
from normdrop.benchmark.session import WorkerFailure, WorkerProcess, Workers
from normdrop.benchmark.timing import Samples

MIB = 1024 * 1024
CACHES = Caches(per_core=1 * MIB, last_level=32 * MIB, cores_sharing=2, source="test")
TINY = select_cases(["layer_norm-forward-4x16"])[0]

SMALL_CASES = (
    Case("dropout", "forward", (5003,), "flat"),
    Case("dropout", "backward", (5003,), "flat"),
    Case("layer_norm", "forward", (13, 37), "rows"),
    Case("layer_norm", "forward", (13, 37), "rows", "float64"),
    Case("layer_norm", "backward", (13, 37), "rows"),
    Case("batch_norm", "forward", (3, 5, 7, 11), "nchw"),
    Case("batch_norm", "forward", (3, 5, 7, 11), "nhwc"),
    Case("batch_norm", "forward", (61, 17), "nc"),
    Case("batch_norm", "backward", (3, 5, 7, 11), "nchw"),
    Case("batch_norm", "backward", (3, 5, 7, 11), "nhwc"),
    Case("batch_norm", "backward", (61, 17), "nc"),
    Case("batch_norm", "inference", (3, 5, 7, 11), "nchw"),
    Case("layer_norm", "backward", (3, 5, 37), "rows", "float16"),
    Case("batch_norm", "backward", (5, 7, 11), "nhwc", "float64"),
    *(
        Case(op, direction, shape, layout)
        for op, shape, layout in (
            ("rms_norm", (13, 37), "rows"),
            ("group_norm", (3, 6, 7, 11), "nchw"),
            ("group_norm", (3, 6, 7, 11), "nhwc"),
            ("instance_norm", (3, 5, 7, 11), "nchw"),
            ("instance_norm", (3, 5, 7, 11), "nhwc"),
            ("weight_norm", (13, 5, 7), "units"),
            ("prelu", (3, 5, 7, 11), "nchw"),
            ("prelu", (3, 5, 7, 11), "nhwc"),
        )
        for direction in ("forward", "backward")
    ),
)
every_small_case = pytest.mark.parametrize("case", SMALL_CASES, ids=lambda case: case.name)


# ---- registry and bytes ----


def test_case_names_are_unique_and_cover_every_operation() -> None:
    names = [case.name for case in CASES]
    assert len(set(names)) == len(names)
    assert set(OPS) == set(OPERATIONS)
    assert {case.dtype for case in CASES} == {"float32", "float64"}
    assert all(set(case.peers) <= set(PEER_NAMES) for case in CASES)


def test_quick_selection_is_short_and_covers_the_best_known_operations() -> None:
    quick = select_cases(quick=True)
    assert {case.op for case in quick} == {"dropout", "layer_norm", "batch_norm"}
    assert len(quick) <= 6


def test_selection_by_operation_and_by_part_of_a_name() -> None:
    assert {case.op for case in select_cases(["dropout"])} == {"dropout"}
    assert {case.layout for case in select_cases(["nhwc"])} == {"nhwc"}
    assert select_cases(["layer_norm-backward-128x768"], quick=True)
    with pytest.raises(ValueError, match="no case fits 'wieght_norm'"):
        select_cases(["layer_norm", "wieght_norm"])


def test_channels_last_keeps_channels_at_the_end_of_memory() -> None:
    case = Case("batch_norm", "forward", (2, 3, 5, 7), "nhwc")
    assert case.memory_shape == (2, 5, 7, 3)
    assert case.channel_axis == -1
    assert case.parameters == 3


@pytest.mark.parametrize(
    ("case", "arrays", "twice"),
    [
        (Case("dropout", "forward", (1000,), "flat"), 2, False),
        (Case("dropout", "backward", (1000,), "flat"), 2, False),
        (Case("layer_norm", "forward", (16, 1024), "rows"), 2, False),
        (Case("layer_norm", "backward", (16, 1024), "rows"), 3, False),
        (Case("batch_norm", "inference", (8, 4, 5, 5), "nchw"), 2, False),
        # A row of 4 MiB leaves the first two levels, not its share of the last.
        (Case("layer_norm", "forward", (2, 1_048_576), "rows"), 2, False),
        # A row of 32 MiB does not fit half of the last level.
        (Case("layer_norm", "forward", (2, 8_388_608), "rows"), 3, True),
        (Case("layer_norm", "backward", (2, 8_388_608), "rows"), 5, True),
        # One channel alone is small; channels-last brings 16 of them with every cache line.
        (Case("batch_norm", "forward", (64, 64, 128, 128), "nchw"), 2, False),
        (Case("batch_norm", "forward", (64, 64, 128, 128), "nhwc"), 3, True),
    ],
    ids=lambda value: value.name if isinstance(value, Case) else str(value),
)
def test_fewest_bytes_follow_the_caches(case: Case, arrays: int, twice: bool) -> None:
    movement = case.movement(CACHES, threads=2)
    parameter_bytes = 2 * case.parameters * case.itemsize
    assert movement.bytes_moved == arrays * case.array_bytes + parameter_bytes
    assert ("twice" in movement.reason) == twice


def test_cache_sizes_come_from_sysfs(tmp_path: Path) -> None:
    levels = [
        ("1", "Data", "48K", "0"),
        ("1", "Instruction", "64M", "0"),
        ("2", "Unified", "2048K", "0,4"),
        ("3", "Unified", "24M", "0-3,8-11"),
    ]
    for index, (level, kind, size, shared) in enumerate(levels):
        folder = tmp_path / f"index{index}"
        folder.mkdir()
        for name, text in zip(
            ("level", "type", "size", "shared_cpu_list"), (level, kind, size, shared), strict=True
        ):
            (folder / name).write_text(text + "\n")
    assert read_caches(tmp_path) == Caches(2 * MIB, 24 * MIB, 8, "sysfs")


def test_cache_sizes_are_assumed_without_sysfs(tmp_path: Path) -> None:
    assert read_caches(tmp_path / "missing") == ASSUMED_CACHES


def test_description_of_machine_and_versions_is_plain() -> None:
    text = json.dumps([describe_machine(), describe_versions()])
    assert np.__version__ in text


# ---- data and errors ----


@every_small_case
def test_data_is_the_same_every_time(case: Case) -> None:
    first, second = make_data(case), make_data(case)
    for name, array in vars(first).items():
        if array is not None:
            assert array.dtype == case.dtype
            np.testing.assert_array_equal(array, getattr(second, name))
    assert first.x.shape == case.memory_shape
    assert first.x.flags.c_contiguous


def numpy_result(case: Case) -> tuple[Any, tuple[np.ndarray[Any, Any], ...], Any]:
    """Data, outputs and mask of the NumPy peer, or of ours where it has none."""
    data = make_data(case)
    name = "numpy" if "numpy" in case.peers else peers.OURS
    work = peers.load_peer(name, 1).prepare(case, data)
    outputs = tuple(np.array(output) for output in work.outputs(work.call()))
    return data, outputs, work.keep


@every_small_case
def test_error_of_a_sound_peer_is_moderate(case: Case) -> None:
    data, outputs, keep = numpy_result(case)
    error = accuracy.worst_error(case, data, outputs, keep)
    assert error is not None
    assert 0 < error < 2000


@every_small_case
def test_error_of_our_own_results_is_small(case: Case) -> None:
    data = make_data(case)
    work = peers.load_peer(peers.OURS, 1).prepare(case, data)
    error = accuracy.worst_error(case, data, work.outputs(work.call()), work.keep)
    assert error is not None
    assert error <= (8 if case.direction == "backward" else 4)


@every_small_case
def test_error_finds_one_wrong_element_in_every_output(case: Case) -> None:
    data, outputs, keep = numpy_result(case)
    for index, output in enumerate(outputs):
        for position in (0, output.size // 2, output.size - 1):
            wrong = output.copy()
            wrong.reshape(-1)[position] += 0.5
            changed = (*outputs[:index], wrong, *outputs[index + 1 :])
            error = accuracy.worst_error(case, data, changed, keep)
            assert error is not None
            assert error > (20 if case.dtype == "float16" else 1e4)  # 0.5 is fewer units there


@every_small_case
def test_nan_and_wrong_shapes_and_dtypes_are_infinitely_wrong(case: Case) -> None:
    data, outputs, keep = numpy_result(case)
    poisoned = outputs[0].copy()
    poisoned.reshape(-1)[0] = np.nan
    other = "float32" if case.dtype == "float64" else "float64"
    for first in (poisoned, outputs[0][:-1], outputs[0].astype(other)):
        assert accuracy.worst_error(case, data, (first, *outputs[1:]), keep) == float("inf")


def test_a_dropout_that_drops_too_much_or_elsewhere_is_infinitely_wrong() -> None:
    case = Case("dropout", "forward", (5003,), "flat")
    data, (y,), _ = numpy_result(case)
    thinned = np.where(np.arange(y.size) % 2, y, 0).astype(y.dtype)
    assert accuracy.worst_error(case, data, (thinned,)) == float("inf")
    case = replace(case, direction="backward")
    data, outputs, keep = numpy_result(case)
    assert accuracy.worst_error(case, data, outputs, np.roll(keep, 1)) == float("inf")


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_unit_is_the_spacing_of_the_dtype(dtype: str) -> None:
    values = np.array([1.0, 1.5, 2.0, 3.9, 1e-3, 1e30, -7.0], dtype=dtype)
    units = accuracy.unit_in_last_place(values.astype(np.float64), np.dtype(dtype))
    np.testing.assert_array_equal(units, np.abs(np.spacing(values)).astype(np.float64))


# ---- timing ----


def test_summary_of_samples() -> None:
    samples = timing.summarise([[1.0, 2.0], [3.0], [4.0, 5.0]], calls=7)
    assert (samples.median, samples.fastest, samples.slowest) == (3.0, 1.0, 5.0)
    assert (samples.lower_quartile, samples.upper_quartile) == (2.0, 4.0)
    assert (samples.count, samples.calls, samples.rounds) == (5, 7, (1.5, 3.0, 4.5))
    assert Samples.from_dict(json.loads(json.dumps(samples.to_dict()))) == samples


def test_fast_calls_are_batched() -> None:
    calls, seconds = timing.calibrate(lambda: None)
    assert calls > 1
    assert seconds > 0


def test_kept_results_are_all_alive_at_once() -> None:
    alive: weakref.WeakSet[Result] = weakref.WeakSet()
    counts = []

    class Result:
        def __init__(self) -> None:
            alive.add(self)
            counts.append(len(alive))

    timing.time_batch(Result, 5)
    assert counts == [1, 1, 1, 1, 1]
    counts.clear()
    timing.time_batch_kept(Result, 5)
    assert counts == [1, 2, 3, 4, 5]


# ---- workers and whole runs ----


def test_worker_answers_in_json_and_reports_failures() -> None:
    requests = [
        {"do": "start", "peer": "numpy", "threads": 1},
        {"do": "prepare", "case": "no such case"},
        {"do": "prepare", "case": TINY.name},
        {"do": "sample", "variant": "fresh", "count": 2},
        {"do": "sample", "variant": "out", "count": 2},
        {"do": "release"},
    ]
    answers = io.StringIO()
    worker.serve(io.StringIO("".join(json.dumps(r) + "\n" for r in requests)), answers)
    start, unknown, prepared, fresh, out, released = map(
        json.loads, answers.getvalue().split("\n")[:-1]
    )
    assert start == {"version": np.__version__}
    assert unknown["failure"] == "KeyError: 'no such case'"
    assert float(prepared["error_units"]) < 100
    assert len(fresh["seconds"]) == 2
    assert "failure" in out
    assert released == {}


def test_a_worker_that_dies_tells_its_last_words() -> None:
    process = WorkerProcess("numpy", 1)
    process.started()
    process._process.kill()
    with pytest.raises(WorkerFailure, match="the process ended with status -9"):
        process.ask("release")
    assert not process.is_alive()
    process.close()


def test_an_exception_ends_all_workers() -> None:
    workers = Workers()
    with pytest.raises(KeyboardInterrupt), workers:
        workers.start(["numpy"], 1)
        raise KeyboardInterrupt
    assert not workers.running["numpy"].is_alive()


@pytest.mark.frameworks
@pytest.mark.parametrize("name", ["torch", "jax", "onnxruntime"])
def test_installed_peers_agree_with_the_reference(name: str) -> None:
    if missing := peers.missing_packages(name):
        pytest.skip(f"{missing[0]} is not installed")
    with Workers() as workers:
        workers.start([name], 1)
        assert workers.unavailable == {}
        answer = workers.running[name].ask("prepare", case=TINY.name)
    assert float(answer["error_units"]) < 100


def test_a_whole_run_against_numpy(tmp_path: Path) -> None:
    told: list[tuple[int, int, str]] = []
    report = run(
        [TINY], ["numpy"], Settings(1, rounds=2, seconds=0.01), lambda *args: told.append(args)
    )
    row = report.rows[0]
    assert row.case == TINY.name
    assert set(row.variants) == {"fresh", "out", "kept"}
    assert row.share_of_copy is None
    assert row.peers["numpy"].ratio is not None
    assert row.peers["numpy"].ratio > 0
    assert row.error_units is not None
    assert row.error_units <= 2
    assert report.settings["threads"] == 1
    assert told[-1] == (1, 1, "done")
    report.save(tmp_path / "run.json")
    assert Report.load(tmp_path / "run.json") == report


def test_bandwidth_is_measured_for_larger_cases() -> None:
    case = select_cases(["layer_norm-forward-128x768"])[0]
    row = run([case], [], Settings(1, rounds=2, seconds=0.01)).rows[0]
    assert set(row.copy_gb_per_s) == {"plain", "streaming"}
    assert row.share_of_copy is not None
    assert row.peers == {}


def test_a_peer_that_is_not_installed_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(peers._ADAPTERS, "jax", ("jax_peer", ("no_such_package",)))
    report = run([TINY], ["jax"], Settings(1, rounds=1, seconds=0.001))
    assert report.unavailable == {"jax": "no_such_package is not installed"}
    assert report.rows[0].peers["jax"].samples is None


def test_ctrl_c_hands_over_the_finished_cases() -> None:
    cases = select_cases(["layer_norm-forward"])[:3]

    def interrupt(done: int, total: int, text: str) -> None:
        if done == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt) as caught:
        run(cases, ["numpy"], Settings(1, rounds=1, seconds=0.001), interrupt)
    assert isinstance(caught.value, Interrupted)
    report = caught.value.report
    assert [row.case for row in report.rows] == [cases[0].name]
    assert report.rows[0].peers["numpy"].ratio is not None
    assert report.skipped == {case.name: "the run was interrupted" for case in cases[1:]}
    assert report.interrupted and report.to_dict()["interrupted"] is True
    assert Report.from_dict(json.loads(report.to_json())) == report


def test_our_own_failure_ends_a_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NORMDROP_POOL_BYTES", "many")
    with pytest.raises(MeasuringFailed, match="NORMDROP_POOL_BYTES must be a number of bytes") as e:
        run([TINY], [], Settings(1, rounds=1, seconds=0.001))
    assert e.value.report is not None and e.value.report.rows == []
    assert e.value.report.skipped == {TINY.name: "the run failed"}


def test_cases_beyond_the_memory_or_the_time_are_skipped(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = Settings(1, rounds=1, seconds=0.001)
    report = run([TINY], [], replace(settings, longest_seconds=0.0))
    assert list(report.skipped) == [TINY.name]
    monkeypatch.setattr("normdrop.benchmark.machine.available_memory", lambda: 100)
    report = run([TINY], [], settings)
    assert "memory" in report.skipped[TINY.name]
    assert report.rows == []
