"""The dataset in figures: for ``candlewick status``, and for producers that ask where a series continues."""

import contextlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from consumer.dataset.dataset import Dataset
from consumer.storage.metadata import SeriesMetadata
from consumer.storage.table import runs
from shared.candle import Series
from shared.coverage import Coverage
from shared.errors import StoreError
from shared.market import Market


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
    ends = {series: dataset.newest_end_ms(series) for series in dataset.series() if series.market in wanted}
    return {series: end_ms for series, end_ms in ends.items() if end_ms is not None}


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
