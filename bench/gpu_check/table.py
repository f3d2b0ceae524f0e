"""The table on the terminal, and whether a case reaches its target."""

from __future__ import annotations

from typing import Any

from gpu_check.plan import target_of
from normdrop.benchmark.cases import Case
from normdrop.benchmark.report import format_seconds
from normdrop.benchmark.results import Row

_PEERS = {"torch": "torch", "torch_compile": "compile", "cupy": "cupy", "jax": "jax"}


def heading() -> str:
    """Return the line over the table, with what the columns mean."""
    columns = "".join(f"{name:>8}" for name in _PEERS.values())
    return (
        "  times: medians of the device, spread: distance of the quartiles; share: of the better "
        "copy;\n  peers: their time over ours, above 1 we are faster; JAX by the host's clock\n"
        f"  {'case':48}{'time':>9}{'spread':>8}{'out=':>9}{'GB/s':>7}{'share':>7}{columns}  target"
    )


def line(case: Case, row: Row) -> str:
    """Return the line of a case."""
    fresh, out = row.variants["fresh"], row.variants["out"]
    ratios = "".join(f"{_ratio(row, name):>8}" for name in _PEERS)
    return (
        f"  {case.name:48}{format_seconds(fresh.median):>9}{100 * fresh.spread:>6.1f} %"
        f"{format_seconds(out.median):>9}{row.gb_per_s or 0:>7.0f}"
        f"{100 * (row.share_of_copy or 0):>5.0f} %{ratios}  {verdict(case, row)['text']}"
    )


def dry_line(row: Row) -> str:
    """Return the line of a case in a dry run: what ran, and no time that could pass for a speed."""
    ran = [name for name, cell in row.peers.items() if cell.ratio is not None]
    others = [f"{name} ({cell.missing})" for name, cell in row.peers.items() if cell.missing]
    left_out = f"; left out: {', '.join(others)}" if others else ""
    return f"  {row.case}: ran normdrop, copies{''.join(f', {name}' for name in ran)}{left_out}"


def _ratio(row: Row, name: str) -> str:
    cell = row.peers.get(name)
    return "-" if cell is None or cell.ratio is None else f"{cell.ratio:.2f}"


def verdict(case: Case, row: Row) -> dict[str, Any]:
    """Tell whether a case reaches its target, in plain types; ratios of PyTorch both count."""
    target = target_of(case)
    misses = []
    if target.share_of_copy is not None and (row.share_of_copy or 0) < target.share_of_copy:
        misses.append(f"share {row.share_of_copy or 0:.2f} < {target.share_of_copy:.2f}")
    for name in ("torch", "torch_compile"):
        cell = row.peers.get(name)
        if cell is not None and cell.ratio is not None and cell.ratio < target.torch_ratio:
            misses.append(f"{name} {cell.ratio:.2f} < {target.torch_ratio:.2f}")
    wanted = "" if target.share_of_copy is None else f" {100 * target.share_of_copy:.0f} %"
    text = f"MISS{wanted}: {', '.join(misses)}" if misses else f"hit{wanted}"
    return {
        "share_of_copy": target.share_of_copy,
        "torch_ratio": target.torch_ratio,
        "hit": not misses,
        "text": text,
    }
