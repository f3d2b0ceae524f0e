"""The check on a GPU, as far as it goes without one: its dry run, its plan and what it reads."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import normdrop as nd
from gpu_check import (
    building,
    clock,
    dropout_profile,
    operation_tests,
    plan,
    processes,
    results_file,
    sanitizer_cases,
    sections,
)
from gpu_check.bits import require_same_bits
from gpu_check.card import Card, DryCard, numpy_dtype
from gpu_check.data import make_data, normal
from gpu_check.findings import Different, Findings, Skip
from gpu_check.peers import TorchOnDevice, load_peers, ours
from gpu_check.table import dry_line, heading, line, verdict
from normdrop.benchmark.cases import Case
from normdrop.benchmark.operations import operation_of
from normdrop.benchmark.peers import Unsupported
from normdrop.benchmark.results import Report, Row, compare_cells
from normdrop.benchmark.timing import summarise
from tolerances import HANG_SECONDS, PEER_ABSOLUTE, PEER_RELATIVE

ROOT = Path(__file__).resolve().parent.parent
BENCH = str(ROOT / "bench")
CPU = nd.backends()[0]


def run_check(tmp_path: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The program as the Makefile starts it, on a machine whose driver shows no GPU."""
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([BENCH, *filter(None, [os.environ.get("PYTHONPATH")])]),
        "TMPDIR": str(tmp_path),
        "PATH": str(tmp_path),
        "OUT": str(tmp_path / "out"),
    }
    return subprocess.run(
        [sys.executable, "-m", "gpu_check", *arguments],
        cwd=ROOT, env=environment, capture_output=True, text=True, timeout=HANG_SECONDS,
    )  # fmt: skip


def saved_report(tmp_path: Path) -> Report:
    (path,) = tmp_path.glob("normdrop-dry-run-*/*.json")
    return Report.load(path)


# The dry run -------------------------------------------------------------------------------------


def test_without_a_gpu_the_run_says_so_and_marks_its_results(tmp_path):
    done = run_check(tmp_path, "--part", "7/8", "--against", "cupy", "--commit", "abc")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "No GPU here" in done.stdout
    assert "dropout-forward-268435456" in done.stdout  # the plan of a real run
    assert "0 FAILED" in done.stdout
    report = saved_report(tmp_path)
    assert report.settings["dry_run"] and report.settings["title"].startswith("dry run")
    assert report.commit == "abc"
    assert [row.case for row in report.rows] == [
        case.name for case in plan.cases_of("dropout", tiny=True)
    ]
    assert report.rows[0].peers["cupy"].ratio is not None
    assert len(report.rows[0].variants["fresh"].rounds) == report.rows[0].variants["fresh"].count
    assert report.findings["targets"] == {}
    assert report.findings["host_time"] and report.findings["philox_profile"]
    assert not (tmp_path / "out").exists()  # nothing of a dry run lies beside real results
    has_plots = importlib.util.find_spec("matplotlib") is not None
    assert bool(list(tmp_path.glob("normdrop-dry-run-*/*.png"))) == has_plots


@pytest.mark.parametrize(("part", "names"), [("1/8", "against"), ("2/8", "graph of layer norm")])
def test_dry_run_of_the_checks(tmp_path, part, names):
    done = run_check(tmp_path, "--dry-run", "--part", part)
    assert done.returncode == 0, done.stdout + done.stderr
    checks = saved_report(tmp_path).findings["checks"]
    assert {check["status"] for check in checks} <= {"ok", "skipped", "different"}
    passed = [check["name"] for check in checks if check["status"] == "ok"]
    assert any(names in name for name in passed), passed


@pytest.mark.parametrize("arguments", [("--part", "9/8"), ("--part", "x"), ("--against", "apex")])
def test_wrong_arguments(tmp_path, arguments):
    done = run_check(tmp_path, *arguments)
    assert done.returncode == 1
    assert done.stderr.startswith("gpu-check: p"), done.stderr


