"""The dataset: which series, rows and metadata are stored. Everything that reads what was recorded goes through here.

It opens only the partitions that a question touches. Any Parquet reader can read the same files without it.
"""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pyarrow as pa

from consumer.dataset.series_filter import SeriesFilter
from consumer.storage.codec import read_partition, read_table, read_tables
from consumer.storage.interface import Storage
from consumer.storage.kinds import open_storage
from consumer.storage.layout import CANDLES, METADATA, METADATA_SUFFIX, candles_key, partition_span, series_of_folder
from consumer.storage.local import LocalStorage
from consumer.storage.metadata import MetadataStore, SeriesMetadata
from consumer.storage.sources import SourceStore
from consumer.storage.table import (
    INDEX_COLUMN,
    TIME_COLUMN,
    VALUE_COLUMNS,
    Rows,
    concatenate,
    from_arrow,
    no_rows,
    open_times,
    to_arrow,
)
from shared.candle import Series
from shared.errors import NoStoreError, StoreError
from shared.interval import Interval
from shared.market import Market
from shared.settings.model import Settings
from shared.source import Sources
from shared.spans import Span

if TYPE_CHECKING:
    import pandas as pd  # half of a writer's start, and it makes no frame

ALWAYS_MS = 2**62
_TRIES = 50


class PartitionFile(NamedTuple):
    """One file of a series: the span of open times that it may hold, its key, and its bytes."""

    span: Span
    key: str
    size: int

    @property
    def name(self) -> str:
        """Its file name, such as ``2024-06-30.parquet``."""
        return self.key.rpartition("/")[2]


