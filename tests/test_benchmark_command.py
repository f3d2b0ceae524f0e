"""The ``bench`` command: what it refuses before measuring, what it writes, what Ctrl-C leaves."""

from __future__ import annotations

import errno
import importlib.util
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from normdrop import benchmark
from normdrop.benchmark import Interrupted, Report, Row, select_cases
from normdrop.benchmark.case_run import CaseRun
from normdrop.cli import bench
from normdrop.cli.main import main
from programs import interruptible
from test_benchmark_report import make_report
from tolerances import HANG_SECONDS

TINY = "layer_norm-forward-4x16"
QUICK = ("bench", TINY, "--quick", "--against", "numpy", "--threads", "1", "--plain")


def run_command(*arguments: str) -> int:
    return main(["bench", *arguments])


@pytest.fixture
def nothing_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    def run(*arguments: object) -> Report:
        raise AssertionError("measured before everything was checked")

    monkeypatch.setattr(benchmark, "run", run)


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> Report:
    """A report that a run returns at once."""
    report = make_report()
    monkeypatch.setattr(benchmark, "run", lambda *arguments: report)
    return report


def test_command_lists_cases(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command("dropout", "--list") == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(select_cases(["dropout"]))
    assert "no mask stored" in lines[0]


# ---- refused before measuring ----


def refusal(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """The one line that stands for a wrong argument."""
    assert run_command(*arguments) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    (line,) = shown.err.splitlines()
    assert line.startswith("normdrop bench: ")
    return line


@pytest.mark.usefixtures("nothing_is_measured")
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("softmax",), "no case fits 'softmax'"),
        (("--against", "tensorflow"), "got 'tensorflow'"),
        (("--json", "/no/such/folder/x.json"), "there is no folder /no/such/folder"),
        (("--json", __file__ + "/x.json"), "Not a directory"),
        (("--json", "x" * 300), "File name too long"),
    ],
)
def test_wrong_arguments_are_refused_before_measuring(
    arguments: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert message in refusal(capsys, *arguments)


@pytest.mark.usefixtures("nothing_is_measured")
@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs /proc")
def test_a_folder_that_takes_no_files_is_not_called_missing(
    capsys: pytest.CaptureFixture[str],
) -> None:
    line = refusal(capsys, "--json", "/proc/x.json")
    assert line.endswith("--json: /proc/x.json: No such file or directory")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--threads", "0"), "--threads: must be an integer from 1 to 4096, got '0'"),
        (("--threads", "x"), "--threads: must be an integer from 1 to 4096, got 'x'"),
        (("--threads", "4097"), "--threads: must be an integer from 1 to 4096, got '4097'"),
        (("--threads", ""), "--threads: must be an integer from 1 to 4096, got ''"),
        (("--json", ""), "--json: must be the name of a file, got ''"),
        (("--json",), "--json: expected one argument"),
    ],
)
def test_arguments_of_the_wrong_form_are_explained(
    arguments: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        run_command(*arguments)
    assert caught.value.code == 2
    assert capsys.readouterr().err.endswith(f"normdrop bench: error: argument {message}\n")


@pytest.mark.usefixtures("nothing_is_measured")
@pytest.mark.parametrize("option", ["--json", "--markdown", "--plot"])
def test_a_folder_is_no_file(
    option: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert refusal(capsys, option, str(tmp_path)).endswith(f"{option}: {tmp_path}: Is a directory")


@pytest.fixture
def no_privileges() -> Iterator[Path]:
    """A folder that this process may only look into, also where it runs as root."""
    if not hasattr(os, "seteuid"):
        pytest.skip("users as on POSIX systems")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "present.json").write_text("kept")
        (folder / "present.json").chmod(0o444)
        folder.chmod(0o555)
        root = os.geteuid() == 0
        if root:
            os.seteuid(65534)
        try:
            yield folder
        finally:
            if root:
                os.seteuid(0)
            folder.chmod(0o755)


@pytest.mark.usefixtures("nothing_is_measured")
@pytest.mark.parametrize("name", ["present.json", "absent.json"])
def test_a_file_without_permission_is_refused(
    name: str, no_privileges: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = no_privileges / name
    assert refusal(capsys, "--json", str(path)).endswith(f"--json: {path}: Permission denied")


@pytest.mark.usefixtures("nothing_is_measured")
def test_a_read_only_file_system_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(path: Path, flags: int, mode: int = 0) -> int:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))

    monkeypatch.setattr(os, "open", refuse)
    assert refusal(capsys, "--json", str(tmp_path / "a")).endswith(os.strerror(errno.EROFS))


