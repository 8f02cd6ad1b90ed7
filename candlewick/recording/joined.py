"""Stream and store joined: rows of a series with the newest published candle among them, once, wherever it is.

``look`` comes before reading: what is published is asked for first, then the disk is read, and nothing falls between
(``consumer.group.unstored``). Where both have a candle the result is what the writer will store.
"""

from collections.abc import Iterator, Mapping, Sequence

import pyarrow as pa

from consumer.dataset.dataset import ALWAYS_MS, Dataset
from consumer.dataset.survey import Unstored
from consumer.group.unstored import UnstoredEntries
from consumer.storage.layout import candles_key
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
from shared.spans import Spans


class JoinedReader:
    """A dataset, and of each market in ``unstored`` what is published and not stored yet."""

    def __init__(self, dataset: Dataset, unstored: Mapping[Market, UnstoredEntries]) -> None:
        self.dataset = dataset
        self._unstored = unstored

    def series(self) -> list[Series]:
        """Every series that has a folder, metadata or an entry that is not stored yet."""
        published = {series for entries in self._unstored.values() for series in entries.series}
        return sorted(published.union(self.dataset.series(with_metadata=True)))

    def unstored(self, series: Series) -> Unstored:
        """What is published of a series and not stored yet."""
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
        return pa.concat_tables(self.tables(series, start_ms, end_ms, columns, at_once=True))

    def tables(
        self,
        series: Series,
        start_ms: int = -ALWAYS_MS,
        end_ms: int = ALWAYS_MS,
        columns: Sequence[str] = VALUE_COLUMNS,
        *,
        at_once: bool = False,
    ) -> Iterator[pa.Table]:
        """``table``, a partition at a time, or all that is stored at once; one table at least, perhaps empty."""
        new = self._new(series, start_ms, end_ms)
        if not len(new) or self._is_stored(series):
            stored_to_ms = int(new.times[0]) if len(new) else end_ms
            read = self._at_once if at_once else self.dataset.tables
            yield from read(series, start_ms, stored_to_ms, columns)
        if len(new):
            stored = self.dataset.rows(series, int(new.times[0]), end_ms) if self._is_stored(series) else EMPTY
            names = [INDEX_COLUMN, TIME_COLUMN, *columns]
            yield to_arrow(merge(stored, new).rows, series.interval).select(names)
        else:
            yield no_rows([INDEX_COLUMN, TIME_COLUMN, *columns])

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
        stored = EMPTY
        if not len(new) or self._is_stored(series):
            first_ms = int(new.times[0]) if len(new) else end_ms
            stored = self.dataset.last_rows(series, count, start_ms, first_ms)
        if len(new) and self._is_stored(series):
            new = merge(self.dataset.rows(series, int(new.times[0]), end_ms), new).rows
        return concatenate((stored, new)).last(count)

    def _at_once(self, series: Series, start_ms: int, end_ms: int, columns: Sequence[str]) -> Iterator[pa.Table]:
        yield self.dataset.table(series, start_ms, end_ms, columns)

    def _new(self, series: Series, start_ms: int, end_ms: int) -> Rows:
        entries = self._unstored.get(series.market)
        candles = [] if entries is None else entries.candles(series)
        return rows_from_candles(candles).rows.between(start_ms, end_ms) if candles else EMPTY

    def _is_stored(self, series: Series) -> bool:
        folder, _, name = candles_key(series).rpartition("/")
        return name in self.dataset.storage.list_folder(folder).folders