class Dataset:
    """Series, partitions, rows and metadata of one storage."""

    def __init__(self, storage: Storage) -> None:
        self.storage = storage
        self._metadata = MetadataStore(storage)
        self._sources = SourceStore(storage)

    @classmethod
    def of(cls, settings: Settings) -> "Dataset":
        """The dataset of these settings, for reading."""
        return cls(open_storage(settings))

    @classmethod
    def in_folder(cls, data: Path) -> "Dataset":
        """The dataset of a data folder, for reading."""
        return cls(LocalStorage(data))

    def series(self, *, with_metadata: bool = False) -> list[Series]:
        """Every series that has a folder in the dataset; on request also those that have only metadata."""
        found = set(self._walk(CANDLES, ""))
        if with_metadata:
            found.update(self._walk(METADATA, METADATA_SUFFIX))
        return sorted(found)

    def matching(self, market: Market | None, symbols: Iterable[str], interval: Interval | None) -> list[Series]:
        """The recorded series of a market, with these symbols, at this interval; of all where none is named.

        A symbol is a name, or a pattern with ``*`` and ``?``. StoreError names what was never recorded.
        """
        self.check_exists()
        markets = () if market is None else (market,)
        wanted = SeriesFilter(markets, tuple(dict.fromkeys(symbols)), interval)
        return wanted.of_those(self.series(with_metadata=True), self.storage.name)

    def check_exists(self) -> None:
        """Raise NoStoreError where there is no store at all: a folder that was misspelt, most likely."""
        if CANDLES not in self.storage.list_folder("").folders:
            raise NoStoreError(f"there is no store in {self.storage.name}")

    def partitions(self, series: Series) -> list[PartitionFile]:
        """The files of a series, by time; none where it was never recorded."""
        files = self.storage.list_folder(candles_key(series)).files
        spans = ((partition_span(name), name, size) for name, size in files.items())
        return sorted(PartitionFile(Span(*span), candles_key(series, name), size) for span, name, size in spans if span)

    def strays(self, series: Series) -> list[str]:
        """Keys of what lies in a series' folder and is no partition: plain readers take it in, ours do not.

        What begins with a point or an underline they leave out, too.
        """
        found = self.storage.list_folder(candles_key(series))
        names = [*found.folders, *(name for name in found.files if partition_span(name) is None)]
        return [candles_key(series, name) for name in sorted(names) if not name.startswith((".", "_"))]

    def metadata(self, series: Series) -> SeriesMetadata:
        """A series' metadata. StoreError when its file cannot be read."""
        return self._metadata.read(series)

    def sources(self, market: Market) -> Sources:
        """Which exchanges a market's candles come from; what cannot be read is told in place of a name."""
        try:
            return self._sources.read(market)
        except StoreError as error:
            return (str(error),)

    def partition(self, partition: PartitionFile) -> Rows | None:
        """Rows of one partition; None when it is gone. StoreError when it is damaged or cannot be read."""
        found = read_partition(self.storage, partition.key)
        return None if found is None else found.rows

    def rows(self, series: Series, start_ms: int = -ALWAYS_MS, end_ms: int = ALWAYS_MS) -> Rows:
        """Rows of a series that open at or after ``start_ms`` and before ``end_ms``, ascending and unique.

        A partition that is compacted away while it is read makes the whole read start again. StoreError when the series
        was never recorded or a file is damaged.
        """
        return from_arrow(self.table(series, start_ms, end_ms))

    def table(
        self,
        series: Series,
        start_ms: int = -ALWAYS_MS,
        end_ms: int = ALWAYS_MS,
        columns: Sequence[str] = VALUE_COLUMNS,
    ) -> pa.Table:
        """``rows`` as a table of both times and these columns; no others are read from the files."""
        names = (INDEX_COLUMN, TIME_COLUMN, *columns)
        for _ in range(_TRIES):
            touched = self._touched(series, start_ms, end_ms)
            parts = read_tables(self.storage, [part.key for part in touched], names)
            whole = [table for table in parts if table is not None]
            joined = self._joined(series, whole, names, Span(start_ms, end_ms)) if len(whole) == len(parts) else None
            if joined is not None and not self._was_emptied(series, whole, touched):
                return joined
        raise self._changes_all_the_time(series)

    def _was_emptied(self, series: Series, parts: Sequence[pa.Table], touched: Sequence[PartitionFile]) -> bool:
        """Whether rows have gone, as in an object store, to a month's file that was not there when it was listed."""
        if all(table.num_rows for table in parts):
            return False
        known, begin_ms, end_ms = {part.key for part in touched}, touched[0].span.begin_ms, touched[-1].span.end_ms
        return any(part.key not in known for part in self._touched(series, begin_ms, end_ms))

    def _joined(self, series: Series, parts: Sequence[pa.Table], names: Sequence[str], span: Span) -> pa.Table | None:
        """Tables of a series' partitions as one: nearly always one after the other, else merged.

        None when one that has to be merged is gone by now.
        """
        table = pa.concat_tables([no_rows(names), *parts])
        times = open_times(table)
        if bool(np.all(times[1:] > times[:-1])):
            first, last = np.searchsorted(times, span)
            return table.slice(first, last - first)
        whole = [self.partition(part) for part in self._touched(series, *span)]
        there = [rows for rows in whole if rows is not None]
        if len(there) < len(whole):
            return None
        return to_arrow(concatenate(there).between(*span), series.interval).select(list(names))

    def parts(self, series: Series, start_ms: int = -ALWAYS_MS, end_ms: int = ALWAYS_MS) -> Iterator[Rows]:
        """``rows``, a partition at a time, for more of them than memory should hold."""
        return map(from_arrow, self.tables(series, start_ms, end_ms))

    def tables(
        self,
        series: Series,
        start_ms: int = -ALWAYS_MS,
        end_ms: int = ALWAYS_MS,
        columns: Sequence[str] = VALUE_COLUMNS,
    ) -> Iterator[pa.Table]:
        """``table``, a partition at a time.

        What is compacted away while this goes on is read from the month's file, from where it was on.
        """
        touched = self._touched(series, start_ms, end_ms)
        return self._tables(series, start_ms, end_ms, (INDEX_COLUMN, TIME_COLUMN, *columns), touched)

    def _tables(
        self, series: Series, start_ms: int, end_ms: int, names: Sequence[str], touched: Iterable[PartitionFile]
    ) -> Iterator[pa.Table]:
        tries, pending = 0, deque(touched)
        while pending:
            group = [pending.popleft()]
            while pending and pending[0].span.begin_ms < max(part.span.end_ms for part in group):
                group.append(pending.popleft())
            found = [read_table(self.storage, part.key, names) for part in group]
            whole = [table for table in found if table is not None]
            part_end_ms = max(part.span.end_ms for part in group)
            joined = None
            if len(whole) == len(found) and not self._was_emptied(series, whole, group):
                joined = self._joined(series, whole, names, Span(start_ms, min(end_ms, part_end_ms)))
            if joined is None:
                tries += 1
                if tries == _TRIES:
                    raise self._changes_all_the_time(series)
                pending = deque(self._touched(series, start_ms, end_ms))
                continue
            yield joined
            start_ms = max(start_ms, part_end_ms)

    def last_rows(self, series: Series, count: int, start_ms: int = -ALWAYS_MS, end_ms: int = ALWAYS_MS) -> Rows:
        """The last so many of ``rows``; no more partitions are read than it takes."""
        found: list[Rows] = []
        for part in reversed(self._touched(series, start_ms, end_ms)):
            rows = self.partition(part)
            if not rows:  # compacted away
                found = [self.rows(series, start_ms, end_ms)]
                break
            found.append(rows.between(start_ms, end_ms))
            if sum(map(len, found)) >= count:
                break
        return concatenate(found).last(count)

    def _touched(self, series: Series, start_ms: int, end_ms: int) -> list[PartitionFile]:
        """The files that may hold rows of a range, by time. StoreError when the series was never recorded."""
        every = self.partitions(series)
        if not every:
            self._check_recorded(series)
        return [part for part in every if part.span.begin_ms < end_ms and part.span.end_ms > start_ms]

    def _changes_all_the_time(self, series: Series) -> StoreError:
        return StoreError(f"{series} cannot be read: its files change all the time")

    def _check_recorded(self, series: Series) -> None:
        folder, _, name = candles_key(series).rpartition("/")
        if name not in self.storage.list_folder(folder).folders:
            self.check_exists()
            near = [str(other) for other in self.series() if other.market is series.market]
            close = get_close_matches(str(series), near, n=3)
            hint = f"; did you mean {', '.join(close)}?" if close else ""
            raise StoreError(f"{series} was never recorded in {self.storage.name}{hint}")

    def frame(self, series: Series, start_ms: int | None = None, end_ms: int | None = None) -> "pd.DataFrame":
        """``rows`` as a frame with index ``candle_end_time`` (UTC) and ten columns, as pandas reads the files."""
        start_ms, end_ms = -ALWAYS_MS if start_ms is None else start_ms, ALWAYS_MS if end_ms is None else end_ms
        return self.table(series, start_ms, end_ms).to_pandas()

    def first_open_ms(self, series: Series) -> int | None:
        """Open time of the oldest candle that can be read; None without any."""
        return self._first_readable(self.partitions(series), 0)

    def newest_end_ms(self, series: Series) -> int | None:
        """End of the newest candle that can be read; None without any."""
        last_ms = self._first_readable(reversed(self.partitions(series)), -1)
        return None if last_ms is None else series.interval.end(last_ms)

    def edges(self, series: Series) -> Span | None:
        """From the first open time to the end of the newest candle; None when nothing can be read."""
        first_ms, end_ms = self.first_open_ms(series), self.newest_end_ms(series)
        return None if first_ms is None or end_ms is None else Span(first_ms, end_ms)

    def _first_readable(self, partitions: Iterable[PartitionFile], index: int) -> int | None:
        """An open time of the first of these partitions that can be read."""
        for partition in partitions:
            try:
                rows = self.partition(partition)
            except StoreError:
                continue
            if rows is not None and len(rows):
                return int(rows.times[index])
        return None

    def _walk(self, root: str, suffix: str) -> Iterator[Series]:
        """Series by their folders, or by files with a suffix."""
        for market in self.storage.list_folder(root).folders:
            for interval in self.storage.list_folder(f"{root}/{market}").folders:
                folder = self.storage.list_folder(f"{root}/{market}/{interval}")
                names = folder.folders if not suffix else [name for name in folder.files if name.endswith(suffix)]
                for name in names:
                    series = series_of_folder(f"{market}/{interval}/{name.removesuffix(suffix)}")
                    if series is not None:
                        yield series
