"""Tables of a report: plain text, Markdown, and colours where rich is installed."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from normdrop.benchmark.results import Cell, Report, Row

LEGEND = (
    "time, GB/s: median, fresh outputs; GB/s counts the fewest bytes a call must move. "
    "spread: distance of the quartiles over the median. of copy: share of the better of a plain "
    "and a streaming copy as large as x, measured in the same rounds. out=: results into given "
    "memory. kept: all results stay alive, no memory is recycled. error: worst error in units of "
    "the last place (gradients: condition-scaled, in unit roundoffs)."
)
PEER_LEGEND = (
    "Peers: their time over ours, fresh outputs on both sides, above 1 we are faster; in brackets "
    "their worst error."
)
LOSS_MARK = "*"
LOSS_LEGEND = f"{LOSS_MARK} the peer is faster, beyond the spread."

_MOST_CASES_NAMED = 3
_OUR_COLUMNS = ("case", "time", "spread", "GB/s", "of copy", "out=", "of copy", "kept", "error")


@dataclass(frozen=True)
class Table:
    """Texts in rows; the first column is aligned left, all others right."""

    title: str
    columns: tuple[str, ...]
    rows: list[tuple[str, ...]]


def format_seconds(seconds: float) -> str:
    """Format with three digits and the fitting unit: ``1.62 us``, ``15.1 ms``."""
    for limit, factor, unit in ((1e-3, 1e6, "us"), (1.0, 1e3, "ms")):
        if seconds < limit:
            return f"{_three_digits(factor * seconds)} {unit}"
    return f"{_three_digits(seconds)} s"


def _three_digits(value: float) -> str:
    decimals = 2 if value < 10 else 1 if value < 100 else 0
    return f"{value:.{decimals}f}"


def format_units(units: float | None) -> str:
    """Format an error in units; ``-`` where it was not measured."""
    if units is None:
        return "-"
    if units < 10:
        return f"{units:.2f}"
    return f"{units:.0f}" if units < 1e5 else f"{units:.0e}" if units < 1e300 else "inf"


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.0f} %"


def _ours(row: Row) -> tuple[str, ...]:
    times = {name: format_seconds(samples.median) for name, samples in row.variants.items()}
    return (
        times["fresh"],
        _percent(row.variants["fresh"].spread),
        "-" if row.gb_per_s is None else f"{row.gb_per_s:.1f}",
        _percent(row.share_of_copy),
        times.get("out", "-"),
        _percent(row.share_of_copy_of("out")),
        times.get("kept", "-"),
        format_units(row.error_units),
    )


def format_cell(cell: Cell | None, mark: str = LOSS_MARK) -> str:
    """Format as ``7.21 (0.52)``: ratio and error of a peer, with a mark where it is faster."""
    if cell is None or cell.ratio is None:
        return "-"
    ratio = f"{cell.ratio:.2f}" if cell.ratio < 100 else f"{cell.ratio:.0f}"
    return f"{mark if cell.is_loss else ''}{ratio} ({format_units(cell.error_units)})"


def our_table(report: Report) -> Table:
    """Tabulate times, bandwidth and error of this package."""
    rows = [(row.case, *_ours(row)) for row in report.rows]
    return Table("normdrop", _OUR_COLUMNS, rows)


def peer_table(report: Report, mark: str = LOSS_MARK) -> Table:
    """Tabulate ratio and error of every peer that was timed."""
    names = tuple(report.peer_names)
    rows = [
        (
            row.case,
            format_seconds(row.variants["fresh"].median),
            format_units(row.error_units),
            *(format_cell(row.peers.get(name), mark) for name in names),
        )
        for row in report.rows
    ]
    return Table("time of the peer over ours (error)", ("case", "ours", "error", *names), rows)


def describe(report: Report) -> list[str]:
    """Tell what the run was made on, one line a topic."""
    machine, settings = report.machine, report.settings
    mib = 1024 * 1024
    return [
        f"{machine['cpu']} ({machine['architecture']}), {machine['processors']} processors, "
        f"{machine['cache_per_core_bytes'] / mib:g} MiB cache per core, "
        f"{machine['cache_last_level_bytes'] / mib:g} MiB last level "
        f"({machine['cache_source']}), {machine['system']} {machine['kernel']}",
        f"threads {settings['threads']}, backend {settings['backend']}, "
        f"{settings['rounds']} rounds, load {machine['load_average']:g} at the start, "
        f"{report.date}, commit {report.commit or 'unknown'}",
        ", ".join(f"{name} {version}" for name, version in report.versions.items()),
    ]


def notes(report: Report) -> list[str]:
    """List everything that was asked for and not measured, with the reason."""
    lines = [f"{name}: {reason}" for name, reason in report.unavailable.items()]
    lines += _skipped(report)
    causes: dict[tuple[str, str], list[str]] = {}
    for row in report.rows:
        for name, cell in row.peers.items():
            if cell.missing is not None and name not in report.unavailable:
                causes.setdefault((name, cell.missing), []).append(row.case)
    for (name, why), cases in causes.items():
        lines.append(f"{name}: {why}: {_named(cases)}")
    return lines


def _skipped(report: Report) -> list[str]:
    """List cases that were not measured, those with the same reason together."""
    by_reason: dict[str, list[str]] = {}
    for name, reason in report.skipped.items():
        by_reason.setdefault(reason, []).append(name)
    return [f"{_named(cases)}: skipped, {reason}" for reason, cases in by_reason.items()]


def _named(cases: Sequence[str]) -> str:
    return ", ".join(cases) if len(cases) <= _MOST_CASES_NAMED else f"{len(cases)} cases"


def render_plain(report: Report) -> str:
    """Render both tables as aligned text without any control characters."""
    parts = ["\n".join(describe(report))]
    parts += [_align(table) for table in _tables(report)]
    parts.append(_legend(report))
    if notes(report):
        parts.append("\n".join(["not measured:", *(f"  {line}" for line in notes(report))]))
    return "\n\n".join(parts) + "\n"


def _tables(report: Report) -> list[Table]:
    tables = [our_table(report)]
    return [*tables, peer_table(report)] if report.peer_names else tables


def _legend(report: Report) -> str:
    return "\n".join((LEGEND, PEER_LEGEND, LOSS_LEGEND)) if report.peer_names else LEGEND


def _align(table: Table) -> str:
    widths = _widths(table)
    aligned = [
        "  ".join(
            text.ljust(width) if i == 0 else text.rjust(width)
            for i, (text, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in (table.columns, *table.rows)
    ]
    rule = "  ".join("-" * width for width in widths)
    return "\n".join([table.title, aligned[0], rule, *aligned[1:]])


def _widths(table: Table) -> list[int]:
    return [max(map(len, column)) for column in zip(table.columns, *table.rows, strict=True)]


def render_markdown(report: Report) -> str:
    """Render one Markdown table, ours and the peers side by side, losses in bold."""
    names = tuple(report.peer_names)
    columns = ("case", "time", "GB/s", "of copy", "`out=`, of copy", "kept", "error", *names)
    lines = [_markdown_line(columns), _markdown_line(["---", *["---:"] * (len(columns) - 1)])]
    for row in report.rows:
        time, _, speed, share, out, out_share, kept, error = _ours(row)
        peers = [_markdown_cell(row.peers.get(name)) for name in names]
        given = out if out_share == "-" else f"{out}, {out_share}"
        lines.append(_markdown_line([row.case, time, speed, share, given, kept, error, *peers]))
    text = [*lines, "", LEGEND]
    if names:
        text += ["", PEER_LEGEND + " Bold: the peer is faster, beyond the spread."]
    text += ["", *(f"- {line}" for line in [*describe(report), *notes(report)])]
    return "\n".join(text) + "\n"


def save_markdown(report: Report, path: Path) -> None:
    """Write the Markdown table into a file."""
    path.write_text(render_markdown(report), encoding="utf-8")


def _markdown_line(texts: Sequence[str]) -> str:
    return "| " + " | ".join(texts) + " |"


def _markdown_cell(cell: Cell | None) -> str:
    text = format_cell(cell, mark="")
    return f"**{text}**" if cell is not None and cell.is_loss else text


def print_rich(report: Report, console: Any) -> None:
    """Print both tables on a terminal, with colours; ``console`` is a ``rich.console.Console``."""
    rich_text: Any = importlib.import_module("rich.text")
    for line in describe(report):
        console.print(rich_text.Text(line, style="dim"))
    for table in _tables(report):
        framed = sum(width + len("│  ") for width in _widths(table)) + len("│")
        (_print_framed if framed <= console.width else _print_narrow)(table, console)
    console.print(rich_text.Text(_legend(report), style="dim"))
    for line in notes(report):
        console.print(rich_text.Text(f"not measured: {line}", style="yellow"))


def _print_framed(table: Table, console: Any) -> None:
    rich_table: Any = importlib.import_module("rich.table")
    rich_text: Any = importlib.import_module("rich.text")
    view = rich_table.Table(title=table.title, title_justify="left", header_style="bold")
    for index, column in enumerate(table.columns):
        view.add_column(column, justify="left" if index == 0 else "right", no_wrap=True)
    for row in table.rows:
        view.add_row(*(rich_text.Text(text, style=_colour(text)) for text in row))
    console.print(view)


def _print_narrow(table: Table, console: Any) -> None:
    """Print every case in lines of its own: a column for the names would be too narrow to read."""
    rich_columns: Any = importlib.import_module("rich.columns")
    rich_padding: Any = importlib.import_module("rich.padding")
    rich_text: Any = importlib.import_module("rich.text")
    console.print(rich_text.Text(table.title, style="italic"))
    for name, *values in table.rows:
        console.print(rich_text.Text(name, style="bold"))
        labelled = [
            rich_text.Text.assemble((f"{column} ", "dim"), (text, _colour(text)))
            for column, text in zip(table.columns[1:], values, strict=True)
        ]
        console.print(rich_padding.Padding(rich_columns.Columns(labelled, (0, 2)), (0, 0, 0, 2)))


def _colour(text: str) -> str:
    return "bold red" if text.startswith(LOSS_MARK) else ""