@pytest.mark.usefixtures("nothing_is_measured")
def test_trying_a_file_changes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    present, absent, link = tmp_path / "a", tmp_path / "b", tmp_path / "c"
    present.write_text("kept")
    link.symlink_to(tmp_path / "d")
    files = ["--json", str(present), "--markdown", str(absent), "--plot", str(link)]
    with pytest.raises(AssertionError, match="measured before"):
        run_command(TINY, "--against", "none", *files)
    assert present.read_text() == "kept"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "c"]
    assert link.is_symlink()


@pytest.mark.usefixtures("nothing_is_measured")
def test_two_results_do_not_go_into_one_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    same = ["--json", str(tmp_path / "a"), "--markdown", str(tmp_path / "." / "a")]
    assert refusal(capsys, *same).endswith("--json and --markdown name one file")


@pytest.mark.usefixtures("nothing_is_measured")
def test_a_plot_that_cannot_be_drawn_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("matplotlib")
    plot = ("--plot", str(tmp_path / "a.docx"))
    assert "a.docx: the ending must be one of" in refusal(capsys, *plot)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    for name in [name for name in sys.modules if name.startswith("matplotlib.")]:
        monkeypatch.delitem(sys.modules, name)
    message = "--plot needs matplotlib: pip install 'normdrop[plot]'"
    assert refusal(capsys, "--plot", str(tmp_path / "a.png")).endswith(message)


@pytest.mark.usefixtures("nothing_is_measured")
def test_a_peer_that_is_named_and_not_installed_is_an_error(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    find_spec = importlib.util.find_spec
    absent = ("torch", "onnxruntime", "onnx")
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name in absent else find_spec(name)
    )
    for against, message in (
        ("torch", "torch is not installed: pip install torch"),
        ("torch_compile,torch", "torch is not installed: pip install torch"),
        (
            "numpy,onnxruntime",
            "onnxruntime, onnx are not installed: pip install onnxruntime onnx",
        ),
    ):
        line = refusal(capsys, "--against", against)
        assert line == f"normdrop bench: --against {against}: {message}"
    assert run_command("--list", "--quick") == 0  # the default takes those that are there


# ---- files ----