# The plan ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", range(1, len(sections.SECTIONS) + 1))
def test_parts_hold_every_section_once(count):
    parts = [sections.sections_of_part(f"{i}/{count}") for i in range(1, count + 1)]
    assert [section for part in parts for section in part] == list(sections.SECTIONS)
    assert all(parts)


def test_a_part_of_one_section_ends_within_eight_minutes():
    assert sections.PART_SECONDS + sections.GRACE_SECONDS < 8 * 60


@pytest.mark.parametrize(
    ("case", "arrays"),
    [
        (Case("layer_norm", "forward", (1024, 262144), "rows"), 2),
        (Case("layer_norm", "backward", (1024, 262144), "rows", "bfloat16"), 3),
        (Case("dropout", "backward", (1 << 25,), "flat"), 2),
        # 256 * 56 * 56 values are 3.2 MB in float32 and fit a cluster once, not twice.
        (Case("batch_norm", "forward", (256, 64, 56, 56), "nchw"), 2),
        (Case("batch_norm", "backward", (256, 64, 56, 56), "nchw"), 5),
        (Case("batch_norm", "inference", (256, 64, 56, 56), "nhwc"), 2),
        (Case("batch_norm", "forward", (256, 64, 56, 56), "nhwc"), 3),
    ],
)
def test_fewest_bytes_on_a_gpu(case, arrays):
    parameter_bytes = 2 * case.parameters * case.itemsize
    assert plan.movement(case).bytes_moved == arrays * case.array_bytes + parameter_bytes


def test_cases_are_the_ones_that_were_asked_for():
    names = {case.name for bench in sections.BENCHES for case in plan.cases_of(bench, tiny=False)}
    lengths = (256, 512, 1024, 2048, 4096, 8192, 16384, 65536, 262144)
    for direction in ("forward", "backward"):
        measured = [n for n in names if n.startswith(f"layer_norm-{direction}")]
        assert len(measured) == 2 * len(lengths)
        for length in lengths:
            assert any(f"x{length}" in name for name in measured)
    assert "layer_norm-forward-32768x256" in names
    assert all(
        np.prod(case.shape) <= 1 << 28
        for bench in sections.BENCHES
        for case in plan.cases_of(bench, tiny=False)
    )


@pytest.mark.parametrize(
    ("op", "direction", "shape", "dtype", "share"),
    [
        ("layer_norm", "forward", (32768, 256), "bfloat16", 0.75),
        ("layer_norm", "forward", (32768, 1024), "float32", 0.85),
        ("layer_norm", "forward", (1024, 262144), "float32", None),
        ("layer_norm", "backward", (16384, 16384), "float32", 0.80),
        ("layer_norm", "backward", (32768, 512), "float32", None),
        ("batch_norm", "backward", (16384, 4096), "bfloat16", 0.80),
        ("dropout", "forward", (1 << 25,), "float32", 0.85),
        ("dropout", "forward", (1 << 25,), "bfloat16", None),
    ],
)
def test_targets(op, direction, shape, dtype, share):
    assert plan.target_of(Case(op, direction, shape, "rows", dtype)).share_of_copy == share


def row_with(case: Case, share: float, torch_ratio: float) -> Row:
    """A row at a share of a copy of 1000 GB/s."""
    moved = plan.movement(case)
    ours_seconds = moved.bytes_moved / (share * 1e12)
    fresh, theirs = (summarise([[s], [s]], 1) for s in (ours_seconds, torch_ratio * ours_seconds))
    return Row(
        case.name, case.op, case.direction, case.shape, case.layout, case.dtype,
        moved.bytes_moved, moved.reason, {"fresh": fresh, "out": fresh}, None,
        {"torch": 1000.0}, {"torch": compare_cells(theirs, fresh, None)},
    )  # fmt: skip


