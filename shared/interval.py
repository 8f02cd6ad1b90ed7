"""Kline intervals and the grid of open times that each one has. Pure arithmetic on UTC milliseconds.

Binance opens every kline on a fixed grid: a multiple of the interval since 1970-01-01 UTC, except ``3d``, which is
counted from 1970-01-02, ``1w``, which opens on Mondays, and ``1M``, which opens on the first of the month.
"""

from datetime import UTC, datetime
from enum import StrEnum

SECOND_MS = 1000
MINUTE_MS = 60 * SECOND_MS
HOUR_MS = 60 * MINUTE_MS
DAY_MS = 24 * HOUR_MS
UNIT_MS = {"s": SECOND_MS, "m": MINUTE_MS, "h": HOUR_MS, "d": DAY_MS, "w": 7 * DAY_MS}
"""Units of intervals and of lengths of time in settings."""

THREE_DAY_ANCHOR_MS = DAY_MS
"""An open time of ``3d``: days since 1970-01-01 that count 1 modulo 3, as 2017-08-17 and 2026-07-01 do on spot."""

_MONDAY_MS = 4 * DAY_MS  # 1970-01-05, the first Monday of Unix time


class Interval(StrEnum):
    """One of Binance's kline intervals; the value is the exchange's own spelling."""

    S1 = "1s"
    M1 = "1m"
    M3 = "3m"
    M5 = "5m"
    M15 = "15m"
    M30 = "30m"
    H1 = "1h"
    H2 = "2h"
    H4 = "4h"
    H6 = "6h"
    H8 = "8h"
    H12 = "12h"
    D1 = "1d"
    D3 = "3d"
    W1 = "1w"
    MONTH = "1M"

    __hash__ = str.__hash__  # Enum's own is Python code, and series are the keys of many tables

    _length_ms: int  # 0 of a month
    _grid_ms: tuple[int, int]  # open times are so much, and multiples of so much; (0, 0) of a month

    @property
    def on_disk(self) -> str:
        """The spelling used in file names, where ``1M`` and ``1m`` would collide if case were folded."""
        return "1mo" if self is Interval.MONTH else self.value

    def floor(self, time_ms: int, anchor_ms: int = THREE_DAY_ANCHOR_MS) -> int:
        """Open time of the candle that contains ``time_ms``.

        ``anchor_ms`` is for ``3d``, whose grid is known of spot alone: an open time that was seen.
        """
        if self is Interval.MONTH:
            moment = utc(time_ms)
            return _month_ms(moment.year, moment.month)
        offset = _MONDAY_MS if self is Interval.W1 else anchor_ms if self is Interval.D3 else 0
        return time_ms - (time_ms - offset) % self._length_ms

    def candles(self, begin_ms: int, end_ms: int) -> int:
        """How many candles open at ``begin_ms``, an open time, or later, and before ``end_ms``."""
        if begin_ms >= end_ms:
            return 0
        if self is not Interval.MONTH:
            return -(-(end_ms - begin_ms) // self._length_ms)
        begin, last = utc(begin_ms), utc(end_ms - 1)
        return (last.year - begin.year) * 12 + last.month - begin.month + 1

    def end(self, open_time_ms: int) -> int:
        """End of the candle that opens at ``open_time_ms``: the next candle's open time."""
        if self._length_ms:
            return open_time_ms + self._length_ms
        moment = utc(open_time_ms)
        years, month = divmod(moment.month, 12)
        return _month_ms(moment.year + years, month + 1)

    def is_open_time(self, time_ms: int) -> bool:
        """Whether a candle may open at ``time_ms``; one of ``3d`` may on any day (see ``floor``)."""
        offset_ms, step_ms = self._grid_ms
        return (time_ms - offset_ms) % step_ms == 0 if step_ms else self.floor(time_ms) == time_ms

    @property
    def typical_ms(self) -> int:
        """Length in ms; for ``1M`` that of 30 days. For choosing sizes and cadences, not for arithmetic on time."""
        return 30 * DAY_MS if self is Interval.MONTH else self._length_ms

    @classmethod
    def from_disk(cls, text: str) -> "Interval":
        """The interval that ``on_disk`` spells; ValueError when there is none."""
        interval = cls.MONTH if text == "1mo" else cls(text)
        if interval.on_disk != text:
            raise ValueError(f"{text!r} is not how an interval is spelled on disk")
        return interval


for _interval in Interval:  # an attribute: to look a member up in a table takes four times as long
    _interval._length_ms = int(_interval[:-1]) * UNIT_MS.get(_interval[-1], 0)  # noqa: SLF001 # its own module
    _interval._grid_ms = (0, _interval._length_ms)  # noqa: SLF001
Interval.D3._grid_ms = (0, DAY_MS)  # noqa: SLF001
Interval.W1._grid_ms = (_MONDAY_MS, 7 * DAY_MS)  # noqa: SLF001


def utc(time_ms: int) -> datetime:
    """A time in UTC ms as a moment that prints as ``2024-06-30 15:00:00+00:00``."""
    return datetime.fromtimestamp(time_ms / 1000, UTC)


def _month_ms(year: int, month: int) -> int:
    return int(datetime(year, month, 1, tzinfo=UTC).timestamp()) * 1000
