"""A recording as the simulated exchange has its klines, so that any Binance client can be pointed at the past."""

import bisect
from collections import OrderedDict
from collections.abc import Sequence
from functools import cached_property
from typing import Any

from candlewick.recording.joined import JoinedReader
from consumer.storage.table import EMPTY, VALUE_COLUMNS, Rows
from shared.candle import Series
from shared.interval import Interval
from shared.market import Market
from shared.spans import Span
from shared.text import decimal_text
from simulator.market.klines import Kline

_TRADES = VALUE_COLUMNS.index("trade_num")
_WINDOW = 2000  # candles of a series that are kept


class RecordingKlines:
    """A recording as the simulated exchange has klines (``simulator.market.klines.RecordedKlines``).

    Of each series a window of some thousand candles is kept, so memory follows the number of series alone.
    """

    def __init__(self, reader: JoinedReader, wanted: dict[Series, Span], span: Span) -> None:
        self._reader = reader
        self._wanted = wanted
        self._span = span
        self._windows: OrderedDict[tuple[Series, int], tuple[list[int], Rows]] = OrderedDict()

    @cached_property
    def first_ms(self) -> int:  # noqa: D102 # as the protocol says, here and below
        opens = (self.next_open(series, self._span.begin_ms) for series in self._wanted)
        return min((open_ms for open_ms in opens if open_ms is not None), default=self._span.begin_ms)

    @property
    def end_ms(self) -> int | None:  # noqa: D102
        return self._span.end_ms

    def symbols(self, market: Market) -> Sequence[str]:  # noqa: D102
        return sorted({series.symbol for series in self._wanted if series.market is market})

    def has(self, series: Series) -> bool:  # noqa: D102
        return series in self._wanted

    def kline(self, series: Series, open_time_ms: int) -> Kline | None:  # noqa: D102
        times, rows = self._window(series, open_time_ms)
        at = bisect.bisect_left(times, open_time_ms)
        if at == len(times) or times[at] != open_time_ms:
            return None
        values = rows.values[:, at].tolist()
        texts: list[Any] = list(map(decimal_text, values))
        texts[_TRADES] = int(values[_TRADES])
        fields = (open_time_ms, *texts[:5], series.interval.end(open_time_ms) - 1, *texts[5:])
        return Kline._make(fields)

    def next_open(self, series: Series, from_ms: int) -> int | None:  # noqa: D102
        at_ms = max(from_ms, self._wanted[series].begin_ms) if series in self._wanted else self._span.end_ms
        while at_ms < self._span.end_ms:
            times, _ = self._window(series, at_ms)
            at = bisect.bisect_left(times, at_ms)
            if at < len(times):
                return times[at]
            at_ms = self._window_span(series.interval, at_ms).end_ms
        return None

    def opens(self, series: Series, start_ms: int, end_ms: int) -> Sequence[int]:  # noqa: D102
        wanted = self._wanted.get(series)
        if wanted is None:
            return ()
        rows = self._reader.rows_if_any(
            series, max(start_ms, wanted.begin_ms), min(end_ms + 1, wanted.end_ms, self._span.end_ms)
        )
        return [] if rows is None else rows.times.tolist()

    def _window_span(self, interval: Interval, time_ms: int) -> Span:
        length = interval.typical_ms * _WINDOW
        return Span(time_ms - time_ms % length, time_ms - time_ms % length + length)

    def _window(self, series: Series, time_ms: int) -> tuple[list[int], Rows]:
        wanted = self._wanted.get(series)
        window = self._window_span(series.interval, time_ms)
        key = (series, window.begin_ms)
        if key in self._windows:
            self._windows.move_to_end(key)
            return self._windows[key]
        rows = None
        if wanted is not None:
            begin_ms, end_ms = max(window.begin_ms, wanted.begin_ms), min(window.end_ms, wanted.end_ms)
            rows = self._reader.rows_if_any(series, begin_ms, end_ms) if begin_ms < end_ms else None
        found = ([], EMPTY) if rows is None else (rows.times.tolist(), rows)
        self._windows[key] = found
        while len(self._windows) > 2 * max(1, len(self._wanted)):
            self._windows.popitem(last=False)
        return found