def test_command_measures_and_writes_files(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = ["--json", str(tmp_path / "a.json"), "--markdown", str(tmp_path / "a.md")]
    assert main([*QUICK, *files]) == 0
    captured = capsys.readouterr()
    assert TINY in captured.out
    assert f"[0/1] {TINY}" in captured.err
    report = Report.load(tmp_path / "a.json")
    assert report.peer_names == ["numpy"] and not report.interrupted
    assert (tmp_path / "a.md").read_text().startswith("| case |")


needs_full_device = pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")


@needs_full_device
def test_results_that_cannot_be_written_go_elsewhere(
    measured: Report,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    markdown = tmp_path / "a.md"
    assert run_command("--json", "/dev/full", "--markdown", str(markdown), "--plain") == 1
    shown = capsys.readouterr()
    (rescued,) = tmp_path.glob("*.json")
    assert Report.load(rescued) == measured
    assert shown.err.splitlines() == [
        "normdrop bench: /dev/full: No space left on device",
        f"wrote {markdown}",
        f"normdrop bench: the results as JSON are in {rescued}",
    ]
    assert measured.rows[0].case in shown.out and markdown.exists()


@needs_full_device
def test_results_that_can_be_written_nowhere_are_printed(
    measured: Report,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "none"))
    assert run_command("--markdown", "/dev/full", "--plain") == 1
    shown = capsys.readouterr()
    content, _ = json.JSONDecoder().raw_decode(shown.out)
    assert Report.from_dict(content) == measured
    assert "the results as JSON are on standard output" in shown.err


@needs_full_device
def test_results_are_saved_once(
    measured: Report, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "a.json"
    assert run_command("--markdown", "/dev/full", "--json", str(path), "--plain") == 1
    assert Report.load(path) == measured
    assert "as JSON" not in capsys.readouterr().err


def test_a_plot_that_fails_costs_nothing_else(
    measured: Report,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    pytest.importorskip("matplotlib")

    def fail(report: Report, path: Path) -> None:
        raise ZeroDivisionError("a defect")

    monkeypatch.setattr("normdrop.benchmark.plot.save_plot", fail)
    path = tmp_path / "a.json"
    arguments = ["--plot", str(tmp_path / "a.png"), "--json", str(path), "--plain"]
    assert run_command(*arguments) == 1
    shown = capsys.readouterr()
    assert Report.load(path) == measured and measured.rows[0].case in shown.out
    assert "ZeroDivisionError: a defect" in shown.err


# ---- Ctrl-C ----


def test_ctrl_c_before_the_first_case_writes_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*arguments: object) -> Report:
        raise Interrupted(Report.from_dict({**make_report().to_dict(), "rows": []}))

    monkeypatch.setattr(benchmark, "run", interrupted)
    path = tmp_path / "a.json"
    path.write_text("kept")
    assert run_command("--json", str(path)) == 130
    assert path.read_text() == "kept"
    assert capsys.readouterr().err == (
        "normdrop bench: interrupted; no case is finished: no results\n"
    )


def test_a_failure_in_the_middle_keeps_the_finished_cases(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    measure = CaseRun.measure

    def measure_one(self: CaseRun, against: list[str]) -> Row:
        if self.case.name != TINY:
            self.workers.running["normdrop"]._process.kill()
        return measure(self, against)

    monkeypatch.setattr(CaseRun, "measure", measure_one)
    path = tmp_path / "a.json"
    arguments = [TINY, "4096x1024", "--quick", "--against", "none", "--json", str(path)]
    assert run_command(*arguments) == 1
    shown = capsys.readouterr()
    assert "the process ended with status -9; 1 of 3 cases are finished\n" in shown.err
    report = Report.load(path)
    assert [row.case for row in report.rows] == [TINY] and report.interrupted
    assert TINY in shown.out and "skipped, the run failed" in shown.out


def children(process: int) -> set[int]:
    """Processes that this one has started and that run."""
    listed = subprocess.run(
        ["ps", "-A", "-o", "pid=", "-o", "ppid="], capture_output=True, text=True, check=True
    ).stdout
    pairs = (line.split() for line in listed.splitlines())
    return {int(pid) for pid, parent in pairs if int(parent) == process}


def running(pids: set[int]) -> set[int]:
    found = set()
    for pid in pids:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            continue
        found.add(pid)
    return found


@pytest.mark.skipif(shutil.which("ps") is None, reason="needs ps")
def test_ctrl_c_keeps_the_finished_cases(tmp_path: Path) -> None:
    json_path, markdown = tmp_path / "a.json", tmp_path / "a.md"
    files = ["--json", str(json_path), "--markdown", str(markdown)]
    command = ["bench", "layer_norm", "--against", "numpy", "--threads", "1", *files]
    with subprocess.Popen(
        interruptible(*command), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as program:
        assert program.stderr is not None
        while not program.stderr.readline().startswith("[1/"):
            assert program.poll() is None
        workers = children(program.pid)
        program.send_signal(signal.SIGINT)
        shown, message = program.communicate(timeout=HANG_SECONDS)
    assert program.returncode == 130
    assert len(workers) == 2 and not running(workers)
    report = Report.load(json_path)
    total = len(select_cases(["layer_norm"]))
    assert report.interrupted and 1 <= len(report.rows) < total
    assert report.rows[0].case == TINY and report.rows[0].peers["numpy"].ratio is not None
    assert message.splitlines() == [
        f"normdrop bench: interrupted; {len(report.rows)} of {total} cases are finished",
        f"wrote {json_path}",
        f"wrote {markdown}",
    ]
    assert TINY in shown and "the run was interrupted" in shown
    assert TINY in markdown.read_text()


# ---- progress ----


def test_a_bar_on_a_terminal_is_gone_after_an_interruption(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pytest.importorskip("rich")
    hidden, shown = "\x1b[?25l", "\x1b[?25h"  # the cursor

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    stream = Terminal()
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setenv("TERM", "xterm")
    with pytest.raises(KeyboardInterrupt), bench._progress(True) as progress:
        progress(1, 3, "a case")
        raise KeyboardInterrupt
    assert hidden in stream.getvalue()
    assert stream.getvalue().rindex(shown) > stream.getvalue().rindex(hidden)
