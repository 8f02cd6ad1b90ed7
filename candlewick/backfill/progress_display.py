"""How far a long command is: bars on a terminal, else one line a series. Always on standard error."""

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, TextIO

from candlewick.backfill.filling import Display
from shared.candle import Series
from shared.process.once import SayOnce
from shared.text import counted

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID


@contextlib.contextmanager
def progress_display(stream: TextIO) -> Iterator[Display]:
    """A display for this stream, shown until the end of the block."""
    if not stream.isatty():
        yield _Lines(stream)
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(file=stream)) as progress:
        yield _Bars(progress, stream)


class _Quiet:
    """Says nothing: what a worker says nobody reads."""

    def note_left(self, series: Series, left: int) -> None:
        """Not shown."""

    def tell(self, text: str) -> None:
        """Not shown; what it means for a series is in the results."""


QUIET: Display = _Quiet()


class _Lines:
    """One line when a series begins."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._say_once = SayOnce(self._say)

    def note_left(self, series: Series, left: int) -> None:
        self._say_once(f"{series}: {counted(left, 'candle')} to fetch", same=series)

    def tell(self, text: str) -> None:
        self._say_once(f"candlewick: {text}")

    def _say(self, text: str) -> None:
        print(text, file=self._stream, flush=True)


class _Bars(_Lines):
    """A bar a series, in candles; those that are done make room when another begins."""

    def __init__(self, progress: "Progress", stream: TextIO) -> None:
        super().__init__(stream)
        self._progress = progress
        self._tasks: dict[Series, tuple[TaskID, int]] = {}

    def note_left(self, series: Series, left: int) -> None:
        if series not in self._tasks:
            for done in self._progress.tasks:
                self._progress.update(done.id, visible=not done.finished)
            self._tasks[series] = self._progress.add_task(str(series), total=left), left
        task, whole = self._tasks[series]
        self._progress.update(task, completed=whole - left)

    def _say(self, text: str) -> None:
        self._progress.console.print(text, markup=False, highlight=False, soft_wrap=True)
