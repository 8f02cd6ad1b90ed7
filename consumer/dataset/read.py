"""What was recorded, as a pandas frame.

Any Parquet reader can do the same from the files alone; this one knows the layout, so it opens only the partitions
that a question touches, and it answers a question about a series that was never recorded with a clear error.
"""

from datetime import datetime
from pathlib import Path

import pandas as pd
import pyarrow as pa

from consumer.storage.durable import read_partition
from consumer.storage.layout import partition_span, series_folder
from consumer.storage.table import Rows, concatenate, to_arrow
from shared.candle import Series
from shared.errors import StoreError

_ALL_MS = 2**62
_TRIES = 50


def read_rows(root: Path, series: Series, start_ms: int = -_ALL_MS, end_ms: int = _ALL_MS) -> Rows:
    """Rows of a series that open at or after ``start_ms`` and before ``end_ms``, ascending and unique.

    A partition that is compacted away while it is read makes the whole read start again.

    Raises:
        StoreError: when the series was never recorded or a file is damaged.
    """
    folder = root / series_folder(series)
    for tries_left in reversed(range(_TRIES)):
        try:
            paths = [path for path in folder.iterdir() if _overlaps(path.name, start_ms, end_ms)]
            return concatenate(read_partition(path) for path in paths).between(start_ms, end_ms)
        except (FileNotFoundError, NotADirectoryError):
            if not folder.is_dir():
                raise StoreError(f"{series} was never recorded: there is no {folder}") from None
            if not tries_left:
                raise
    raise AssertionError  # the loop returns or raises


def read_table(root: Path, series: Series, start: datetime | None, end: datetime | None) -> pa.Table:
    """``read_rows`` as an Arrow table; times without a zone are UTC."""
    rows = read_rows(root, series, _milliseconds(start) if start else -_ALL_MS, _milliseconds(end) if end else _ALL_MS)
    return to_arrow(rows, series.interval)


def read_frame(root: Path, series: Series, start: datetime | None, end: datetime | None) -> pd.DataFrame:
    """``read_rows`` as a frame with index ``candle_end_time`` (UTC) and ten columns, as pandas reads the files."""
    return read_table(root, series, start, end).to_pandas()


def _overlaps(name: str, start_ms: int, end_ms: int) -> bool:
    span = partition_span(name)
    return span is not None and span[0] < end_ms and span[1] > start_ms


def _milliseconds(moment: datetime) -> int:
    stamp = pd.Timestamp(moment)
    stamp = stamp.tz_localize("UTC") if stamp.tzinfo is None else stamp.tz_convert("UTC")
    return int(stamp.timestamp() * 1000)
