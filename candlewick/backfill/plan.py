"""What is there of a series in a span, what is not, and what cannot be: the account that a backfill goes by. Pure.

Every candle that is wanted is *stored*; *absent*, as the ledger says; *answered*, when whoever was asked for it did not
have it; or a *gap*. An answered candle that lies between others of its series is absent from now on; one before the
first or after the last is not there to be had, and that is all.
"""

import numpy as np
import numpy.typing as npt

from consumer.storage.table import runs
from shared.interval import Interval
from shared.spans import Span, Spans


class Coverage:
    """The account of one series.

    Args:
        interval: the series'.
        span: times that are wanted.
        closed_before_ms: what ends later may still be open.

    Attributes:
        first_ms: the earliest open time that is known to exist, in the span or not; None for none.
        newest_ms: the latest one, -1 for none.
    """

    def __init__(self, interval: Interval, span: Span, closed_before_ms: int) -> None:
        self.interval = interval
        self.first_ms: int | None = None
        self.newest_ms = -1
        self._span = span
        self._closed_before_ms = closed_before_ms
        self._stored, self._absent, self._answered = Spans(), Spans(), Spans()

    @property
    def wanted(self) -> Span:
        """Open times that are wanted, on the grid: from the first to before the second."""
        begin = self.ceil(self._span.begin_ms)
        end = min(self.ceil(self._span.end_ms), self.floor(self._closed_before_ms))
        return Span(begin, max(begin, end))

    @property
    def lacks_its_beginning(self) -> bool:
        """Whether the first candle that is wanted is a gap, and none is known before it."""
        begin = self.wanted.begin_ms
        gaps = self.gaps()
        return bool(gaps) and gaps[0].begin_ms == begin and (self.first_ms is None or self.first_ms >= begin)

    def gaps(self) -> list[Span]:
        """What is wanted and neither stored, absent nor answered, ascending."""
        return Spans([*self._stored, *self._absent, *self._answered]).gaps(*self.wanted)

    def gaps_in(self, begin_ms: int, end_ms: int) -> list[Span]:
        """Gaps between two times: candles that open and end there."""
        begin_ms, end_ms = self.ceil(begin_ms), self.floor(end_ms)
        clipped = [Span(max(begin, begin_ms), min(end, end_ms)) for begin, end in self.gaps()]
        return [span for span in clipped if span.begin_ms < span.end_ms]

    def never(self) -> list[Span]:
        """What was answered in vain between the first and the newest candle, and is not known to be absent yet."""
        known = Spans([*self._stored, *self._absent])
        spans = [span for answered in self._answered for span in known.gaps(*answered)]
        first_ms = self.newest_ms if self.first_ms is None else self.first_ms
        return [span for span in spans if span.begin_ms >= first_ms and span.end_ms <= self.newest_ms]

    def begin_at(self, first_ms: int) -> None:
        """The exchange has nothing before a time: nothing earlier is wanted."""
        begin_ms, end_ms = self._span
        if first_ms < begin_ms:
            self.exists(first_ms)
        self._span = Span(min(max(begin_ms, first_ms), end_ms), end_ms)

    def exists(self, open_time_ms: int) -> None:
        """There is a candle with this open time, stored or not."""
        self.first_ms = open_time_ms if self.first_ms is None else min(self.first_ms, open_time_ms)
        self.newest_ms = max(self.newest_ms, open_time_ms)

    def take(self, times: npt.NDArray[np.int64]) -> None:
        """Candles with these open times, ascending, are stored."""
        if len(times):
            self.exists(int(times[0]))
            self.exists(int(times[-1]))
        for begin, end in runs(times, self.interval):
            self._stored.add(begin, end)

    def answer(self, begin_ms: int, end_ms: int) -> None:
        """What is not stored between two times was asked for, and is not there."""
        self._answered.add(begin_ms, end_ms)

    def never_was(self, begin_ms: int, end_ms: int) -> None:
        """The exchange never had what is between two times, as the ledger says."""
        self._absent.add(begin_ms, end_ms)

    def floor(self, time_ms: int) -> int:
        """Open time of the candle that contains a time; 3d candles are counted from one that was seen."""
        return self.interval.floor(time_ms, self.first_ms or 0)

    def ceil(self, time_ms: int) -> int:
        """The first open time at or after a time."""
        floor_ms = self.floor(time_ms)
        return floor_ms if floor_ms == time_ms else self.interval.end(floor_ms)
