"""Candles of any number of series in one order of close times, a slice at a time: memory stays flat for years of them.

A slice holds the candles of all series that end in a stretch of time, which is as long as a bounded number of rows
takes. Of two that end at the same time the series' own order decides (market, symbol, interval).
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from candlewick.recording.joined import JoinedReader
from consumer.storage.table import VALUE_COLUMNS, Rows, candle_ends
from shared.candle import Series
from shared.spans import Span

_MAX_ROWS = 500_000


class Slice(NamedTuple):
    """Candles in order. ``series[numbers[i]]`` is the series of the i-th.

    Attributes:
        until_ms: no candle that ends by then follows in another slice.
        series: the series, in their order.
        numbers: shape (n,).
        opens, ends: open and close times in UTC ms, shape (n,); ``ends`` ascending.
        values: as in ``Rows``, shape (9, n).
    """

    until_ms: int
    series: Sequence[Series]
    numbers: npt.NDArray[np.int64]
    opens: npt.NDArray[np.int64]
    ends: npt.NDArray[np.int64]
    values: npt.NDArray[np.float64]

    def candles(self, at_once: int = 2000) -> "Iterator[tuple[Series, int, int, tuple[float, ...]]]":
        """Each candle's series, open and close time in UTC ms, and values."""
        for first in range(0, len(self.opens), at_once):
            part = slice(first, first + at_once)
            values = map(tuple, self.values[:, part].T.tolist())
            columns = (self.numbers[part].tolist(), self.opens[part].tolist(), self.ends[part].tolist())
            for number, open_ms, end_ms, row in zip(*columns, values, strict=True):
                yield self.series[number], open_ms, end_ms, row


def in_order(reader: JoinedReader, wanted: Mapping[Series, Span], max_rows: int = _MAX_ROWS) -> Iterator[Slice]:
    """All candles of these series that open in the span that each is given.

    Slices without a candle come, too, so that whoever waits knows how far time has gone. StoreError when a file is
    damaged.
    """
    ordered = sorted(wanted, key=lambda one: (one.market, one.symbol, one.interval.typical_ms))
    edges = edges_of(reader, wanted)
    if edges is None:
        return
    at_ms, end_ms = edges
    a_second = sum(1000 / one.interval.typical_ms for one in ordered)  # rows
    step_ms = max(1000, int(max_rows / a_second) * 1000)
    while at_ms < end_ms:
        until_ms = min(at_ms + step_ms, end_ms)
        yield _slice(reader, ordered, wanted, Span(at_ms, until_ms))
        at_ms = until_ms


def edges_of(reader: JoinedReader, wanted: Mapping[Series, Span]) -> Span | None:
    """From where to where candles may end that ``in_order`` has; None where it has none. Reads no file."""
    edges = [edge for one, span in wanted.items() if (edge := _edges(reader, one, span)) is not None]
    return Span(min(edge.begin_ms for edge in edges), max(edge.end_ms for edge in edges)) if edges else None


def _edges(reader: JoinedReader, series: Series, span: Span) -> Span | None:
    """From where to where candles of a series may end that open in a span."""
    spans = [*reader.unstored(series).spans, *(partition.span for partition in reader.dataset.partitions(series))]
    if not spans:
        return None
    begin_ms = max(span.begin_ms, min(one.begin_ms for one in spans))
    end_ms = min(span.end_ms, max(one.end_ms for one in spans))
    return Span(begin_ms, series.interval.end(end_ms)) if begin_ms < end_ms else None


def _slice(reader: JoinedReader, series: Sequence[Series], wanted: Mapping[Series, Span], ends_in: Span) -> Slice:
    """What ends after one time and up to another: what opens where the grid's floors of the two are."""
    found = list[tuple[int, Rows]]()
    for number, one in enumerate(series):
        begin_ms = max(one.interval.floor(ends_in.begin_ms), wanted[one].begin_ms)
        end_ms = min(one.interval.floor(ends_in.end_ms), wanted[one].end_ms)
        if begin_ms < end_ms and (rows := reader.rows_if_any(one, begin_ms, end_ms)) is not None:
            found.append((number, rows))
    if not found:
        nothing = np.empty(0, np.int64)
        return Slice(ends_in.end_ms, series, nothing, nothing, nothing, np.empty((len(VALUE_COLUMNS), 0)))
    numbers = np.concatenate([np.full(len(rows), number, np.int64) for number, rows in found])
    opens = np.concatenate([rows.times for _, rows in found])
    ends = np.concatenate([candle_ends(rows.times, series[number].interval) for number, rows in found])
    order = np.lexsort((numbers, ends))
    values = np.concatenate([rows.values for _, rows in found], axis=1)[:, order]
    return Slice(ends_in.end_ms, series, numbers[order], opens[order], ends[order], values)
