"""Candles as rows, rows as Arrow, and how two sets of rows become one. Pure.

Rows are merged by key, and the result does not depend on order: the same candle twice is one row. Of two different
candles under one key the one with more trades stays, then with more volume, and so on through ``_PRECEDENCE``. So every
writer in every interleaving arrives at the same file.

The schema stands here and nowhere else. Its pandas metadata (format: pandas' developer guide, "Storing pandas
DataFrame objects in Apache Parquet format") makes ``candle_end_time`` the index again when pandas reads a file.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Any, NamedTuple, cast

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from shared.candle import Candle
from shared.interval import Interval
from shared.spans import Span

INDEX_COLUMN = "candle_end_time"
TIME_COLUMN = "candle_begin_time"
VALUE_COLUMNS = (
    *("open", "high", "low", "close", "volume", "quote_volume", "trade_num"),
    *("taker_buy_base_asset_volume", "taker_buy_quote_asset_volume"),
)
"""Columns of numbers, named as the attributes of ``Candle``."""

_values_of = attrgetter(*VALUE_COLUMNS)
_PRECEDENCE = (6, 4, 5, 7, 8, 3, 1, 2, 0)  # by column: trade_num, the volumes, close, high, low, open
_TIMESTAMP = pa.timestamp("ms", "UTC")


def _pandas_metadata() -> bytes:
    time: dict[str, object] = {"pandas_type": "datetimetz", "numpy_type": "datetime64[ms]"}
    time["metadata"] = {"timezone": "UTC"}
    value: dict[str, object] = {"pandas_type": "float64", "numpy_type": "float64", "metadata": None}
    kinds = {TIME_COLUMN: time, **dict.fromkeys(VALUE_COLUMNS, value), INDEX_COLUMN: time}
    return json.dumps(
        {
            "index_columns": [INDEX_COLUMN],
            "column_indexes": [],
            "columns": [{"name": name, "field_name": name, **kind} for name, kind in kinds.items()],
            "creator": {"library": "pyarrow", "version": pa.__version__},
            "pandas_version": "2.2.0",
        }
    ).encode()


_FIELDS: "list[pa.Field[Any]]" = [
    pa.field(INDEX_COLUMN, _TIMESTAMP),
    pa.field(TIME_COLUMN, _TIMESTAMP),
    *(pa.field(name, pa.float64()) for name in VALUE_COLUMNS),
]
SCHEMA = pa.schema(_FIELDS, metadata={"pandas": _pandas_metadata()})
"""Columns of every partition, in their order."""


def no_rows(names: Sequence[str] = SCHEMA.names) -> pa.Table:
    """A table of these columns without a row; Arrow's own ``empty_table`` would import pandas."""
    schema: pa.Schema = pa.schema([SCHEMA.field(name) for name in names])
    return pa.Table.from_batches([], schema=schema.with_metadata(SCHEMA.metadata))


@dataclass(frozen=True, slots=True)
class Rows:
    """Candles of one series as arrays, ascending and unique by open time.

    Attributes:
        times: open times in UTC ms, int64, shape (n,).
        values: ``VALUE_COLUMNS`` as float64, shape (9, n).
    """

    times: npt.NDArray[np.int64]
    values: npt.NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.times)

    @property
    def nbytes(self) -> int:
        """Memory that the arrays take, in bytes."""
        return self.times.nbytes + self.values.nbytes

    def between(self, start_ms: int, end_ms: int) -> "Rows":
        """Rows that open at or after ``start_ms`` and before ``end_ms``."""
        first, last = np.searchsorted(self.times, [start_ms, end_ms])
        return Rows(self.times[first:last], self.values[:, first:last])

    def last(self, count: int) -> "Rows":
        """The last so many rows, or all where there are fewer."""
        return Rows(self.times[-count:], self.values[:, -count:])


class Merged(NamedTuple):
    """What ``merge`` and ``unite`` made.

    Attributes:
        changed: whether the rows differ from those that were there.
        conflicts: open times (ms) under which two different candles met.
    """

    rows: Rows
    changed: bool
    conflicts: tuple[int, ...]


EMPTY = Rows(np.empty(0, np.int64), np.empty((len(VALUE_COLUMNS), 0), np.float64))


def rows_from_candles(candles: Sequence[Candle]) -> Merged:
    """Rows from candles of one series in any order, with repeats; decimal strings become the nearest float64."""
    times = np.fromiter((candle.open_time_ms for candle in candles), np.int64, len(candles))
    values = np.array([tuple(map(float, _values_of(candle))) for candle in candles], np.float64)
    return _unique(times, np.ascontiguousarray(values.reshape(len(candles), len(VALUE_COLUMNS)).T))


def merge(old: Rows, new: Rows) -> Merged:
    """The union of two sets of rows; the module's first lines say what happens to rows that both have."""
    if len(new) == 0:
        return Merged(old, changed=False, conflicts=())
    both = _unique(np.concatenate((old.times, new.times)), np.concatenate((old.values, new.values), axis=1))
    changed = not (np.array_equal(both.rows.times, old.times) and np.array_equal(both.rows.values, old.values))
    return Merged(both.rows, changed, both.conflicts)