@pytest.mark.parametrize(
    ("share", "ratio", "text"),
    [
        (0.86, 0.98, "hit 85 %"),
        (0.84, 1.2, "MISS 85 %: share 0.84 < 0.85"),
        (0.9, 0.96, "MISS 85 %: torch 0.96 < 0.97"),
    ],
)
def test_hit_or_miss(share, ratio, text):
    case = Case("layer_norm", "forward", (32768, 1024), "rows")
    row = row_with(case, share, ratio)
    assert verdict(case, row)["text"] == text
    assert verdict(case, row)["hit"] == text.startswith("hit")
    assert line(case, row).endswith(text) and f"{ratio:.2f}" in line(case, row)
    assert "us" not in dry_line(row)
    assert heading().endswith("target")


# Comparisons and readers -------------------------------------------------------------------------


def test_one_bit_is_a_difference():
    x = np.arange(5, dtype=np.float32)
    other = x.copy()
    other.view(np.uint32)[3] ^= 1
    require_same_bits(x, x.copy(), "x")
    with pytest.raises(AssertionError, match=r"x: 1 of 5 elements differ, first \[3\]"):
        require_same_bits(other, x, "x")
    with pytest.raises(AssertionError, match="float64"):
        require_same_bits(x.astype(np.float64), x, "x")
    with pytest.raises(AssertionError):
        require_same_bits(np.array([-0.0]), np.array([0.0]), "sign")


def test_findings_keep_what_was_found(tmp_path, capsys):
    findings = Findings("tests", tmp_path / "found.json", ends_at=float("inf"))

    def raising(error: Exception) -> Any:
        def check() -> None:
            raise error

        return check

    findings.run("a", lambda: "fine")
    findings.run("b", raising(AssertionError("wrong")))
    findings.run("c", raising(Skip("not here")))
    findings.run("d", raising(Different("one bit")))
    findings.ends_at = 0.0
    findings.run("e", raising(AssertionError("must not run")))
    checks = json.loads(findings.path.read_text())["checks"]
    assert [c["status"] for c in checks] == ["ok", "FAILED", "skipped", "different", "skipped"]
    assert checks[1]["detail"].startswith("AssertionError: wrong")
    assert checks[4]["detail"] == "out of time"
    assert "FAILED    b" in capsys.readouterr().out


def test_pytest_outcomes():
    assert operation_tests.read_outcome(0, "..\n== 2 passed in 0.1s ==\n") == "2 passed in 0.1s"
    with pytest.raises(Skip):
        operation_tests.read_outcome(5, "no tests ran")
    with pytest.raises(AssertionError, match="1 failed"):
        operation_tests.read_outcome(1, "E  assert\n1 failed in 0.1s\n")


def test_operation_files_follow_the_fixture():
    files = operation_tests.operation_files()
    assert files[0] == operation_tests.FRAMEWORKS
    assert {"test_layer_norm.py", "test_accuracy.py", "test_determinism.py"} <= set(files)
    assert not {"test_cli.py", "test_threads.py"} & set(files)


def test_profile_is_read_past_the_tools_own_lines():
    output = (
        '==PROF== Connected\n"ID","Kernel Name","Metric Name","Metric Unit","Metric Value"\n'
        '"0","drop_elements","gpu__time_duration.sum","us","250"\n"0","drop_elements","other","",""\n'
    )
    assert dropout_profile.parse(output) == {"gpu__time_duration.sum": "250 us"}
    command = dropout_profile.profile_command("ncu", ["a", "b"])
    assert command[command.index("--metrics") + 1] == "a,b" and command[-1] == "cuda"


def test_build_is_offline_and_for_the_card():
    command = building.install_command(cuda=True)
    assert {"--no-build-isolation", "--no-index", "--no-deps"} <= set(command)
    assert "--config-settings=cmake.define.CMAKE_CUDA_ARCHITECTURES=native" in command
    assert command[-1] == str(ROOT)
    assert building.fingerprint() == building.fingerprint()
    assert not any(path.suffix == ".so" for path in building.source_files())


