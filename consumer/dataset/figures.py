"""The dataset in figures: for ``candlewick status``, and for producers that ask where a series continues."""

import contextlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from consumer.dataset.dataset import ALWAYS_MS, Dataset
from consumer.storage.codec import read_table
from consumer.storage.metadata import SeriesMetadata
from consumer.storage.table import TIME_COLUMN, open_times, runs
from shared.candle import Series
from shared.coverage import Coverage
from shared.errors import StoreError
from shared.market import Market
from shared.spans import Spans


@dataclass(slots=True)
class SeriesFigures:
    """One series on disk: its partitions, candles, bytes, newest candle's end (UTC ms), and what could not be read."""

    series: Series
    files: int
    rows: int
    size: int
    newest_end_ms: int | None = None
    error: str | None = None


def series_figures(dataset: Dataset, series: Series) -> SeriesFigures:
    """One series in figures. Reads its files' footers and its newest file."""
    partitions = dataset.partitions(series)
    found = SeriesFigures(series, len(partitions), 0, sum(partition.size for partition in partitions))
    try:
        for partition in partitions:
            with dataset.storage.open(partition.key) as file:
                found.rows += int(pq.read_metadata(file).num_rows)
        rows = dataset.partition(partitions[-1]) if partitions else None
        found.newest_end_ms = series.interval.end(int(rows.times[-1])) if rows is not None and len(rows) else None
        strays = dataset.strays(series)
        found.error = f"{strays[0]} is not ours: plain readers take it in, too" if strays else None
    except (StoreError, OSError, pa.ArrowException) as error:
        found.error = str(error)
    return found


def newest_ends(dataset: Dataset, markets: Iterable[Market]) -> dict[Series, int]:
    """Where the newest candle of every series ends, in UTC ms. A newest file that is damaged is passed over."""
    wanted = frozenset(markets)
    ends = {series: _newest_end_ms(dataset, series) for series in dataset.series() if series.market in wanted}
    return {series: end_ms for series, end_ms in ends.items() if end_ms is not None}


def _newest_end_ms(dataset: Dataset, series: Series) -> int | None:
    """As the newest file's footer tells it; where that does not, as its rows or an older file's do."""
    for partition in dataset.partitions(series)[-1:]:
        with contextlib.suppress(StoreError, FileNotFoundError):
            rows, _, last_ms = _edges(dataset, partition.key)
            if rows:
                return series.interval.end(last_ms)
    return dataset.newest_end_ms(series)


_TRIES = 50


def stored_spans(dataset: Dataset, series: Series, start_ms: int = -ALWAYS_MS) -> Spans:
    """What is stored of a series as ranges, each candle from its open time to its end.

    Files that hold nothing from ``start_ms`` on are left out; of those that hold both, all is told.

    Footers alone are read wherever they tell it. Rows are unique and on the interval's grid: a file that holds as many
    as fit between its first and its last has no hole. Of any other one the open times are read. StoreError when a file
    is damaged or cannot be read.
    """
    for _ in range(_TRIES):
        with contextlib.suppress(FileNotFoundError):  # compacted away in this instant
            return _stored_spans(dataset, series, start_ms)
    raise StoreError(f"{series} cannot be read: its files change all the time")


def _stored_spans(dataset: Dataset, series: Series, start_ms: int) -> Spans:
    spans = Spans()
    for partition in dataset.partitions(series):
        if partition.span.end_ms <= start_ms:
            continue
        rows, first_ms, last_ms = _edges(dataset, partition.key)
        if not rows:
            continue
        end_ms = series.interval.end(last_ms)
        if rows == series.interval.candles(first_ms, end_ms):
            spans.add(first_ms, end_ms)
            continue
        table = read_table(dataset.storage, partition.key, [TIME_COLUMN])
        if table is None:
            raise FileNotFoundError
        for run in runs(open_times(table), series.interval):
            spans.add(*run)
    return spans


def _edges(dataset: Dataset, key: str) -> tuple[int, int, int]:
    """How many rows a partition has, and its first and last open time in UTC ms. FileNotFoundError when it is gone."""
    try:
        with dataset.storage.open(key) as file:
            footer = pq.read_metadata(file)
        column = footer.schema.names.index(TIME_COLUMN)
        groups = range(footer.num_row_groups)
        found: list[Any] = [footer.row_group(number).column(column).statistics for number in groups]
        if not footer.num_rows:
            return 0, 0, 0
        first, last = min(one.min for one in found), max(one.max for one in found)
        return int(footer.num_rows), *(round(moment.timestamp() * 1000) for moment in (first, last))
    except FileNotFoundError:
        raise
    except (OSError, ValueError, AttributeError, pa.ArrowException) as error:
        raise StoreError(f"{dataset.storage.name}/{key} cannot be read: {error}") from error


def market_times(dataset: Dataset, markets: Iterable[Market]) -> dict[Market, int]:
    """Each market's time, in UTC ms: the end of its newest stored candle. A market without any is left out."""
    found = dict[Market, int]()
    for series, newest_ms in newest_ends(dataset, markets).items():
        found[series.market] = max(found.get(series.market, 0), newest_ms)
    return found


class StoredEnd(NamedTuple):
    """Up to where a series is stored without a hole, in UTC ms, and whether a producer records it, by its facts."""

    end_ms: int
    is_recorded: bool


def unbroken_ends(dataset: Dataset, series: Iterable[Series], back_ms: int) -> dict[Series, StoredEnd]:
    """Up to where each series is stored without a hole: what a broker has lost of it opens later.

    A hole is looked for in the newest partitions, of ``back_ms`` together and two more; older ones are no broker's
    loss. Partitions are counted and not days before the newest candle: one row of a wrong time moves nothing. A series
    without a candle is left out.
    """
    newest = {one: dataset.newest_end_ms(one) for one in series}
    return {one: _unbroken_end(dataset, one, end, back_ms) for one, end in newest.items() if end is not None}


def _unbroken_end(dataset: Dataset, series: Series, to_ms: int, back_ms: int) -> StoredEnd:
    partitions = dataset.partitions(series)
    shortest_ms = min(partition.span.end_ms - partition.span.begin_ms for partition in partitions)
    partitions = partitions[-(back_ms // shortest_ms + 2) :]
    from_ms = series.interval.floor(partitions[0].span.begin_ms)
    coverage = Coverage(series.interval, from_ms)
    for partition in partitions:
        with contextlib.suppress(StoreError):  # what cannot be read is a hole
            rows = dataset.partition(partition)
            for run in runs(rows.times, series.interval) if rows is not None else ():
                coverage.add(*run)
    metadata = SeriesMetadata()
    with contextlib.suppress(StoreError):
        metadata = dataset.metadata(series)
    first_ms = next((span.begin_ms for span in coverage.settled), to_ms)
    for span in metadata.absent:
        coverage.add_absent(*span)
    began_ms = first_ms if metadata.began_ms is None else metadata.began_ms
    gaps = coverage.gaps(to_ms, max(from_ms, began_ms))
    return StoredEnd(gaps[0].begin_ms if gaps else to_ms, metadata.is_recorded)
