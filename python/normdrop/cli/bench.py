"""``normdrop bench``: speed and error against NumPy and the installed frameworks."""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from normdrop.benchmark import Case, Report, Settings
    from normdrop.benchmark.run import Progress

_INTERRUPTED = 130


def add_parser(subparsers: Any) -> None:
    """Add the ``bench`` command to the program's commands."""
    parser = subparsers.add_parser(
        "bench",
        help="measure speed and error against NumPy and the installed frameworks",
        description="Measure speed and error against NumPy and the installed frameworks. Every "
        "library runs in a process of its own, in alternating rounds with the same threads.",
    )
    parser.add_argument(
        "ops",
        metavar="OP",
        nargs="*",
        help="layer_norm, batch_norm, dropout, or any part of a case's name; default all",
    )
    parser.add_argument(
        "--against",
        metavar="NAMES",
        help="peers, separated by commas: numpy, torch, torch_compile, jax, onnxruntime; "
        "'none' for no peer; default: those that are installed",
    )
    parser.add_argument("--quick", action="store_true", help="a few cases, short rounds")
    parser.add_argument("--threads", type=_threads, metavar="N", help="threads of every library")
    parser.add_argument("--list", action="store_true", help="print the cases and stop")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw the results (matplotlib)")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write a Markdown table")
    parser.add_argument("--plain", action="store_true", help="no colours, no progress bar")
    parser.set_defaults(func=main)


def main(args: argparse.Namespace) -> int:
    """Run the command; the exit status."""
    from normdrop.benchmark import select_cases

    try:
        cases = select_cases(args.ops, quick=args.quick)
        against = _peers(args.against, quick=args.quick)
        _check_outputs(args)
    except ValueError as error:
        print(f"normdrop {error}", file=sys.stderr)
        return 2
    settings = _settings(args)
    if args.list:
        _print_cases(cases, settings.threads)
        return 0
    try:
        return _measure(args, cases, against, settings)
    except KeyboardInterrupt:
        print("bench: interrupted; no results were written", file=sys.stderr)
        return _INTERRUPTED
    except RuntimeError as error:
        print(f"normdrop {error}", file=sys.stderr)
        return 1


def _measure(
    args: argparse.Namespace, cases: list[Case], against: list[str], settings: Settings
) -> int:
    from normdrop.benchmark import run

    rich = _use_rich(args.plain)
    with _progress(rich) as progress:
        report = run(cases, against, settings, progress)
    _save(args, report)
    _show(report, rich)
    return 0


def _threads(text: str) -> int:
    threads = int(text)
    if threads < 1:
        raise argparse.ArgumentTypeError(f"must be 1 or greater, got {threads}")
    return threads


def _peers(text: str | None, *, quick: bool) -> list[str]:
    from normdrop.benchmark import PEER_NAMES, installed_peers

    if text is None:
        names = installed_peers()
        # Compiling would take longer than the rest of a quick run.
        return [name for name in names if not (quick and name == "torch_compile")]
    names = [name.strip() for name in text.split(",") if name.strip() not in ("", "none")]
    for name in names:
        if name not in PEER_NAMES:
            raise ValueError(
                f"bench: --against must name peers among {', '.join(PEER_NAMES)}, got {name!r}"
            )
    return list(dict.fromkeys(names))


def _check_outputs(args: argparse.Namespace) -> None:
    """Find out before minutes of measuring what could not be written after them."""
    for path in (args.json, args.plot, args.markdown):
        if path is not None and not path.absolute().parent.is_dir():
            raise ValueError(f"bench: {path}: there is no folder {path.absolute().parent}")
    if args.plot is not None and importlib.util.find_spec("matplotlib") is None:
        raise ValueError("bench: --plot needs matplotlib: pip install 'normdrop[plot]'")


def _settings(args: argparse.Namespace) -> Settings:
    from normdrop.benchmark import Settings, default_threads
    from normdrop.benchmark.run import QUICK_ROUNDS, QUICK_SECONDS

    threads = args.threads or default_threads()
    if args.quick:
        return Settings(threads, QUICK_ROUNDS, QUICK_SECONDS)
    return Settings(threads)


def _print_cases(cases: list[Case], threads: int) -> None:
    from normdrop.benchmark.machine import read_caches

    caches = read_caches()
    width = max(len(case.name) for case in cases)
    for case in cases:
        movement = case.movement(caches, threads)
        megabytes = f"{1e-6 * movement.bytes_moved:.3f} MB"
        note = f" ({case.note})" if case.note else ""
        print(f"{case.name:<{width}}  {megabytes:>12}  {movement.reason}{note}")


def _use_rich(plain: bool) -> bool:
    return not plain and sys.stdout.isatty() and importlib.util.find_spec("rich") is not None


@contextmanager
def _progress(rich: bool) -> Iterator[Progress]:
    """Progress on standard error: a bar on a terminal, else a line per case."""
    if not rich:
        yield _print_progress
        return
    progress_module: Any = importlib.import_module("rich.progress")
    console_module: Any = importlib.import_module("rich.console")
    columns = (
        progress_module.BarColumn(),
        progress_module.MofNCompleteColumn(),
        progress_module.TimeElapsedColumn(),
        progress_module.TextColumn("{task.description}", markup=False),
    )
    console = console_module.Console(stderr=True)
    with progress_module.Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("", total=None)

        def tell(done: int, total: int, text: str) -> None:
            bar.update(task, completed=done, total=total, description=text)

        yield tell


def _print_progress(done: int, total: int, text: str) -> None:
    print(f"[{done}/{total}] {text}", file=sys.stderr, flush=True)


def _show(report: Report, rich: bool) -> None:
    from normdrop.benchmark.report import print_rich, render_plain

    if rich:
        console_module: Any = importlib.import_module("rich.console")
        print_rich(report, console_module.Console())
    else:
        print(render_plain(report), end="")


def _save(args: argparse.Namespace, report: Report) -> None:
    from normdrop.benchmark.plot import save_plot
    from normdrop.benchmark.report import render_markdown

    if args.json is not None:
        report.save(args.json)
    if args.markdown is not None:
        args.markdown.write_text(render_markdown(report))
    if args.plot is not None:
        save_plot(report, args.plot)
    for path in (args.json, args.markdown, args.plot):
        if path is not None:
            print(f"wrote {path}", file=sys.stderr)
