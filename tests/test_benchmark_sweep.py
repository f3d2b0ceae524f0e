"""Random cells: that they are reproduced, what they cover, and what is told of them."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from normdrop.benchmark import Report, Row, Settings, peers, run
from normdrop.benchmark.cases import Case
from normdrop.benchmark.data import make_data
from normdrop.benchmark.operations import OPERATIONS, Unsupported, operation_of, peer_builder
from normdrop.benchmark.results import compare_cells
from normdrop.benchmark.sweep import DTYPES, Ratios, draw_cases, findings, render_sweep
from normdrop.cli.main import main
from test_benchmark_report import make_report, samples
from tolerances import PEER_BY_DTYPE

CELLS = draw_cases(2000, 1)


def test_the_seed_is_the_cells() -> None:
    """Written down, so that a change of Python or of the drawing is noticed."""
    first = [case.name for case in draw_cases(3, 7)]
    assert first == [case.name for case in draw_cases(1000, 7)[:3]]
    assert first != [case.name for case in draw_cases(3, 8)]
    assert first == FIRST_OF_SEED_7


FIRST_OF_SEED_7 = [
    "spatial_dropout-forward-nhwc-1x2x13x37",
    "dropout_add_rms_norm-forward-1x5x35x2x59-bfloat16",
    "gaussian_dropout-backward-1x1x7-float64",
]


def test_cells_are_different_and_cover_what_is_promised() -> None:
    assert len({case.name for case in CELLS}) == len(CELLS)
    kinds = {(op.name, direction) for op in OPERATIONS.values() for direction in op.traffic}
    assert {(case.op, case.direction) for case in CELLS} == kinds
    assert {case.dtype for case in CELLS} == set(DTYPES)
    for operation in OPERATIONS.values():
        drawn = {case.layout for case in CELLS if case.op == operation.name}
        assert drawn == set(operation.layouts)
    assert {len(case.shape) for case in CELLS if case.layout == "rows"} == {2, 3, 4, 5}
    assert {len(case.shape) for case in CELLS if case.layout == "nhwc"} == {3, 4, 5}
    sizes = sorted(prod(case.shape) for case in CELLS)
    assert sizes[0] < 20 and sizes[-1] > 5_000_000
    assert 500 < sizes[len(sizes) // 2] < 100_000
    with_parameters = [case for case in CELLS if case.parameters]
    assert 0.3 < sum(case.parameters <= 32 for case in with_parameters) / len(with_parameters) < 0.8
    odd = sum(size % 2 for case in CELLS for size in case.shape)
    assert odd > 0.4 * sum(len(case.shape) for case in CELLS)


def test_every_channel_of_a_batch_norm_has_two_values() -> None:
    trained = [case for case in CELLS if case.op == "batch_norm"]
    assert min(prod(case.shape) // case.shape[1] for case in trained) >= 2


SMALL = [case for case in draw_cases(4000, 2) if prod(case.shape) < 300]
EVERY_KIND = list({(c.op, c.direction, c.layout, c.dtype): c for c in SMALL}.values())


@pytest.mark.parametrize("case", EVERY_KIND, ids=lambda case: case.name)
def test_every_kind_of_cell_runs(case: Case) -> None:
    data = make_data(case)
    work = peers.load_peer(peers.OURS, 1).prepare(case, data)
    outputs = work.outputs(work.call())
    assert all(output.dtype == data.x.dtype for output in outputs)
    assert outputs[0].shape == case.memory_shape
    if "out" in work.variants:
        written = work.variants["out"]()
        first = written[0] if isinstance(written, tuple) else written
        np.testing.assert_array_equal(first, outputs[0])


# Its backward pass takes a grad_output that lies channels last for one channels first (2.13).
WRONG_IN_TORCH = ("instance_norm",)


@pytest.mark.frameworks
@pytest.mark.parametrize("case", EVERY_KIND, ids=lambda case: case.name)
def test_torch_does_the_same_work(case: Case) -> None:
    """As many outputs of the same shapes, and where no peer draws numbers, the same values."""
    torch = pytest.importorskip("torch")
    with torch.enable_grad():  # the adapter turns gradients off for the process
        data = make_data(case)
        works = [peers.load_peer(name, 1).prepare(case, data) for name in (peers.OURS, "torch")]
        ours, theirs = (work.outputs(work.call()) for work in works)
    assert [array.shape for array in theirs[: len(ours)]] == [array.shape for array in ours]
    if operation_of(case).judged_by in (None, "mask") or case.op in WRONG_IN_TORCH:
        return
    for mine, other in zip(ours, theirs, strict=True):
        scale = max(1.0, float(np.abs(mine.astype(np.float64)).max(initial=0)))
        difference = mine.astype(np.float64) - other.astype(np.float64)
        assert np.abs(difference).max(initial=0) <= PEER_BY_DTYPE[case.dtype] * scale


# ---- an operation that is not known ----


def test_an_unknown_operation_is_an_error_and_not_another_one() -> None:
    unknown = Case("root_norm", "forward", (3, 5), "rows")
    for ask in (operation_of, make_data, lambda case: case.parameters):
        with pytest.raises(ValueError, match=r"op must be one of dropout, .*got 'root_norm'"):
            ask(unknown)
    with pytest.raises(ValueError, match="direction of rms_norm must be one of forward, backward"):
        operation_of(Case("rms_norm", "inference", (3, 5), "rows"))
    with pytest.raises(Unsupported, match="no prelu of jax is known"):
        peer_builder(Case("prelu", "forward", (3, 5), "nc"), "jax")


# ---- distributions ----


def test_distribution_of_ratios() -> None:
    ratios = Ratios((4.0, 1.0, 0.25, 0.9))
    assert math.isclose(ratios.geometric_mean, 0.9**0.25)
    assert ratios.percentile(0) == 0.25 and ratios.percentile(100) == 4.0
    assert math.isclose(ratios.percentile(50), 0.95)
    assert ratios.share_below(0.97) == 0.5 and ratios.share_below(0.8) == 0.25


def sweep_report(*factors: float) -> Report:
    """A report with a row for each factor of the peer's time over ours."""
    report = make_report()
    row = report.rows[0]
    ours = row.variants["fresh"]
    rows: list[Row] = []
    for index, factor in enumerate(factors):
        theirs = samples([factor * seconds for seconds in ours.rounds])
        cell = compare_cells(theirs, ours, None)
        rows.append(replace(row, case=f"cell-{index}", peers={"torch": cell}))
    return replace(report, rows=rows)


