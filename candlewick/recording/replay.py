"""Replay: what was recorded of any number of series, once more, in one order of close times, at a pace of one's own.

A candle is handed over when as much time has passed since the first one as lay between their closes, divided by the
speed. Where something is missing or absent a ``Gap`` says so, when the candle after it is due. Memory stays flat for
years of candles (``in_order``). Whoever is slow, or stops for a while, is not overrun afterwards: time goes on from
where it was.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime

import numpy as np

from candlewick.recording.delivered import Arrived
from candlewick.recording.follow import FollowedCandle, followed
from candlewick.recording.in_order import Slice, edges_of, in_order
from candlewick.recording.joined import JoinedReader
from shared.candle import Series
from shared.coverage import Grid
from shared.interval import utc
from shared.spans import Span

_MAX_BATCH = 2000
_TIME = "%Y-%m-%dT%H:%M:%S"
_LOOK_SECONDS = 0.2  # how soon a pause is noticed
_OVERRUN_SECONDS = 1.0  # who is later than this has been slow, or stopped


@dataclass(frozen=True, slots=True)
class Gap:
    """Candles of a series that are not there, between two that are: open time of the first, and end of the last."""

    market: str
    symbol: str
    interval: str
    begin: datetime
    end: datetime
    candles: int

    def __str__(self) -> str:
        return f"gap: {self.market} {self.symbol}-{self.interval} {self.begin:{_TIME}} to {self.end:{_TIME}}"


class Pacer:
    """Waits until a time of the past is due, at ``speed`` seconds of it a second. Safe to pause from another thread."""

    def __init__(
        self,
        speed: float,
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        self._speed = speed
        self._monotonic = monotonic
        self._sleep = sleep
        self._base: tuple[int, float] | None = None  # a time of the past, and when it was due
        self._is_paused = False  # a plain flag: a signal handler sets it, in the thread that waits

    @property
    def is_paused(self) -> bool:
        """Whether it stands still."""
        return self._is_paused

    def toggle(self) -> None:
        """Stand still, or go on."""
        self._is_paused = not self._is_paused

    def wait(self, time_ms: int) -> None:
        """Return when a time is due; never before one that was waited for earlier."""
        if self._base is None:
            self._base = (time_ms, self._monotonic())
        while True:
            if self._is_paused:
                self._sleep(_LOOK_SECONDS)
                continue
            base_ms, base = self._base
            due = base + (time_ms - base_ms) / 1000 / self._speed
            left = due - self._monotonic()
            if left <= 0:
                if left < -_OVERRUN_SECONDS:
                    self._base = (time_ms, self._monotonic())
                return
            self._sleep(min(left, _LOOK_SECONDS))


class Replay:
    """One pass; iterate over it once.

    Attributes:
        span: from where to where candles may end, in UTC ms; None where there are none.
        at_ms: the close time that has been reached.
        gaps: how many there were.
    """

    def __init__(
        self, reader: JoinedReader, wanted: dict[Series, Span], speed: float | None = None, *, with_gaps: bool = False
    ) -> None:
        self.span = edges_of(reader, wanted)
        self.at_ms = self.span.begin_ms if self.span else 0
        self.gaps = 0
        self._pacer = None if speed is None else Pacer(speed)
        self._with_gaps = with_gaps
        self._slices = in_order(reader, wanted)
        self._ends: dict[Series, int] = {}

    def __iter__(self) -> "Iterator[FollowedCandle | Gap]":
        for batch in self.batches():
            for item in batch:
                if isinstance(item, Arrived):
                    yield followed(item)
                elif self._with_gaps:
                    yield item

    def toggle(self) -> None:
        """Pause, or go on. Without a speed there is no pace to pause."""
        if self._pacer is not None:
            self._pacer.toggle()

    @property
    def is_paused(self) -> bool:
        """Whether it stands still."""
        return self._pacer is not None and self._pacer.is_paused

    def batches(self) -> "Iterator[list[Arrived | Gap]]":
        """What is due together: a close time's candles, each behind its gap if there is one; or as many as come."""
        for part in self._slices:
            bounds = self._bounds(part)
            batch = list[Arrived | Gap]()
            for number, (series, open_ms, end_ms, values) in enumerate(part.candles()):
                if number in bounds and batch:
                    yield self._due(batch)
                    batch = []
                batch += self._gap(series, open_ms, end_ms)
                batch.append(Arrived(series, open_ms, end_ms, values, is_late=False))
            if batch:
                yield self._due(batch)
            self.at_ms = part.until_ms

    def _bounds(self, part: Slice) -> frozenset[int]:
        """Where a batch begins: at each close time, or after so many."""
        if self._pacer is None:
            return frozenset(range(0, len(part.ends), _MAX_BATCH))
        return frozenset((np.flatnonzero(np.diff(part.ends)) + 1).tolist())

    def _due(self, batch: "list[Arrived | Gap]") -> "list[Arrived | Gap]":
        last = batch[-1]
        assert isinstance(last, Arrived)  # noqa: S101 # a gap stands before its candle
        if self._pacer is not None:
            self._pacer.wait(last.end_time_ms)
        self.at_ms = last.end_time_ms
        return batch

    def _gap(self, series: Series, open_ms: int, end_ms: int) -> list[Gap]:
        before_ms = self._ends.get(series, open_ms)
        self._ends[series] = end_ms
        if before_ms >= open_ms:
            return []
        self.gaps += 1
        count = Grid(series.interval).count([(before_ms, open_ms)])
        names = (str(series.market), series.symbol, str(series.interval))
        return [Gap(*names, utc(before_ms), utc(open_ms), count)]
