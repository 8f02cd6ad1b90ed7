"""Stream and store joined: rows of a series with the newest published candle among them, once, wherever it is.

``look`` comes before reading: what is published is asked for first, then the disk is read, and nothing falls between
(``consumer.group.unstored``). Where both have a candle the result is what the writer will store.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import pyarrow as pa

from consumer.dataset.dataset import ALWAYS_MS, Dataset
from consumer.storage.metadata import SeriesMetadata
from consumer.storage.table import (
    EMPTY,
    INDEX_COLUMN,
    TIME_COLUMN,
    VALUE_COLUMNS,
    Rows,
    concatenate,
    from_arrow,
    merge,
    no_rows,
    rows_from_candles,
    to_arrow,
)
from shared.candle import Series
from shared.market import Market
from shared.spans import Span, Spans

if TYPE_CHECKING:
    from consumer.dataset.survey import Unstored
    from consumer.group.unstored import UnstoredEntries


class JoinedReader:
    """A dataset, and of each market in ``unstored`` what is published and not stored yet."""

    def __init__(self, dataset: Dataset, unstored: "Mapping[Market, UnstoredEntries]") -> None:
        self.dataset = dataset
        self._unstored = unstored

    def series(self) -> list[Series]:
        """Every series that has a folder, metadata or an entry that is not stored yet."""
        published = {series for entries in self._unstored.values() for series in entries.series}
        return sorted(published.union(self.dataset.series(with_metadata=True)))

    def unstored(self, series: Series) -> "Unstored":
        """What is published of a series and not stored yet."""
        from consumer.dataset.survey import Unstored

        entries = self._unstored.get(series.market)
        if entries is None:
            return Unstored(Spans())
        spans = Spans((candle.open_time_ms, candle.end_time_ms) for candle in entries.candles(series))
        return Unstored(spans, tuple(entries.facts(series)))

    def metadata(self, series: Series) -> SeriesMetadata:
        """What is known of a series besides its candles. StoreError when its file cannot be read."""
        facts = self.unstored(series).facts  # before the disk is read
        metadata = self.dataset.metadata(series)
        for fact in facts:
            metadata.merge(fact)
        return metadata

    def table(
        self,
        series: Series,
        start_ms: int = -ALWAYS_MS,
        end_ms: int = ALWAYS_MS,
        columns: Sequence[str] = VALUE_COLUMNS,
    ) -> pa.Table:
        """A series' candles that open in a range, ascending and unique: both times, then these columns.

        StoreError when the series was never recorded or a file is damaged.
        """
        new = self._new(series, start_ms, end_ms)
        stored = [self.dataset.table(series, *span, columns) for span in self._before(series, new, start_ms, end_ms)]
        return pa.concat_tables([*stored, self._from_new_on(series, new, end_ms, columns)])

    def tables(
        self,
        series: Series,
        start_ms: int = -ALWAYS_MS,
        end_ms: int = ALWAYS_MS,
        columns: Sequence[str] = VALUE_COLUMNS,
    ) -> Iterator[pa.Table]:
        """``table``, a partition at a time; one table at least, perhaps empty."""
        new = self._new(series, start_ms, end_ms)
        for span in self._before(series, new, start_ms, end_ms):
            yield from self.dataset.tables(series, *span, columns)
        yield self._from_new_on(series, new, end_ms, columns)

    def rows(self, series: Series, start_ms: int = -ALWAYS_MS, end_ms: int = ALWAYS_MS) -> Rows:
        """``table`` as rows."""
        return from_arrow(self.table(series, start_ms, end_ms))

    def has_any(self, series: Series, start_ms: int, end_ms: int) -> bool:
        """Whether a series has files or entries that may hold candles of a range. Reads no file."""
        if len(self._new(series, start_ms, end_ms)):
            return True
        files = self.dataset.partitions(series)
        return any(file.span.begin_ms < end_ms and file.span.end_ms > start_ms for file in files)

    def rows_if_any(self, series: Series, start_ms: int, end_ms: int) -> Rows | None:
        """``rows``; None where there are none, also of a series that was never recorded."""
        if not len(self._new(series, start_ms, end_ms)) and not self._is_stored(series):
            return None
        rows = self.rows(series, start_ms, end_ms)
        return rows if len(rows) else None

    def parts(self, series: Series, start_ms: int = -ALWAYS_MS, end_ms: int = ALWAYS_MS) -> Iterator[Rows]:
        """``rows``, a partition at a time."""
        return map(from_arrow, self.tables(series, start_ms, end_ms))

    def last_rows(self, series: Series, count: int, start_ms: int = -ALWAYS_MS, end_ms: int = ALWAYS_MS) -> Rows:
        """The last so many of ``rows``; no more partitions are read than it takes."""
        new = self._new(series, start_ms, end_ms)
        before = self._before(series, new, start_ms, end_ms)
        stored = [self.dataset.last_rows(series, count, *span) for span in before]
        return concatenate([*stored, self._merged(series, new, end_ms)]).last(count)

    def _before(self, series: Series, new: Rows, start_ms: int, end_ms: int) -> list[Span]:
        """What is read from the files alone: up to the first candle that is new; nothing where only new ones are."""
        if not len(new):
            return [Span(start_ms, end_ms)]
        return [Span(start_ms, int(new.times[0]))] if self._is_stored(series) else []

    def _merged(self, series: Series, new: Rows, end_ms: int) -> Rows:
        """From the first candle that is new on: what is stored and what is new, merged as a writer does."""
        if not len(new) or not self._is_stored(series):
            return new
        return merge(self.dataset.rows(series, int(new.times[0]), end_ms), new).rows

    def _from_new_on(self, series: Series, new: Rows, end_ms: int, columns: Sequence[str]) -> pa.Table:
        names = [INDEX_COLUMN, TIME_COLUMN, *columns]
        return (
            to_arrow(self._merged(series, new, end_ms), series.interval).select(names) if len(new) else no_rows(names)
        )

    def _new(self, series: Series, start_ms: int, end_ms: int) -> Rows:
        entries = self._unstored.get(series.market)
        candles = [] if entries is None else entries.candles(series)
        return rows_from_candles(candles).rows.between(start_ms, end_ms) if candles else EMPTY

    def _is_stored(self, series: Series) -> bool:
        return bool(self.dataset.partitions(series))
