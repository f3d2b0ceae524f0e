"""Reports of the measuring part: figures, JSON, tables and the plot."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from normdrop.benchmark import (
    CASES,
    Cell,
    Report,
    Row,
    render_markdown,
    render_plain,
    timing,
)
from normdrop.benchmark.machine import describe_machine
from normdrop.benchmark.report import notes
from normdrop.benchmark.results import compare_cells
from normdrop.benchmark.timing import Samples

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


def test_many_skipped_cases_with_one_reason_are_one_line() -> None:
    left = {f"case {index}": "the run was interrupted" for index in range(20)}
    report = replace(make_report(), skipped={**left, "one": "needs more memory"})
    assert "20 cases: skipped, the run was interrupted" in notes(report)
    assert "one: skipped, needs more memory" in notes(report)


def test_terminal_table_with_rich() -> None:
    console_module = pytest.importorskip("rich.console")
    from normdrop.benchmark.report import print_rich

    stream = io.StringIO()
    print_rich(make_report(), console_module.Console(file=stream, width=200))
    assert "2.00 (inf)" in stream.getvalue()


@pytest.mark.parametrize("width", [50, 80, 200])
def test_a_terminal_of_any_width_shows_whole_names_and_figures(width: int) -> None:
    console_module = pytest.importorskip("rich.console")
    from normdrop.benchmark.report import print_rich

    report = make_report([8e-4, 8.8e-4, 7.2e-4])
    name = max((case.name for case in CASES), key=len)
    report.rows[:] = [replace(report.rows[0], case=name)]
    stream = io.StringIO()
    print_rich(report, console_module.Console(file=stream, width=width))
    tables = stream.getvalue().partition("time, GB/s")[0]
    lines = tables.splitlines()
    words = [line.replace("│", " ").split() for line in lines]
    assert sum(name in found for found in words) == 2  # once in each table
    for figure in ("1.00 ms", "4.00 ms", "100 %", "*0.80 (inf)"):
        assert any(figure in line for line in lines)
    assert max(map(len, lines)) <= width


def test_plot_is_a_png(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    from normdrop.benchmark.plot import save_plot

    save_plot(make_report(), tmp_path / "plot.png")
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")


def test_plot_has_the_format_of_its_ending_and_the_name_it_was_given(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    from normdrop.benchmark.plot import plot_format, save_plot

    save_plot(make_report(), tmp_path / "plot")
    assert [path.name for path in tmp_path.iterdir()] == ["plot"]
    assert plot_format(tmp_path / "a.SVG") == "svg"
    with pytest.raises(ValueError, match=r"a\.docx: the ending must be one of .*png.*got 'docx'"):
        plot_format(tmp_path / "a.docx")
