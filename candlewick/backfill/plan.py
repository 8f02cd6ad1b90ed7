"""What a backfill still has to fetch of a series: its coverage, and what was asked for in vain. Pure.

A wanted candle is *present* (stored), *absent* as the series' metadata says, *answered* when whoever was asked for it
did not have it, or *missing*. An answered candle that lies between others of its series is absent from now on; one
before the first or after the last is not there to be had, and that is all.
"""

import numpy as np
import numpy.typing as npt

from consumer.storage.table import runs
from shared.coverage import Coverage, Grid
from shared.interval import THREE_DAY_ANCHOR_MS, Interval
from shared.spans import Span, Spans


class Plan:
    """What is wanted of one series, and what became of it. What ends after ``closed_before_ms`` may still be open.

    Attributes:
        coverage: what is stored and absent, in the span or not.
        first_ms: the earliest open time that is known to exist, in the span or not; None for none.
        newest_ms: the latest one, -1 for none.
    """

    def __init__(self, interval: Interval, span: Span, closed_before_ms: int) -> None:
        self.coverage = Coverage(interval, 0)
        self.first_ms: int | None = None
        self.newest_ms = -1
        self._span = span
        self._closed_before_ms = closed_before_ms
        self._answered = Spans()

    @property
    def grid(self) -> Grid:
        """The series' open times; 3d candles are counted from one that was seen."""
        return Grid(self.coverage.grid.interval, THREE_DAY_ANCHOR_MS if self.first_ms is None else self.first_ms)

    @property
    def wanted(self) -> Span:
        """Open times that are wanted, on the grid: from the first to before the second."""
        begin = self.grid.ceil(self._span.begin_ms)
        end = min(self.grid.ceil(self._span.end_ms), self.grid.floor(self._closed_before_ms))
        return Span(begin, max(begin, end))

    @property
    def lacks_its_beginning(self) -> bool:
        """Whether the first candle that is wanted is missing, and none is known before it."""
        begin = self.wanted.begin_ms
        gaps = self.gaps()
        return bool(gaps) and gaps[0].begin_ms == begin and (self.first_ms is None or self.first_ms >= begin)

    def gaps(self) -> list[Span]:
        """What is wanted and neither stored, absent nor answered, ascending."""
        begin_ms, end_ms = self.wanted
        return [gap for span in self.coverage.gaps(end_ms, begin_ms) for gap in self._answered.gaps(*span)]

    def gaps_in(self, begin_ms: int, end_ms: int) -> list[Span]:
        """Gaps between two times: candles that open and end there."""
        begin_ms, end_ms = self.grid.ceil(begin_ms), self.grid.floor(end_ms)
        clipped = [Span(max(begin, begin_ms), min(end, end_ms)) for begin, end in self.gaps()]
        return [span for span in clipped if span.begin_ms < span.end_ms]

    def absent_now(self) -> list[Span]:
        """What was answered in vain between the first and the newest candle, and is not known to be absent yet."""
        settled = self.coverage.settled
        spans = [span for answered in self._answered for span in settled.gaps(*answered)]
        first_ms = self.newest_ms if self.first_ms is None else self.first_ms
        return [span for span in spans if span.begin_ms >= first_ms and span.end_ms <= self.newest_ms]

    def absent_spans(self) -> list[Span]:
        """What is wanted and known to be absent: who said so may have been wrong, or may have it by now."""
        return self.coverage.absent.between(*self.wanted)

    def begin_at(self, first_ms: int) -> None:
        """The exchange has nothing before a time, for ``3d`` an open time: nothing earlier is wanted."""
        begin_ms, end_ms = self._span
        is_seen = self.coverage.grid.interval is Interval.D3 and Interval.D3.is_open_time(first_ms)
        if first_ms < begin_ms or is_seen:
            self.note_exists(first_ms)
        self._span = Span(min(max(begin_ms, first_ms), end_ms), end_ms)

    def note_exists(self, open_time_ms: int) -> None:
        """There is a candle with this open time, stored or not."""
        self.first_ms = open_time_ms if self.first_ms is None else min(self.first_ms, open_time_ms)
        self.newest_ms = max(self.newest_ms, open_time_ms)

    def note_stored(self, times: npt.NDArray[np.int64]) -> None:
        """Candles with these open times, ascending, are stored."""
        if len(times):
            self.note_exists(int(times[0]))
            self.note_exists(int(times[-1]))
        for run in runs(times, self.coverage.grid.interval):
            self.coverage.add(*run)

    def note_answered(self, begin_ms: int, end_ms: int) -> None:
        """What is not stored between two times was asked for, and is not there."""
        self._answered.add(begin_ms, end_ms)

    def note_absent(self, begin_ms: int, end_ms: int) -> None:
        """The exchange never had what is between two times."""
        self.coverage.add_absent(begin_ms, end_ms)