def override(old: Rows, new: Rows) -> Merged:
    """The union of two sets of rows, where of two that differ the new one stays."""
    kept = ~np.isin(old.times, new.times)
    both = unite([Rows(old.times[kept], old.values[:, kept]), new]).rows
    changed = not (np.array_equal(both.times, old.times) and np.array_equal(both.values, old.values))
    return Merged(both, changed, conflicts=())


def _unique(times: npt.NDArray[np.int64], values: npt.NDArray[np.float64]) -> Merged:
    if len(times) < 2 or bool(np.all(times[1:] > times[:-1])):  # noqa: PLR2004 # one row is in order
        return Merged(Rows(times, values), changed=True, conflicts=())
    order = np.lexsort((*(values[column] for column in reversed(_PRECEDENCE)), times))
    times, values = times[order], values[:, order]
    repeats = times[1:] == times[:-1]
    differs = repeats & np.any(values[:, 1:] != values[:, :-1], axis=0)
    last = np.append(~repeats, True)  # the last row ends its group
    conflicts = tuple(int(time) for time in np.unique(times[1:][differs]))
    return Merged(Rows(times[last], np.ascontiguousarray(values[:, last])), changed=True, conflicts=conflicts)


def to_arrow(rows: Rows, interval: Interval) -> pa.Table:
    """Rows as an Arrow table of ``SCHEMA``."""
    return arrow_table(rows, candle_ends(rows.times, interval))


def arrow_table(rows: Rows, ends: "npt.NDArray[np.int64]") -> pa.Table:
    """Rows as an Arrow table of ``SCHEMA``, and where their candles end, in UTC ms."""
    times = [pa.array(column).view(_TIMESTAMP) for column in (ends, rows.times)]
    return pa.Table.from_arrays([*times, *map(pa.array, rows.values)], schema=SCHEMA)


def check_columns(table: pa.Table, names: Sequence[str] | None = None) -> None:
    """ValueError when a table has other columns or types than ``SCHEMA``, or than these of it, or holds nulls."""
    wanted = SCHEMA if names is None else pa.schema([SCHEMA.field(name) for name in names])
    if not table.schema.equals(wanted, check_metadata=False):
        raise ValueError(f"its columns are {', '.join(f'{field.name} {field.type}' for field in table.schema)}")
    if any(column.null_count for column in table.columns):
        raise ValueError("it holds nulls")


def from_arrow(table: pa.Table) -> Rows:
    """Rows from a table of ``SCHEMA``. ValueError when its columns, types or order are others, or it holds nulls."""
    check_columns(table)
    times = open_times(table)
    values = np.array([numbers(table.column(name)) for name in VALUE_COLUMNS], np.float64)
    values = values.reshape(len(VALUE_COLUMNS), len(times))
    if not bool(np.all(times[1:] > times[:-1])):
        raise ValueError("it is not sorted and unique by candle_begin_time")
    return Rows(times, values)


def open_times(table: pa.Table) -> "npt.NDArray[np.int64]":
    """Open times of a table's rows, in UTC ms."""
    return times_ms(table, TIME_COLUMN)


def times_ms(table: pa.Table, name: str) -> "npt.NDArray[np.int64]":
    """A column of times in UTC ms. A view does, where a cast would import Arrow's functions, which takes a while."""
    views = [cast("Any", chunk).view(pa.int64()) for chunk in table.column(name).chunks]
    return cast("npt.NDArray[np.int64]", numbers(pa.chunked_array(views, pa.int64())))


def numbers(column: "pa.ChunkedArray[Any]") -> "npt.NDArray[Any]":
    """A column of numbers without nulls; Arrow's own ``to_numpy`` would import pandas, half of a command's time."""
    return np.from_dlpack(cast("Any", column.combine_chunks()))


def candle_ends(times: "npt.NDArray[np.int64]", interval: Interval) -> "npt.NDArray[np.int64]":
    """Where candles with these open times end, in UTC ms."""
    if interval is Interval.MONTH:
        return np.fromiter((interval.end(int(time)) for time in times), np.int64, len(times))
    return times + interval.typical_ms


def runs(times: "npt.NDArray[np.int64]", interval: Interval) -> Iterator[Span]:
    """Ascending open times as ranges without a gap, each candle from its open time to its end."""
    if interval is Interval.MONTH:
        yield from (Span(int(time), interval.end(int(time))) for time in times)
    elif len(times):
        for run in np.split(times, np.flatnonzero(np.diff(times) != interval.typical_ms) + 1):
            yield Span(int(run[0]), int(run[-1]) + interval.typical_ms)


def concatenate(parts: Iterable[Rows]) -> Rows:
    """Rows of several partitions of one series as one, merged by key like everything else."""
    return unite(parts).rows


def unite(parts: Iterable[Rows]) -> Merged:
    """Rows of one series in any order, with repeats, as one."""
    ordered = sorted((part for part in parts if len(part)), key=lambda part: int(part.times[0]))
    if not ordered:
        return Merged(EMPTY, changed=False, conflicts=())
    times = np.concatenate([part.times for part in ordered])
    return _unique(times, np.concatenate([part.values for part in ordered], axis=1))
