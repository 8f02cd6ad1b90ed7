"""Candles of a longer interval from those of a shorter one, as the exchange makes them. Pure arithmetic on rows.

The first open and the last close, the highest high and the lowest low, the sum of all volumes and numbers of trades;
opening where the exchange's own open, or moved by an offset: ``1h`` by ``30min`` opens at half past.

Sums are exact. A value is the float64 nearest to the exchange's decimal, so a column that has up to so many decimals is
whole numbers of that unit. Those are added, and the sum is rounded once: it is the float64 nearest to the sum of the
decimals, as far as 15 digits reach, and not what adding float64s would give.
"""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from consumer.storage.table import VALUE_COLUMNS, Rows, candle_ends, concatenate
from shared.errors import CandlewickError
from shared.interval import Interval
from shared.spans import Spans

_OPEN, _HIGH, _LOW, _CLOSE = (VALUE_COLUMNS.index(name) for name in ("open", "high", "low", "close"))
_SUMMED = tuple(number for number in range(len(VALUE_COLUMNS)) if number not in {_OPEN, _HIGH, _LOW, _CLOSE})
_OF_DAYS = (Interval.D3, Interval.W1, Interval.MONTH)  # what adds up to a day adds up to them
_MAX_DECIMALS = 12
_DIGITS_OF_A_FLOAT = 2.0**53
_DIGITS_OF_AN_INTEGER = 2.0**62

Times = npt.NDArray[np.int64]


class Target(NamedTuple):
    """The interval that is made, and by how many ms its open times are moved; fewer than the interval lasts."""

    interval: Interval
    offset_ms: int = 0

    def floor(self, time_ms: int) -> int:
        """Open time of the candle that contains a time."""
        return self.interval.floor(time_ms - self.offset_ms) + self.offset_ms

    def ceil(self, time_ms: int) -> int:
        """The first open time at or after a time."""
        floor_ms = self.floor(time_ms)
        return floor_ms if floor_ms == time_ms else self.end(floor_ms)

    def end(self, open_time_ms: int) -> int:
        """End of the candle that opens then."""
        return self.interval.end(open_time_ms - self.offset_ms) + self.offset_ms

    def ends(self, opens: Times) -> Times:
        """Ends of the candles that open then."""
        return candle_ends(opens - self.offset_ms, self.interval) + self.offset_ms

    def opens(self, times: Times) -> Times:
        """Open times of the candles that contain these ascending times."""
        if self.interval is Interval.MONTH:
            months = (times - self.offset_ms).astype("datetime64[ms]").astype("datetime64[M]")
            return months.astype("datetime64[ms]").astype(np.int64) + self.offset_ms
        anchor_ms = self.floor(0)
        return times - (times - anchor_ms) % self.interval.typical_ms

    def check(self, source: Interval) -> None:
        """CandlewickError when candles of ``source`` do not add up to these."""
        if not _adds_up(source, self.interval):
            wider = ", ".join(one for one in Interval if _adds_up(source, one))
            raise CandlewickError(f"candles of {source} do not add up to {self.interval}: {wider or 'no other'} can be")
        if not 0 <= self.offset_ms < self.interval.typical_ms or self.offset_ms % source.typical_ms:
            raise CandlewickError(
                f"an offset is shorter than {self.interval} and a whole number of {source}, not {self.offset_ms} ms"
            )


def _adds_up(source: Interval, made: Interval) -> bool:
    """Whether a candle of ``made`` is a whole number of candles of ``source``, wherever it opens."""
    if source in _OF_DAYS:
        return False
    return made.typical_ms > source.typical_ms and (made in _OF_DAYS or made.typical_ms % source.typical_ms == 0)


class Resampled(NamedTuple):
    """Candles of the target, and of each whether nothing of it is missing, shape (n,)."""

    rows: Rows
    is_complete: npt.NDArray[np.bool_]


def resample(rows: Rows, source: Interval, target: Target, absent: Spans) -> Resampled:
    """Candles of the target from all rows of ``source``.

    One is complete when each of its candles is there or ``absent`` at the exchange.
    """
    if not len(rows):
        return Resampled(rows, np.empty(0, np.bool_))
    opens = target.opens(rows.times)
    firsts = np.flatnonzero(np.concatenate(([True], opens[1:] != opens[:-1])))
    lasts = np.append(firsts[1:], len(opens)) - 1
    values = np.empty((len(VALUE_COLUMNS), len(firsts)), np.float64)
    values[_OPEN], values[_CLOSE] = rows.values[_OPEN, firsts], rows.values[_CLOSE, lasts]
    values[_HIGH] = np.maximum.reduceat(rows.values[_HIGH], firsts)
    values[_LOW] = np.minimum.reduceat(rows.values[_LOW], firsts)
    for number in _SUMMED:
        values[number] = _sums(rows.values[number], firsts)
    made = opens[firsts]
    ends = target.ends(made)
    expected = (ends - made) // source.typical_ms
    present = lasts - firsts + 1
    for at in np.flatnonzero(present < expected):
        gone = absent.between(int(made[at]), int(ends[at]))
        present[at] += sum(source.candles(*span) - len(rows.between(*span)) for span in gone)
    return Resampled(Rows(made, values), present >= expected)


def resample_parts(parts: Iterable[Rows], source: Interval, target: Target, absent: Spans) -> Iterator[Resampled]:
    """``resample`` of rows that come a part at a time, ascending; what the next part may add to is held back."""
    held = concatenate(())
    for part in parts:
        rows = concatenate((held, part))
        if not len(rows):
            continue
        last_ms = target.floor(int(rows.times[-1]))
        held = rows.between(last_ms, int(rows.times[-1]) + 1)
        yield resample(rows.between(int(rows.times[0]), last_ms), source, target, absent)
    yield resample(held, source, target, absent)


def _sums(column: npt.NDArray[np.float64], firsts: npt.NDArray[np.intp]) -> npt.NDArray[np.float64]:
    """Sums of the values from each of ``firsts`` on, exact as the module's first lines say."""
    longest = int(np.diff(np.append(firsts, len(column))).max(initial=1))
    for decimals in range(_MAX_DECIMALS + 1):
        unit = 10.0**decimals
        whole = np.rint(column * unit)
        if np.array_equal(whole / unit, column):
            if np.abs(whole).max(initial=0.0) * longest > _DIGITS_OF_AN_INTEGER:
                groups = np.split(whole, firsts[1:])
                return np.array([sum(map(int, group.tolist())) / 10**decimals for group in groups])
            sums = np.add.reduceat(whole.astype(np.int64), firsts)
            found = sums / unit
            for at in np.flatnonzero(sums > _DIGITS_OF_A_FLOAT):
                found[at] = int(sums[at]) / 10**decimals  # rounded once, which two float64s would not be
            return found
    return np.add.reduceat(column, firsts)
