"""Reports of the measuring part, the ``bench`` command and compare.py."""

from __future__ import annotations

import argparse
import importlib.util
import io
import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from normdrop.benchmark import (
    Cell,
    Report,
    Row,
    render_markdown,
    render_plain,
    select_cases,
    timing,
)
from normdrop.benchmark.machine import describe_machine
from normdrop.benchmark.report import notes
from normdrop.benchmark.results import compare_cells
from normdrop.benchmark.timing import Samples
from normdrop.cli import bench

ROOT = Path(__file__).resolve().parent.parent
TINY = "layer_norm-forward-4x16"

# ---- reports ----


def samples(seconds: Sequence[float]) -> Samples:
    return timing.summarise([[second] for second in seconds], calls=1)


def make_report(peer_seconds: Sequence[float] = (2e-3, 2e-3, 2e-3)) -> Report:
    """A report with one peer that was timed, one that failed and one that is absent."""
    ours = samples([1e-3, 1.1e-3, 0.9e-3])
    row = Row(
        case="layer_norm-forward-128x768",
        op="layer_norm",
        direction="forward",
        shape=(128, 768),
        layout="rows",
        dtype="float32",
        bytes_moved=10_000_000,
        bytes_reason="x read once",
        variants={"fresh": ours, "out": samples([5e-4]), "kept": samples([4e-3])},
        error_units=0.625,
        copy_gb_per_s={"plain": 16.0, "streaming": 20.0},
        peers={
            "numpy": compare_cells(samples(peer_seconds), ours, float("inf")),
            "torch": Cell(missing="OutOfMemory: no"),
            "jax": Cell(missing="jax is not installed"),
        },
    )
    return Report(
        date="2026-01-02T03:04:05+00:00",
        commit=None,
        machine=describe_machine(),
        versions={"python": "3.12", "numpy": "2.0"},
        settings={"threads": 2, "rounds": 3, "backend": "avx2"},
        rows=[row],
        unavailable={"jax": "jax is not installed"},
        skipped={"dropout-forward-65536": "needs more memory"},
    )


def test_derived_figures_of_a_row() -> None:
    row = make_report().rows[0]
    assert row.ours_ms == pytest.approx(1.0)
    assert row.gb_per_s == pytest.approx(10.0)
    assert row.share_of_copy == pytest.approx(0.5)
    assert row.share_of_copy_of("out") == pytest.approx(1.0)
    assert row.peers["numpy"].ratio == pytest.approx(2.0)
    assert row.peers["numpy"].ms == pytest.approx(2.0)
    assert row.peers["torch"].ms is None


def test_report_survives_json(tmp_path: Path) -> None:
    report = make_report()
    path = tmp_path / "report.json"
    report.save(path)
    assert Report.load(path) == report
    fields = json.loads(path.read_text())
    assert fields["rows"][0]["ours_ms"] == pytest.approx(1.0)
    assert fields["rows"][0]["peers"]["numpy"]["error_units"] == "inf"
    path.write_text(json.dumps({**fields, "format": 99}))
    with pytest.raises(ValueError, match="format must be 1, got 99"):
        Report.load(path)


@pytest.mark.parametrize("render", [render_plain, render_markdown])
def test_text_shows_figures_errors_and_reasons(render: Any) -> None:
    text = render(make_report())
    for expected in ("1.00 ms", "10.0", "50 %", "100 %", "4.00 ms", "0.62", "2.00 (inf)"):
        assert expected in text
    assert "torch: OutOfMemory: no: layer_norm-forward-128x768" in text
    assert "jax: jax is not installed" in text
    assert "dropout-forward-65536: skipped, needs more memory" in text
    assert "\x1b" not in text


def test_a_loss_is_printed_and_marked() -> None:
    report = make_report([8e-4, 8.8e-4, 7.2e-4])
    assert report.rows[0].peers["numpy"].is_loss
    assert "*0.80 (inf)" in render_plain(report)
    assert "**0.80 (inf)**" in render_markdown(report)


def test_a_loss_within_the_spread_is_not_marked() -> None:
    report = make_report([8e-4, 1.5e-3, 7.2e-4])
    cell = report.rows[0].peers["numpy"]
    assert cell.ratio == pytest.approx(0.8)
    assert not cell.is_loss


