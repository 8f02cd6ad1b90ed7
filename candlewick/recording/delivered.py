"""Which candles a follower has had: the account by which each comes once, and one that fills a hole is late. Pure.

Since a follower began, every candle of every series was either delivered or not. What was is kept as ranges, nearly
always one a series, so it stays small however long somebody follows; what was not is asked for when a position in the
stream is lost, and comes when it is repaired.
"""

from collections.abc import Mapping
from typing import NamedTuple

from shared.candle import Series
from shared.spans import Span, Spans


class Arrived(NamedTuple):
    """A candle on its way to whoever follows: its key, its ``VALUE_COLUMNS``, and whether a newer one came before."""

    series: Series
    open_time_ms: int
    end_time_ms: int
    values: tuple[float, ...]
    is_late: bool


class Beginning(NamedTuple):
    """Where a follower began.

    Attributes:
        time_ms: UTC ms.
        is_open: candles that open then or later are its own; otherwise those that end later.
    """

    time_ms: int
    is_open: bool

    def of(self, series: Series) -> int:
        """The first open time of a series that is the follower's."""
        return self.time_ms if self.is_open else series.interval.floor(self.time_ms)

    def __str__(self) -> str:
        return f"{'open' if self.is_open else 'end'} {self.time_ms}"

    @classmethod
    def parse(cls, text: str) -> "Beginning":
        """The inverse of ``str``; ValueError for any other text."""
        kind, _, time = text.partition(" ")
        if kind not in ("open", "end"):
            raise ValueError(f"{text!r} is no beginning")
        return cls(int(time), kind == "open")


class Delivered:
    """One follower's account."""

    def __init__(self, beginning: Beginning, spans: Mapping[Series, Spans] | None = None) -> None:
        self.beginning = beginning
        self._spans = dict(spans or {})

    def take(self, series: Series, open_time_ms: int, end_ms: int) -> bool | None:
        """Account for a candle that is about to be delivered.

        Returns:
            None when it was delivered before, or is not the follower's; else whether it is late: a newer one of its
            series was delivered before it.
        """
        if open_time_ms < self.beginning.of(series):
            return None
        spans = self._spans.setdefault(series, Spans())
        if open_time_ms in spans:
            return None
        is_late = (spans.last_ms or 0) > open_time_ms
        spans.add(open_time_ms, end_ms)
        return is_late

    def wanted(self, series: Series, to_ms: int) -> list[Span]:
        """What was not delivered of a series, up to a time."""
        begin_ms = self.beginning.of(series)
        return self._spans.get(series, Spans()).gaps(begin_ms, to_ms) if begin_ms < to_ms else []


def spans_text(spans: Spans) -> str:
    """Ranges as text, ``BEGIN-END`` in ms, separated by commas."""
    return ",".join(f"{begin}-{end}" for begin, end in spans)


def spans_of(text: str) -> Spans:
    """The inverse of ``spans_text``; ValueError for any other text."""
    pairs = (part.partition("-") for part in text.split(",") if part)
    return Spans((int(begin), int(end)) for begin, _, end in pairs)
