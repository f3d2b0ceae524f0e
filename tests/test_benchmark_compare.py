"""``normdrop compare``: what it marks, and that no file whatever makes it stumble."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from normdrop.benchmark import Report
from normdrop.cli.main import main
from test_benchmark_report import make_report, samples

RESULTS = Path(__file__).resolve().parent.parent / "bench" / "results"
# What may stand where another value should.
WRONG_VALUES = (
    None,
    True,
    0,
    -1,
    1.5,
    10**400,
    float("nan"),
    float("inf"),
    "",
    "text",
    "\ud800\x1b",
)
WRONG_CONTAINERS: tuple[Any, ...] = ([], {}, [[]], [1], {"median": {}})


def save(report: Report, path: Path) -> str:
    report.save(path)
    return str(path)


def slower(report: Report, factor: float) -> Report:
    """The same report with our times multiplied."""
    row = report.rows[0]
    variants = {
        name: samples([factor * second for second in found.rounds])
        for name, found in row.variants.items()
    }
    return replace(report, rows=[replace(row, variants=variants)])


@pytest.fixture
def first(tmp_path: Path) -> str:
    return save(make_report(), tmp_path / "first.json")


@pytest.mark.parametrize(
    ("factor", "mark", "status"),
    [(1.0, "%", 0), (1.04, "%", 0), (2.0, "SLOWER", 1), (0.5, "faster", 0)],
)
def test_changes_beyond_the_spread_are_marked(
    factor: float,
    mark: str,
    status: int,
    first: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    second = save(slower(make_report(), factor), tmp_path / "second.json")
    assert main(["compare", first, second, "--fail-below", "0.99"]) == status
    line = capsys.readouterr().out.splitlines()[1]
    assert f"{1 / factor:.3f}" in line
    assert line.endswith(mark)


def test_variants_are_chosen(first: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", first, first, "--variant", "out", "--variant", "kept"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[1] for line in lines] == ["variant", "out", "kept"]


def test_what_differs_is_told(
    first: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report = make_report()
    other = replace(report.rows[0], case="another case")
    changed = replace(report, rows=[other], settings={**report.settings, "threads": 1})
    second = save(changed, tmp_path / "second.json")
    assert main(["compare", first, second]) == 0
    text = capsys.readouterr().out
    assert "nothing to compare" in text
    assert "differs: threads: 2 -> 1" in text
    assert "in one file only: another case" in text
    assert main(["compare", first, second, "--fail-below", "0.9"]) == 1


def test_several_files_are_compared_with_the_first(
    first: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    second = save(slower(make_report(), 0.5), tmp_path / "second.json")
    third = save(slower(make_report(), 4.0), tmp_path / "third.json")
    assert main(["compare", first, second, third, "--fail-below", "0.9"]) == 1
    text = capsys.readouterr().out
    before, after = text.split(f"{first} -> {third}\n")
    assert before.startswith(f"{first} -> {second}\n")
    assert " 2.000 " in before and "SLOWER" not in before
    assert " 0.250 " in after and "SLOWER" in after


def test_an_interrupted_run_is_compared_like_any_other(first: str, tmp_path: Path) -> None:
    interrupted = save(replace(make_report(), interrupted=True), tmp_path / "second.json")
    assert main(["compare", first, interrupted]) == 0


# ---- files that are none ----


def refusal(path: Path, first: str, capsys: pytest.CaptureFixture[str]) -> str:
    """The only line that it writes about this file."""
    for files in ([first, str(path)], [str(path), first]):
        assert main(["compare", *files]) == 2
        shown = capsys.readouterr()
        assert shown.out == ""
        (line,) = shown.err.splitlines()
        assert line.startswith(f"normdrop compare: {path}: ")
    return line


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (b"", "this is no JSON"),
        (b"not JSON", "this is no JSON"),
        (b"\x89PNG\r\n\x1a\n\x00\xff", "this is no JSON"),
        (b"[" * 100_000, "this is no JSON"),
        (b"[]", "this is no results file of format 1"),
        (b"{}", "this is no results file of format 1"),
        (b"null", "this is no results file of format 1"),
        (b'{"format": 2}', "this is no results file of format 1"),
        (b'{"format": 1}', "the file has no 'machine'"),
        (b'{"format": 1, "machine": [], "settings": {}, "versions": {}, "rows": []}',
         "the file: 'machine' must be an object, got []"),
        (b'{"format": 1, "machine": {}, "settings": {}, "versions": {}, "rows": {}}',
         "the file: 'rows' must be a list, got {}"),
        (b'{"format": 1, "machine": {}, "settings": {}, "versions": {}, "rows": [7]}',
         "row 0 must be an object, got 7"),
    ],
)  # fmt: skip
def test_other_files_are_refused_in_one_line(
    content: bytes, fault: str, first: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "other.json"
    path.write_bytes(content)
    assert fault in refusal(path, first, capsys)


def test_folders_and_missing_files_are_refused_in_one_line(
    first: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert refusal(tmp_path, first, capsys).endswith(": Is a directory")
    assert refusal(tmp_path / "none", first, capsys).endswith(": No such file or directory")


def genuine() -> dict[str, Any]:
    """A file of a complete run, as short as one with everything in it can be."""
    files = sorted(RESULTS.glob("*.json"))
    if not files:
        return make_report().to_dict()
    content: dict[str, Any] = json.loads(files[0].read_text())
    content["rows"] = content["rows"][:2]
    return content


def places(value: Any, *path: Any) -> Iterator[tuple[Any, ...]]:
    """The path of every entry of nested dicts and lists."""
    entries = value.items() if isinstance(value, dict) else enumerate(value)
    for key, entry in entries:
        yield (*path, key)
        if isinstance(entry, (dict, list)):
            yield from places(entry, *path, key)


def without(content: dict[str, Any], path: tuple[Any, ...]) -> dict[str, Any]:
    """A copy without this entry."""
    result = copy.deepcopy(content)
    del parent(result, path)[path[-1]]
    return result


def replaced(content: dict[str, Any], path: tuple[Any, ...], value: Any) -> dict[str, Any]:
    """A copy with another value for this entry."""
    result = copy.deepcopy(content)
    parent(result, path)[path[-1]] = value
    return result


def parent(content: Any, path: tuple[Any, ...]) -> Any:
    for key in path[:-1]:
        content = content[key]
    return content


def succeeds_or_says_why(
    content: Any, first: str, path: Path, capsys: pytest.CaptureFixture[str]
) -> bool:
    """Compare both ways: a success without errors, or one line that names the file."""
    path.write_text(json.dumps(content))
    statuses = []
    for files in ([first, str(path)], [str(path), first]):
        statuses.append(main(["compare", *files, "--variant", "fresh", "--variant", "kept"]))
        shown = capsys.readouterr()
        lines = shown.err.splitlines()
        if statuses[-1] == 0:
            assert lines == [] and shown.out.isascii()
        else:
            assert statuses[-1] == 2 and shown.out == "" and len(lines) == 1
            assert lines[0].startswith(f"normdrop compare: {path}: ")
    assert statuses[0] == statuses[1]
    return statuses[0] == 0


def test_any_entry_may_be_missing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    content = genuine()
    path, first = tmp_path / "damaged.json", str(tmp_path / "genuine.json")
    Path(first).write_text(json.dumps(content))
    assert succeeds_or_says_why(content, first, path, capsys)
    refused = {
        place
        for place in places(content)
        if not succeeds_or_says_why(without(content, place), first, path, capsys)
    }
    needed = {("format",), ("rows",), ("machine",), ("settings",), ("versions",)}
    needed |= {("rows", row, key) for row in (0, 1) for key in ("case", "variants")}
    needed |= {
        ("rows", row, "variants", variant, key)
        for row in (0, 1)
        for variant in content["rows"][row]["variants"]
        for key in ("median", "lower_quartile", "upper_quartile")
    }
    assert refused == needed


def test_any_entry_may_be_wrong(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    content = genuine()
    path, first = tmp_path / "damaged.json", str(tmp_path / "genuine.json")
    Path(first).write_text(json.dumps(content))
    draw = random.Random(1)
    refused = 0
    for place in places(content):
        value = draw.choice((*WRONG_VALUES, *WRONG_CONTAINERS))
        damaged = replaced(content, place, value)
        refused += not succeeds_or_says_why(damaged, first, path, capsys)
    assert refused > 10


@pytest.mark.parametrize("value", [*WRONG_VALUES, *WRONG_CONTAINERS], ids=lambda v: ascii(v)[:9])
@pytest.mark.parametrize("key", ["median", "lower_quartile", "upper_quartile"])
def test_a_time_that_is_none_is_named(
    key: str, value: Any, first: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content = make_report().to_dict()
    content["rows"][0]["variants"]["fresh"][key] = value
    path = tmp_path / "damaged.json"
    path.write_text(json.dumps(content))
    if value == 1.5:
        assert main(["compare", first, str(path)]) == 0
        return
    assert f"layer_norm-forward-128x768, fresh: {key!r} must be" in refusal(path, first, capsys)


@pytest.mark.parametrize("limit", ["x", "nan", "0", "-1", "inf", ""])
def test_limits_that_are_none_are_refused(
    limit: str, first: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["compare", first, first, f"--fail-below={limit}"])
    assert caught.value.code == 2
    assert f"must be a positive number, got {limit!r}" in capsys.readouterr().err


def test_one_file_is_not_enough(first: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["compare", first])
    assert caught.value.code == 2
    assert "required: SECOND" in capsys.readouterr().err