def test_notes_name_a_common_reason_once() -> None:
    report = make_report()
    report.rows.append(replace(report.rows[0], case="another"))
    matching = [line for line in notes(report) if "OutOfMemory" in line]
    assert matching == ["torch: OutOfMemory: no: layer_norm-forward-128x768, another"]


def test_terminal_table_with_rich() -> None:
    console_module = pytest.importorskip("rich.console")
    from normdrop.benchmark.report import print_rich

    stream = io.StringIO()
    print_rich(make_report(), console_module.Console(file=stream, width=200))
    assert "2.00 (inf)" in stream.getvalue()


def test_plot_is_a_png(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    from normdrop.benchmark.plot import save_plot

    save_plot(make_report(), tmp_path / "plot.png")
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")


# ---- command line and compare.py ----


def run_command(*arguments: str) -> int:
    parser = argparse.ArgumentParser()
    bench.add_parser(parser.add_subparsers())
    args = parser.parse_args(["bench", *arguments])
    status: int = args.func(args)
    return status


def test_command_lists_cases(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command("dropout", "--list") == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(select_cases(["dropout"]))
    assert "no mask stored" in lines[0]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("softmax",), "no case fits 'softmax'"),
        (("--against", "tensorflow"), "got 'tensorflow'"),
        (("--json", "/no/such/folder/x.json"), "there is no folder /no/such/folder"),
    ],
)
def test_command_refuses_before_measuring(
    arguments: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command(*arguments) == 2
    assert message in capsys.readouterr().err


def test_command_measures_and_writes_files(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = ["--json", str(tmp_path / "a.json"), "--markdown", str(tmp_path / "a.md")]
    arguments = [TINY, "--quick", "--against", "numpy", "--threads", "1", "--plain", *files]
    assert run_command(*arguments) == 0
    captured = capsys.readouterr()
    assert TINY in captured.out
    assert f"[0/1] {TINY}" in captured.err
    assert Report.load(tmp_path / "a.json").peer_names == ["numpy"]
    assert (tmp_path / "a.md").read_text().startswith("| case |")


def load_compare() -> ModuleType:
    path = ROOT / "bench" / "compare.py"
    spec = importlib.util.spec_from_file_location("bench_compare", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def slower(report: Report, factor: float) -> Report:
    """The same report with our times multiplied."""
    row = report.rows[0]
    variants = {
        name: samples([factor * second for second in found.rounds])
        for name, found in row.variants.items()
    }
    return replace(report, rows=[replace(row, variants=variants)])


def test_compare_marks_changes_beyond_the_spread(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    compare = load_compare()
    first, second = tmp_path / "first.json", tmp_path / "second.json"
    report = make_report()
    report.save(first)
    for factor, mark, status in (
        (1.0, "", 0),
        (1.04, "", 0),
        (2.0, "SLOWER", 1),
        (0.5, "faster", 0),
    ):
        slower(report, factor).save(second)
        assert compare.main([str(first), str(second), "--fail-below", "0.99"]) == status
        line = capsys.readouterr().out.splitlines()[1]
        assert f"{1 / factor:.3f}" in line
        assert line.endswith(mark or "%")
    assert compare.main([str(first), str(second), "--variant", "out", "--variant", "kept"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 3


def test_compare_tells_what_differs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    compare = load_compare()
    first, second = tmp_path / "first.json", tmp_path / "second.json"
    report = make_report()
    report.save(first)
    other = replace(report.rows[0], case="another case")
    replace(report, rows=[other], settings={**report.settings, "threads": 1}).save(second)
    assert compare.main([str(first), str(second)]) == 0
    text = capsys.readouterr().out
    assert "differs: threads: 2 -> 1" in text
    assert "in one file only: another case" in text


def test_compare_runs_alone_and_refuses_other_files(tmp_path: Path) -> None:
    path = tmp_path / "other.json"
    path.write_text("{}")
    command = [sys.executable, str(ROOT / "bench" / "compare.py"), str(path), str(path)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 2
    assert "this is no results file of format 1" in ended.stderr
