"""``normdrop bench``: speed and error against NumPy and the installed frameworks."""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from normdrop import _core
from normdrop.cli.arguments import integer
from normdrop.cli.ending import FAILURE, INTERRUPTED, WRONG_ARGUMENTS, CommandError
from normdrop.cli.outputs import check_outputs, output_file, save_outputs

if TYPE_CHECKING:
    from normdrop.benchmark import Case, Report, Settings
    from normdrop.benchmark.run import Progress


def add_parser(subparsers: Any) -> None:
    """Add the ``bench`` command to the program's commands."""
    parser = subparsers.add_parser(
        "bench",
        help="measure speed and error against NumPy and the installed frameworks",
        description="Measure speed and error against NumPy and the installed frameworks. Every "
        "library runs in a process of its own, in alternating rounds with the same threads. Ctrl-C "
        "ends it with the cases that are finished.",
    )
    parser.add_argument(
        "ops",
        metavar="OP",
        nargs="*",
        help="an operation such as layer_norm, or any part of a case's name; default all",
    )
    parser.add_argument(
        "--against",
        metavar="NAMES",
        help="peers, separated by commas: numpy, torch, torch_compile, jax, onnxruntime; "
        "'none' for no peer; default: those that are installed",
    )
    parser.add_argument("--quick", action="store_true", help="a few cases, short rounds")
    parser.add_argument(
        "--threads",
        type=integer(1, _core.most_threads),
        metavar="N",
        help="threads of every library",
    )
    parser.add_argument(
        "--sweep",
        type=integer(1, 1_000_000),
        metavar="N",
        help="N random cells instead: operations, shapes, layouts and dtypes; prints the "
        "distribution of the ratios and every cell in which a peer is faster",
    )
    parser.add_argument(
        "--seed",
        type=integer(0, 2**64 - 1),
        metavar="S",
        help="of the random cells, default 0; the same N and S are the same cells",
    )
    parser.add_argument("--list", action="store_true", help="print the cases and stop")
    parser.add_argument("--json", type=output_file, metavar="FILE", help="write the results")
    parser.add_argument(
        "--plot", type=output_file, metavar="FILE", help="draw the results (matplotlib)"
    )
    parser.add_argument(
        "--markdown", type=output_file, metavar="FILE", help="write a Markdown table"
    )
    parser.add_argument("--plain", action="store_true", help="no colours, no progress bar")
    parser.set_defaults(func=main)


def main(args: argparse.Namespace) -> int:
    """Run the command; the exit status."""
    cases = _cases(args)
    # Compiling would take longer than the rest of a quick run, or than a cell.
    against = _peers(args.against, compiling=not args.quick and args.sweep is None)
    settings = _settings(args)
    if args.list:
        _print_cases(cases, settings.threads)
        return 0
    check_outputs(args)
    return _measure(args, cases, against, settings)


def _cases(args: argparse.Namespace) -> list[Case]:
    from normdrop.benchmark import select_cases
    from normdrop.benchmark.sweep import draw_cases

    if args.sweep is None and args.seed is not None:
        raise CommandError("--seed is that of --sweep, which is missing", WRONG_ARGUMENTS)
    if args.sweep is not None and args.plot is not None:
        raise CommandError("--plot draws no --sweep: its cells are too many", WRONG_ARGUMENTS)
    try:
        if args.sweep is None:
            return select_cases(args.ops, quick=args.quick)
        return select_cases(args.ops, cases=draw_cases(args.sweep, args.seed or 0))
    except ValueError as error:
        raise _command_error(error, WRONG_ARGUMENTS) from error


def _command_error(error: Exception, status: int) -> CommandError:
    """Turn an error of the library, which names the function first, into one of the program."""
    return CommandError(str(error).removeprefix("bench: "), status)


def _measure(
    args: argparse.Namespace, cases: list[Case], against: list[str], settings: Settings
) -> int:
    from normdrop.benchmark import Interrupted, MeasuringFailed, run

    rich = _use_rich(args.plain)
    end: CommandError | None = None
    try:
        with _progress(rich) as progress:
            report = run(cases, against, settings, progress)
    except Interrupted as interruption:
        report, end = interruption.report, CommandError("interrupted", INTERRUPTED)
    except MeasuringFailed as error:
        end = _command_error(error, FAILURE)
        if error.report is None:
            raise end from error
        report = error.report
    if end is not None:
        print(f"normdrop bench: {end}; {_finished(report, len(cases))}", file=sys.stderr)
        if not report.rows:
            return end.status
    if args.sweep is not None:
        from normdrop.benchmark.sweep import findings

        report = replace(report, findings=findings(report, args.sweep, args.seed or 0))
    # Files first: whoever reads standard output may have seen enough of it.
    all_written = save_outputs(args, report)
    _show(report, rich, args)
    if end is not None:
        return end.status
    return 0 if all_written else FAILURE


def _finished(report: Report, total: int) -> str:
    done = len(report.rows)
    return f"{done} of {total} cases are finished" if done else "no case is finished: no results"


def _peers(text: str | None, *, compiling: bool) -> list[str]:
    from normdrop.benchmark import PEER_NAMES, installed_peers

    if text is None:
        names = installed_peers()
        return [name for name in names if compiling or name != "torch_compile"]
    names = [name.strip() for name in text.split(",") if name.strip() not in ("", "none")]
    for name in names:
        if name not in PEER_NAMES:
            raise CommandError(
                f"--against must name peers among {', '.join(PEER_NAMES)}, got {name!r}",
                WRONG_ARGUMENTS,
            )
    _require_installed(names)
    return list(dict.fromkeys(names))


def _require_installed(names: list[str]) -> None:
    """Refuse a peer that was asked for by name and is not there."""
    from normdrop.benchmark.peers import missing_packages

    missing = list(dict.fromkeys(package for name in names for package in missing_packages(name)))
    if missing:
        verb = "is" if len(missing) == 1 else "are"
        raise CommandError(
            f"--against {','.join(names)}: {', '.join(missing)} {verb} not installed: "
            f"pip install {' '.join(missing)}",
            WRONG_ARGUMENTS,
        )


def _settings(args: argparse.Namespace) -> Settings:
    from normdrop.benchmark import Settings, default_threads
    from normdrop.benchmark.run import QUICK_ROUNDS, QUICK_SECONDS

    threads = args.threads or default_threads()
    if args.sweep is not None:
        return Settings(threads, QUICK_ROUNDS, QUICK_SECONDS, fresh_only=True)
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


def _show(report: Report, rich: bool, args: argparse.Namespace) -> None:
    from normdrop.benchmark.report import print_rich, render_plain
    from normdrop.benchmark.sweep import render_sweep

    if args.sweep is not None:
        print(render_sweep(report, args.sweep, args.seed or 0), end="")
    elif rich:
        console_module: Any = importlib.import_module("rich.console")
        print_rich(report, console_module.Console())
    else:
        print(render_plain(report), end="")
