"""How far a long command is: bars on a terminal, else one line a series. Always on standard error."""

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Protocol, TextIO

from shared.candle import Series
from shared.text import counted

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID


class Meter(Protocol):
    """What both can do."""

    def moved(self, series: Series, left: int) -> None:
        """So many candles of a series are still to be had; the first call about a series says how many in all."""

    def tell(self, text: str) -> None:
        """A line about trouble; the same one is shown once."""


@contextlib.contextmanager
def make_meter(stream: TextIO) -> Iterator[Meter]:
    """A meter for this stream, shown until the end of the block."""
    if not stream.isatty():
        yield _Lines(stream)
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(file=stream)) as progress:
        yield _Bars(progress)


class _Lines:
    """One line when a series begins."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._begun: set[Series] = set()
        self._told: set[str] = set()

    def moved(self, series: Series, left: int) -> None:
        if series not in self._begun:
            self._begun.add(series)
            print(f"{series}: {counted(left, 'candle')} to fetch", file=self._stream, flush=True)

    def tell(self, text: str) -> None:
        if text not in self._told:
            self._told.add(text)
            print(f"candlewick: {text}", file=self._stream, flush=True)


class _Bars:
    """A bar a series, in candles; those that are done make room when another begins."""

    def __init__(self, progress: "Progress") -> None:
        self._progress = progress
        self._tasks: dict[Series, tuple[TaskID, int]] = {}
        self._told: set[str] = set()

    def moved(self, series: Series, left: int) -> None:
        if series not in self._tasks:
            for done in self._progress.tasks:
                self._progress.update(done.id, visible=not done.finished)
            self._tasks[series] = self._progress.add_task(str(series), total=left), left
        task, whole = self._tasks[series]
        self._progress.update(task, completed=whole - left)

    def tell(self, text: str) -> None:
        if text not in self._told:
            self._told.add(text)
            self._progress.console.print(f"candlewick: {text}", markup=False, highlight=False, soft_wrap=True)