def test_losing_cells_are_listed_the_worst_first() -> None:
    text = render_sweep(sweep_report(2.0, 0.9, 0.5, 3.0), 4, 7)
    assert "4 of 4 cells of seed 7" in text
    losses = text.partition("is faster")[2]
    assert losses.index("*") < losses.index("cell-2") < losses.index("cell-1")
    assert "cell-0" not in losses and "cell-3" not in losses
    assert "normdrop bench --sweep 4 --seed 7 NAME" in text
    assert "50.0 %" in text and "25.0 %" in text
    assert "no cell in which torch is faster" in render_sweep(sweep_report(2.0), 1, 7)


def test_findings_are_plain() -> None:
    found = findings(sweep_report(2.0, 0.5), 2, 7)
    assert json.loads(json.dumps(found)) == found
    assert found["sweep"]["peers"]["torch"]["geometric_mean"] == 1.0


# ---- runs ----


def test_a_sweep_against_numpy() -> None:
    cells = [case for case in EVERY_KIND if "numpy" in case.peers][:2]
    report = run(cells, ["numpy"], Settings(1, rounds=2, seconds=0.002, fresh_only=True))
    assert [row.case for row in report.rows] == [case.name for case in cells]
    for row in report.rows:
        assert set(row.variants) == {"fresh"}
        assert row.error_units is None and not row.copy_gb_per_s
        assert row.peers["numpy"].ratio is not None
    assert Report.from_dict(json.loads(report.to_json())) == report


def test_command_sweeps_and_writes_what_it_found(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "sweep.json"
    chosen = next(case for case in draw_cases(60, 5) if prod(case.shape) < 1000)
    words = ["bench", "--sweep", "60", "--seed", "5", chosen.name, "--against", "none"]
    assert main([*words, "--json", str(target)]) == 0
    assert "1 of 60 cells of seed 5" in capsys.readouterr().out
    report = Report.load(target)
    assert [row.case for row in report.rows] == [chosen.name]
    assert report.findings["sweep"] == {"count": 60, "seed": 5, "peers": {}}


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["--seed", "3"], "--seed is that of --sweep, which is missing"),
        (["--sweep", "3", "--plot", "sweep.png"], "--plot draws no --sweep"),
        (["--sweep", "3", "no_such_cell"], "no case fits 'no_such_cell'"),
        (["--sweep", "0"], "--sweep"),
    ],
)
def test_wrong_sweeps_are_refused(
    words: list[str], text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    status: Any
    try:
        status = main(["bench", *words])
    except SystemExit as end:
        status = end.code
    assert status == 2
    assert text in capsys.readouterr().err