class TorchOnHost(Card):
    """The GPU's card with tensors of the host: all of it but streams and graphs."""

    device = "cpu"

    def __init__(self) -> None:
        DryCard.__init__(self, CPU)
        self.torch = pytest.importorskip("torch")


@pytest.mark.frameworks
@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
def test_tensors_hold_the_bits_that_were_put(dtype):
    card = TorchOnHost()
    values = np.arange(15).reshape(3, 5).astype(numpy_dtype(dtype))
    for offset in (0, 1, 3):
        tensor = card.put(values, offset)
        require_same_bits(card.get(tensor), values, "put")
        assert tensor.data_ptr() % 16 == offset * values.itemsize % 16
    card.overwrite(tensor, values[::-1])
    require_same_bits(card.get(tensor), np.ascontiguousarray(values[::-1]), "overwritten")
    assert 0.4 < card.get(normal(card, (1000,), "float32", 0.5, 0.1, seed=1)).mean() < 0.6
    assert make_data(card, Case("dropout", "forward", (7,), "flat", dtype), 1).out.shape == (7,)


@pytest.mark.frameworks
def test_draws_of_tensors_are_unsigned():
    card = TorchOnHost()
    draw = card.new_draw(2**64 - 1, 2**64 - 2)
    assert draw.numpy().tolist() == [2**64 - 1, 2**64 - 2]
    card.advance(draw)
    card.advance(draw)
    assert draw.numpy().tolist() == [2**64 - 1, 0]
    card.set_draw(draw, 7, 2**63)
    assert draw.numpy().tolist() == [7, 2**63]


@pytest.mark.frameworks
def test_arrays_without_end_take_no_memory():
    shapes = {who: array.shape for who, array in TorchOnHost().endless().items()}
    assert {who: tuple(shape) for who, shape in shapes.items()} == {
        "PyTorch": (1 << 46,),
        "normdrop": (1 << 46,),
    }


class FakeCuda:
    """A device whose clock moves by a millisecond for every call that it is given."""

    def __init__(self) -> None:
        self.milliseconds = 0.0
        self.waits: list[int] = []
        self.log: list[str] = []

    def work(self) -> object:
        self.milliseconds += 1
        return object()

    def _sleep(self, cycles: int) -> None:
        self.waits.append(cycles)

    def synchronize(self) -> None:
        self.log.append("synchronize")

    def Event(self, enable_timing: bool) -> Any:
        assert enable_timing
        return FakeEvent(self)


class FakeEvent:
    def __init__(self, cuda: FakeCuda) -> None:
        self.cuda = cuda

    def record(self) -> None:
        self.at = self.cuda.milliseconds

    def synchronize(self) -> None:
        self.cuda.log.append("event")

    def elapsed_time(self, end: FakeEvent) -> float:
        return end.at - self.at


def test_the_device_clock_counts_the_batch_and_nothing_else():
    cuda = FakeCuda()
    device_clock = clock.EventClock(cuda)
    assert device_clock.sample([cuda.work] * 3, 6) == pytest.approx(1e-3)
    assert len(cuda.waits) == 1 and 0 < cuda.waits[0] <= 1e8
    assert cuda.log[-1] == "event"
    # 2 ms are two calls, which whole turns of three works round up.
    assert clock.calls_per_sample(device_clock, [cuda.work] * 3) == 3


