"""Tables of several series, and the libraries that they are handed over to.

A *long* table has a row a candle: every series one after the other, each in the order of time, with the symbol, and the
market where several were asked for, in columns of their own. A *wide* one has a row a close time and a column a symbol.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from consumer.storage.table import INDEX_COLUMN, VALUE_COLUMNS, numbers, times_ms
from shared.candle import Series
from shared.errors import CandlewickError

MARKET_COLUMN, SYMBOL_COLUMN = "market", "symbol"
COMPLETE_COLUMN = "complete"


def checked_columns(columns: str | Sequence[str] | None) -> tuple[str, ...]:
    """Names of columns of values, all by default. CandlewickError for any other."""
    names = VALUE_COLUMNS if columns is None else (columns,) if isinstance(columns, str) else tuple(columns)
    for name in names:
        if name not in VALUE_COLUMNS:
            raise CandlewickError(f"column {name!r} is not known: {', '.join(VALUE_COLUMNS)}")
    return tuple(dict.fromkeys(names))


def labelled(table: pa.Table, series: Series, *, with_market: bool, with_symbol: bool) -> pa.Table:
    """A series' table with its market and symbol as columns behind the times, as far as they are asked for."""
    at = 1
    for name, value, wanted in (
        (MARKET_COLUMN, str(series.market), with_market),
        (SYMBOL_COLUMN, series.symbol, with_symbol),
    ):
        if wanted:
            column = pa.DictionaryArray.from_arrays(np.zeros(table.num_rows, np.int32), pa.array([value]))
            table = table.add_column(at, name, column)
            at += 1
    return table


def long_table(parts: Iterable[pa.Table]) -> pa.Table:
    """Tables of one after the other; symbols and markets stay dictionaries."""
    return pa.concat_tables(parts).unify_dictionaries()


def wide_table(parts: Mapping[Series, pa.Table], column: str) -> pa.Table:
    """One column of several series: a row a close time, ascending, a column a symbol; null where there is no candle."""
    ends = {series: times_ms(table, INDEX_COLUMN) for series, table in parts.items()}
    every = np.unique(np.concatenate([np.empty(0, np.int64), *ends.values()]))
    arrays: list[Any] = [pa.array(every).view(pa.timestamp("ms", "UTC"))]
    for series, table in parts.items():
        values, is_missing = np.zeros(len(every)), np.ones(len(every), np.bool_)
        at = np.searchsorted(every, ends[series])
        values[at], is_missing[at] = numbers(table.column(column)), False
        arrays.append(pa.array(values, mask=is_missing))
    return pa.table(arrays, names=[INDEX_COLUMN, *(series.symbol for series in parts)])


def as_pandas(table: pa.Table) -> Any:
    """A pandas frame whose index is the close time."""
    frame = table.replace_schema_metadata().to_pandas()
    return frame.set_index(INDEX_COLUMN) if INDEX_COLUMN in frame else frame


def _as_polars(table: pa.Table) -> Any:
    import polars as pl

    return pl.from_arrow(table.replace_schema_metadata())


def _as_duckdb(table: pa.Table) -> Any:
    import duckdb

    return duckdb.from_arrow(table.replace_schema_metadata())


ENGINES: Mapping[str, Callable[[pa.Table], Any]] = {
    "pandas": as_pandas,
    "polars": _as_polars,
    "arrow": lambda table: table.replace_schema_metadata(),
    "duckdb": _as_duckdb,
}


def hand_over(table: pa.Table, engine: str) -> Any:
    """A table as ``engine`` has it. CandlewickError when it is not known or not installed."""
    if engine not in ENGINES:
        raise CandlewickError(f"engine {engine!r} is not known: {', '.join(ENGINES)}")
    try:
        return ENGINES[engine](table)
    except ModuleNotFoundError as error:
        raise CandlewickError(f"engine {engine!r} needs {error.name}: pip install {error.name}") from None
