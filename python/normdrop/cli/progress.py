"""Progress of long work: bars on a terminal, plain lines anywhere else."""

from __future__ import annotations

import sys
from types import TracebackType
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from rich.progress import TaskID


class PlainProgress:
    """Lines only, for files and pipes."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def stage(self, name: str, total: int) -> None:
        """Begin a new part that takes ``total`` advances."""
        print(f"{name} ...", file=self._stream, flush=True)

    def advance(self, amount: int = 1) -> None:
        """So much more is done: nothing to say in plain lines."""

    def note(self, text: str) -> None:
        """Something worth a line of its own has been finished."""
        print(f"  {text}", file=self._stream, flush=True)

    def __enter__(self) -> PlainProgress:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stream.flush()


class RichProgress:
    """A bar for each stage with the time that is left; notes pass above it."""

    def __init__(self, stream: TextIO) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, TaskProgressColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as Bars

        self._bars = Bars(
            TextColumn("[bold]{task.description}"),
            BarColumn(),
            TaskProgressColumn(),
            TimeRemainingColumn(),
            console=Console(file=stream),
        )
        self._task: TaskID | None = None

    def stage(self, name: str, total: int) -> None:
        """Begin a new part that takes ``total`` advances."""
        self._fill()
        self._task = self._bars.add_task(name, total=total)

    def advance(self, amount: int = 1) -> None:
        """So much more is done."""
        if self._task is not None:
            self._bars.advance(self._task, amount)

    def note(self, text: str) -> None:
        """Something worth a line of its own has been finished."""
        self._bars.console.print(text, highlight=False, markup=False, style="dim")

    def __enter__(self) -> RichProgress:
        self._bars.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is None:
            self._fill()
        self._bars.stop()

    def _fill(self) -> None:
        """Complete the bar of a stage that ended before its estimate."""
        if self._task is not None:
            total = self._bars.tasks[self._task].total
            self._bars.update(self._task, completed=total or 0)


def make_progress(stream: TextIO | None = None) -> PlainProgress | RichProgress:
    """Bars where ``stream`` (standard error unless told) is a terminal, lines where it is not."""
    stream = sys.stderr if stream is None else stream
    return RichProgress(stream) if stream.isatty() else PlainProgress(stream)
