"""Which candles of a series are expected, and what became of each: the one definition that all parts share. Pure.

    expected ──(its interval ends)──▶ due ──(grace over)──▶ missing ──▶ present
                                                              └─(the exchange has none)──▶ absent

A candle is *expected* when its open time lies on the series' grid, at or after the beginning and before the end. Of
those whose interval has ended, one that is neither *present* nor *absent* is *due* within its grace and *missing*
beyond it. What *present* means is the caller's: received, published, or stored in the dataset. Producers repair by it,
backfill plans by it, audit and status count by it.
"""

from collections.abc import Iterable
from typing import NamedTuple

from shared.interval import THREE_DAY_ANCHOR_MS, Interval
from shared.spans import Span, Spans


class Tally(NamedTuple):
    """How the candles of a span stand, in candles: ``expected`` is the sum of all others."""

    expected: int = 0
    present: int = 0
    absent: int = 0
    due: int = 0
    missing: int = 0

    @classmethod
    def sum(cls, tallies: Iterable["Tally"]) -> "Tally":
        """All of them together."""
        return cls(*map(sum, zip(cls(), *tallies, strict=True)))


class Grid(NamedTuple):
    """The open times of a series."""

    interval: Interval
    anchor_ms: int = THREE_DAY_ANCHOR_MS  # an open time; 3d candles are counted from it: their grid may be another

    def floor(self, time_ms: int) -> int:
        """Open time of the candle that contains a time."""
        return self.interval.floor(time_ms, self.anchor_ms)

    def ceil(self, time_ms: int) -> int:
        """The first open time at or after a time."""
        floor_ms = self.floor(time_ms)
        return floor_ms if floor_ms == time_ms else self.interval.end(floor_ms)

    def span(self, time_ms: int) -> Span:
        """The candle that contains a time, from its open time to its end."""
        floor_ms = self.floor(time_ms)
        return Span(floor_ms, self.interval.end(floor_ms))

    def complete(self, spans: Spans) -> None:
        """Let each range end at an open time: the rest of its last candle can hold no other."""
        for _, end_ms in tuple(spans):
            spans.add(end_ms, self.ceil(end_ms))

    def count(self, spans: Iterable[tuple[int, int]]) -> int:
        """How many candles open in these ranges, each of which begins at an open time."""
        return sum(self.interval.candles(begin, end) for begin, end in spans)


class Coverage:
    """What became of each candle of one series.

    Attributes:
        grid: the series' open times, counted from ``anchor_ms``, by default from ``begin_ms``.
        begin_ms: the first open time that is expected; may be moved.
        end_ms: nothing that opens then or later is expected; None while the series goes on.
        absent: what the exchange was asked for and does not have.
        settled: what is present or absent; read it, and change it by ``add``, ``add_absent`` and ``remove``.
    """

    __slots__ = ("absent", "begin_ms", "end_ms", "grid", "settled")

    def __init__(self, interval: Interval, begin_ms: int, anchor_ms: int | None = None) -> None:
        self.grid = Grid(interval, begin_ms if anchor_ms is None else anchor_ms)
        self.begin_ms = begin_ms
        self.end_ms: int | None = None
        self.absent = Spans()
        self.settled = Spans()

    def add(self, begin_ms: int, end_ms: int) -> None:
        """Candles of a range are present; what is present is not absent, whoever said so."""
        self.settled.add(begin_ms, end_ms)
        if self.absent:
            self.absent.remove(begin_ms, end_ms)

    def add_absent(self, begin_ms: int, end_ms: int) -> None:
        """The exchange does not have what is not present of a range."""
        for gap in self.settled.gaps(begin_ms, end_ms):
            self.absent.add(*gap)
        self.settled.add(begin_ms, end_ms)

    def remove(self, begin_ms: int, end_ms: int) -> None:
        """Candles of a range are neither present nor absent any more."""
        self.settled.remove(begin_ms, end_ms)
        self.absent.remove(begin_ms, end_ms)

    def move_grid(self, open_time_ms: int) -> bool:
        """Count 3d candles from one that was seen; whether they were counted otherwise before. Other grids stay."""
        is_other = self.grid.interval is Interval.D3 and self.grid.floor(open_time_ms) != open_time_ms
        if is_other:
            self.grid = Grid(Interval.D3, open_time_ms)
            self.begin_ms = self.grid.floor(self.begin_ms)
            self.grid.complete(self.settled)
            self.grid.complete(self.absent)
        return is_other

    def expected_to(self, now_ms: int) -> int:
        """Every expected candle that has ended at a time opens before this."""
        end_ms = self.grid.floor(now_ms)
        return max(self.begin_ms, end_ms if self.end_ms is None else min(end_ms, self.end_ms))

    def due_to(self, now_ms: int, grace_ms: int) -> int:
        """What opens before this is beyond its grace at a time, or belongs to a series that has ended."""
        return self.end_ms if self.end_ms is not None else self.grid.floor(now_ms - grace_ms)

    def gaps(self, end_ms: int, begin_ms: int | None = None) -> list[Span]:
        """What is expected before ``end_ms`` and is neither present nor absent, ascending; ``begin_ms`` may narrow it.

        Both are open times. The gaps before ``due_to`` are what is missing.
        """
        begin_ms = self.begin_ms if begin_ms is None else max(begin_ms, self.begin_ms)
        run_end = self.settled.end_of_run(begin_ms)  # nearly always all there is to see
        return self.settled.gaps(run_end, end_ms) if run_end < end_ms else []

    def tally(self, span: Span, judged_ms: int) -> Tally:
        """How the candles that open in a span stand; those from ``judged_ms`` on cannot be missing yet."""
        settled = self.grid.count(self.settled.between(*span))
        absent = self.grid.count(self.absent.between(*span))
        expected = self.grid.count([span])
        due = self.grid.count(self.settled.gaps(max(span.begin_ms, min(judged_ms, span.end_ms)), span.end_ms))
        return Tally(expected, settled - absent, absent, due, expected - settled - due)

    def __contains__(self, open_time_ms: int) -> bool:
        """Whether the candle that opens then is present or absent."""
        return open_time_ms in self.settled