def test_a_bounded_program_leaves_nothing_behind(tmp_path):
    command = ["sh", "-c", "echo out; echo err >&2; exit 3"]
    assert processes.run_bounded(command, HANG_SECONDS) == (3, "out\nerr\n")
    os.mkfifo(held := tmp_path / "held")
    seconds, text = 1.0, ""
    while not text:  # a busy machine may need longer to start it at all
        reader = os.open(held, os.O_RDONLY | os.O_NONBLOCK)
        with pytest.raises(subprocess.TimeoutExpired):
            processes.run_bounded(
                ["sh", "-c", f"exec >{held}; echo started; (sleep {2 * HANG_SECONDS}) & wait"],
                seconds,
            )
        # The end of the pipe comes once nobody holds it any longer, the sleeping child among them.
        os.set_blocking(reader, True)
        ended = time.monotonic()
        with open(reader) as pipe:
            text = pipe.read()
        assert time.monotonic() - ended < HANG_SECONDS, "the child was left to sleep"
        seconds *= 4
    assert text == "started\n"


def test_the_gpu_is_what_nvidia_smi_says(tmp_path, monkeypatch):
    fake = tmp_path / "nvidia-smi"
    fake.write_text("#!/bin/sh\necho 'NVIDIA H200, 580.1, 143771 MiB, 1980 MHz, 3201 MHz'\n")
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    report = results_file.make_report({}, dry=False, commit="abc")
    assert report.machine["gpu"]["driver_version"] == "580.1"
    assert results_file.file_stem(report, "3/8") == f"{report.date[:10]}-h200-part-3-of-8"
    assert results_file.file_stem(report, "1/1") == f"{report.date[:10]}-h200"
    assert results_file.write_files(report, tmp_path / "out", "1/1")[1].startswith("no plot")
    assert Report.load(tmp_path / "out" / f"{report.date[:10]}-h200.json") == report


# The works ---------------------------------------------------------------------------------------


def test_sanitizer_cases_run_under_a_cpu_backend():
    assert sanitizer_cases.run_all(CPU, tiny=True) == len(sanitizer_cases.DTYPES)


@pytest.mark.parametrize("bench", sections.BENCHES)
def test_cupys_formulas_are_ours(bench):
    """The peer must do the same work; random masks apart, it gives the same numbers."""
    peers, unavailable = load_peers(["cupy"], dry=True)
    assert unavailable == {}
    card = DryCard(CPU)
    for case in plan.cases_of(bench, tiny=True):
        if case.dtype != "float32":
            continue
        data = make_data(card, case, seed=1)
        calls = ours(case, data)
        try:
            call = peers["cupy"].call(case, data)
        except Unsupported:
            assert bench == "family"
            continue
        got, theirs = calls["fresh"](), call()
        first = got[0] if isinstance(got, tuple) else got
        result = theirs[0] if isinstance(theirs, tuple) else theirs
        assert result.shape == first.shape
        if case.op != "dropout":
            np.testing.assert_allclose(result, first, rtol=PEER_RELATIVE, atol=PEER_ABSOLUTE)
        written = calls["out"]()
        np.testing.assert_array_equal(data.out, first)
        assert (written[0] if isinstance(written, tuple) else written) is data.out


@pytest.fixture
def torch_peer():
    """The peer turns gradients off for its process, which is that of other tests here."""
    torch = pytest.importorskip("torch")
    with torch.enable_grad():
        yield TorchOnDevice()


@pytest.mark.frameworks
@pytest.mark.parametrize("bench", sections.BENCHES)
def test_torch_computes_the_same(bench, torch_peer):
    card = DryCard(CPU)
    for case in plan.cases_of(bench, tiny=True):
        data = make_data(card, case, seed=1)
        theirs = torch_peer.call(case, data)()
        if operation_of(case).judged_by in (None, "mask") or case.dtype != "float32":
            continue  # whose numbers are the library's own
        got = ours(case, data)["fresh"]()
        first = got[0] if isinstance(got, tuple) else got
        result = theirs[0] if isinstance(theirs, tuple) else theirs
        if case.layout == "nhwc":
            result = result.permute(0, 2, 3, 1)
        np.testing.assert_allclose(result.numpy(), first, rtol=PEER_RELATIVE, atol=PEER_ABSOLUTE)
