"""Cross-sections: of each close time the candles of all series at once, as soon as all are there. Pure.

A series is expected at a close time if it is recorded then, by its facts. Its candle is *received*, *absent* (the
exchange does not have it) or still awaited. A section is complete when none is awaited; at the deadline, counted from
the close in the exchange's time, it is handed over all the same, with the names of what is missing. Sections come in
the order of their times, each once; what arrives later is in no section any more (``Recording.follow`` has it, marked
late).
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import numpy as np
import pyarrow as pa

from candlewick.recording.delivered import Arrived
from candlewick.recording.feed import Batch
from candlewick.recording.tables import SYMBOL_COLUMN, hand_over
from consumer.storage.metadata import SeriesMetadata
from consumer.storage.table import Rows, arrow_table
from shared.candle import Series
from shared.interval import Interval, utc
from shared.series_fact import SeriesFact


@dataclass(frozen=True, slots=True)
class CrossSection:
    """The candles of one close time.

    Attributes:
        time: the close time, UTC.
        missing: symbols that are expected and had not arrived by the deadline, in order; none when it is complete.
        absent: symbols that the exchange does not have a candle of.
        table: Arrow, a row a symbol, in order: ``symbol``, both times, the nine columns of values.
    """

    time: datetime
    missing: tuple[str, ...]
    absent: tuple[str, ...]
    table: pa.Table = field(repr=False)

    @property
    def is_complete(self) -> bool:
        """Whether nothing is missing."""
        return not self.missing

    @property
    def frame(self) -> Any:
        """The table as a pandas frame with ``symbol`` as its index."""
        return hand_over(self.table, "pandas").reset_index().set_index(SYMBOL_COLUMN)

    def __len__(self) -> int:
        return self.table.num_rows


class MarketClock:
    """The exchange's time now: the newest candle's event time, and what has passed here since that was received."""

    def __init__(self, now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000) -> None:
        self._local_ms = now_ms
        self._newest: tuple[int, int] | None = None

    def note(self, event_time_ms: int, received_ms: int) -> None:
        """A candle of this event time was received at this local time."""
        if self._newest is None or event_time_ms >= self._newest[0]:
            self._newest = (event_time_ms, received_ms)

    @property
    def event_ms(self) -> int | None:
        """The newest event time, UTC ms; None while no candle was seen."""
        return None if self._newest is None else self._newest[0]

    @property
    def now_ms(self) -> int | None:
        """UTC ms; None while no candle was seen. Local clocks decide only how much has passed."""
        if self._newest is None:
            return None
        event_ms, received_ms = self._newest
        return event_ms + max(0, self._local_ms() - received_ms)


@dataclass(slots=True)
class _Section:
    """One close time on its way."""

    arrived: dict[str, Arrived] = field(default_factory=dict)
    absent: set[str] = field(default_factory=set)
    awaited: set[str] | None = None  # None until somebody asks


class Sections:
    """The sections of one interval, from a first close time on.

    Args:
        interval: of the candles.
        first_ms: the first close time, in UTC ms.
        deadline_ms: how long after its close a section waits, in the exchange's time.
        clock: the exchange's.
    """

    def __init__(self, interval: Interval, first_ms: int, deadline_ms: int, clock: MarketClock) -> None:
        self._interval = interval
        self._open_ms = interval.floor(first_ms - 1)
        self._deadline_ms = deadline_ms
        self._clock = clock
        self._metadata: dict[Series, SeriesMetadata] = {}
        self._sections: dict[int, _Section] = {}  # by open time
        self._newest_ms = 0  # the newest close of all that arrived

    def take(self, batch: Batch) -> Iterator[CrossSection]:
        """Take in a batch; the sections that are over with it, in order."""
        if batch.clock is not None:
            self._clock.note(*batch.clock)
        if batch.metadata is not None:
            self._metadata |= batch.metadata
            for section in self._sections.values():
                section.awaited = None
        for fact in batch.facts:
            self._take_fact(fact)
        for arrived in batch.candles:
            if arrived.open_time_ms >= self._open_ms:
                section = self._sections.setdefault(arrived.open_time_ms, _Section())
                section.arrived[arrived.series.symbol] = arrived
                if section.awaited is not None:
                    section.awaited.discard(arrived.series.symbol)
        now_ms = self._now_ms(batch)  # once: whoever takes a section may take his time
        while self._is_over(batch.caught_up_ms, now_ms):
            if (made := self._made()) is not None:
                yield made

    def _now_ms(self, batch: Batch) -> int:
        """The exchange's time up to which everything was read: what still waits in the stream is not late."""
        self._newest_ms = max([self._newest_ms, *(arrived.end_time_ms for arrived in batch.candles)])
        if batch.caught_up_ms is not None:
            return max(self._clock.event_ms or 0, self._newest_ms)
        return (self._clock.now_ms if batch.is_drained else self._clock.event_ms) or 0

    def _take_fact(self, fact: SeriesFact) -> None:
        self._metadata.setdefault(fact.series, SeriesMetadata()).merge(fact)
        for section in self._sections.values():
            section.awaited = None

    def _is_over(self, caught_up_ms: int | None, now_ms: int) -> bool:
        """Whether the next section is complete, or late."""
        end_ms = self._interval.end(self._open_ms)
        if caught_up_ms is not None and end_ms > caught_up_ms:
            return False
        section = self._sections.setdefault(self._open_ms, _Section())
        if section.awaited is None:
            self._expect(self._open_ms, section)
        is_complete = not section.awaited and bool(section.arrived or section.absent)
        return is_complete or now_ms >= end_ms + self._deadline_ms

    def _expect(self, open_ms: int, section: _Section) -> None:
        expected = set[str]()
        for series, known in self._metadata.items():
            begins = known.began_ms is not None and known.began_ms <= open_ms and known.began_noted_ms > 0
            if begins and (known.end_ms is None or open_ms < known.end_ms):
                (section.absent if open_ms in known.absent else expected).add(series.symbol)
        section.absent -= section.arrived.keys()
        section.awaited = expected - section.arrived.keys()

    def _made(self) -> CrossSection | None:
        """The next section; None for a time at which nothing was recorded."""
        section, end_ms = self._sections.pop(self._open_ms), self._interval.end(self._open_ms)
        self._open_ms = end_ms
        if not (section.arrived or section.absent or section.awaited):
            return None
        ordered = [section.arrived[symbol] for symbol in sorted(section.arrived)]
        times = np.array([one.open_time_ms for one in ordered], np.int64)
        values = np.array([one.values for one in ordered], np.float64).reshape(len(ordered), 9).T
        table = arrow_table(Rows(times, values), np.full(len(ordered), end_ms, np.int64))
        table = table.add_column(0, SYMBOL_COLUMN, pa.array([one.series.symbol for one in ordered], pa.string()))
        missing = tuple(sorted(section.awaited or ()))
        return CrossSection(utc(end_ms), missing, tuple(sorted(section.absent)), table.replace_schema_metadata())
