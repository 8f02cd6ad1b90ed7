"""Layouts of an export: files as other tools keep candles, a series at a time, in memory that does not grow with it.

    single     MARKET_SYMBOL_INTERVAL.pqt: one file a series, as one-process recorders keep it
    freqtrade  BASE_QUOTE-INTERVAL.feather, below futures/ what is not spot: freqtrade's own data folder
    nautilus   a ParquetDataCatalog, written by nautilus_trader itself
    hive       folders as ours, a month or year a file

Sources: freqtrade/data/history/datahandlers/idatahandler.py and featherdatahandler.py (2026.9);
nautilus_trader/persistence/catalog/parquet.py (1.221).
"""

import contextlib
import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from consumer.storage.layout import Period, partition_name, partition_span, period_of, series_folder
from consumer.storage.table import INDEX_COLUMN, TIME_COLUMN, VALUE_COLUMNS, numbers, open_times, times_ms
from shared.candle import Series
from shared.errors import CandlewickError
from shared.interval import Interval
from shared.market import Market

Parts = Callable[[], Iterator[pa.Table]]
"""A series' tables of ``SCHEMA`` in order, from the first on each time that it is called."""

_QUOTES = (
    *("USDT", "USDC", "FDUSD", "TUSD", "BUSD", "USDP", "USD1", "USDE", "RLUSD", "XUSD", "BFUSD", "EURI"),
    *("BTC", "ETH", "BNB", "SOL", "XRP", "TRX", "DOGE", "DOT", "VAI", "UST", "PAX", "DAI", "BIDR", "IDRT", "USDS"),
    *("TRY", "EUR", "GBP", "AUD", "BRL", "RUB", "UAH", "NGN", "ZAR", "PLN", "RON", "ARS", "MXN", "JPY", "CZK", "COP"),
    *("BVND", "IDR", "USD", "U"),
)
_IN_AEUR = ("BTCAEUR", "ETHAEUR", "BNBAEUR", "EURAEUR", "USDTAEUR", "USDCAEUR", "FDUSDAEUR")
_ZSTD: Any = "zstd"
_NAUTILUS_UNITS = {"s": "SECOND", "m": "MINUTE", "h": "HOUR", "d": "DAY", "w": "WEEK", "M": "MONTH"}
_PRICES = ("open", "high", "low", "close")
_MAX_PRECISION = 16
_NAUTILUS_BLOCK = 100_000


def write_single(folder: Path, series: Series, parts: Parts) -> int:
    """One file: the close time is an index without a name, ``candle_begin_time`` the first column."""
    names = [TIME_COLUMN, *VALUE_COLUMNS, "__index_level_0__"]

    def as_they_have_it(table: pa.Table) -> pa.Table:
        return table.select([*names[:-1], INDEX_COLUMN]).rename_columns(names)

    first = as_they_have_it(next(parts()))
    schema = first.schema.with_metadata({"pandas": _unnamed_index(first.schema)})
    name = f"{series.market}_{series.symbol}_{series.interval.on_disk}.pqt"
    with _whole(folder / name) as sink, pq.ParquetWriter(sink, schema, compression=_ZSTD) as writer:
        return _copy(parts(), lambda table: writer.write_table(as_they_have_it(table).cast(schema)))


def write_freqtrade(folder: Path, series: Series, parts: Parts) -> int:
    """One Feather file of ``date`` (open time, UTC), open, high, low, close and volume."""
    fields: list[Any] = [pa.field("date", pa.timestamp("ms", "UTC"))]
    schema = pa.schema([*fields, *(pa.field(name, pa.float64()) for name in (*_PRICES, "volume"))])

    def as_freqtrade(table: pa.Table) -> pa.Table:
        return pa.table([table.column(name) for name in (TIME_COLUMN, *_PRICES, "volume")], schema=schema)

    options = pa.ipc.IpcWriteOptions(compression="lz4")
    with _whole(folder / freqtrade_name(series)) as sink, pa.ipc.new_file(sink, schema, options=options) as writer:  # type: ignore[arg-type] # it writes to whatever has a write
        return _copy(parts(), lambda table: writer.write_table(as_freqtrade(table)))


def freqtrade_name(series: Series) -> str:
    """Path of a series' file below freqtrade's data folder of an exchange. CandlewickError for an unknown quote."""
    contract, _, delivery = series.symbol.partition("_")
    base, quote = split_symbol(contract, series)
    interval = "1Mo" if series.interval is Interval.MONTH else str(series.interval)
    if series.market is Market.SPOT:
        return f"{base}_{quote}-{interval}.feather"
    settled = base if series.market is Market.COIN_FUTURES else quote
    dated = "" if delivery in ("", "PERP") else f"-{delivery}"
    return f"futures/{base}_{quote}_{settled}{dated}-{interval}-futures.feather"


def split_symbol(contract: str, series: Series) -> tuple[str, str]:
    """Base and quote asset of a symbol, by the quotes that Binance has. CandlewickError where none fits."""
    if series.market is Market.COIN_FUTURES and contract.endswith("USD"):
        return contract.removesuffix("USD"), "USD"
    if contract in _IN_AEUR:  # of others the A is the base's, as of ADAEUR
        return contract.removesuffix("AEUR"), "AEUR"
    quote = next((quote for quote in _QUOTES if contract.endswith(quote) and contract != quote), None)
    if quote is None:
        raise CandlewickError(f"{series}: which part of {contract} is the quote asset is not known")
    return contract.removesuffix(quote), quote


def write_nautilus(folder: Path, series: Series, parts: Parts) -> int:
    """Bars of a ParquetDataCatalog, whose ``ts_event`` is the close time; precisions are those of the values."""
    try:
        from nautilus_trader.model.data import Bar, BarType
        from nautilus_trader.persistence.catalog import ParquetDataCatalog
    except ModuleNotFoundError as error:
        raise CandlewickError(f"layout nautilus needs {error.name}: pip install nautilus_trader") from None
    contract, _, delivery = series.symbol.partition("_")
    suffix = "" if series.market is Market.SPOT else f"_{delivery}" if delivery not in ("", "PERP") else "-PERP"
    step, unit = series.interval.value[:-1], _NAUTILUS_UNITS[series.interval.value[-1]]
    bar_type = BarType.from_str(f"{contract}{suffix}.BINANCE-{step}-{unit}-LAST-EXTERNAL")
    folder.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(folder / "data" / "bar" / str(bar_type), ignore_errors=True)  # of an earlier export
    catalog = ParquetDataCatalog(str(folder.resolve()))
    prices, sizes = _decimals(parts(), _PRICES), _decimals(parts(), ("volume",))
    count, previous = 0, None
    for table in _blocks(parts(), _NAUTILUS_BLOCK):
        columns = [np.array(numbers(table.column(name)), np.float64) for name in (*_PRICES, "volume")]
        stamps = times_ms(table, INDEX_COLUMN).astype(np.uint64) * np.uint64(1_000_000)
        start = int(stamps[0]) if previous is None else previous + 1  # files that touch can be consolidated
        previous = int(stamps[-1])
        try:
            bars = Bar.from_raw_arrays_to_list(bar_type, prices, sizes, *columns, stamps, stamps)
            catalog.write_data(bars, start=start, end=previous)
        except ValueError as error:  # such as a close above its high, or more than a quantity may be
            raise CandlewickError(f"{series}: nautilus_trader refuses a candle: {error}") from None
        count += table.num_rows
    return count


def write_hive(folder: Path, series: Series, parts: Parts) -> int:
    """Our own folders, with a month a file, or a year of intervals of two hours and more."""
    period = Period.YEAR if period_of(series.interval) is Period.YEAR else Period.MONTH
    held, count = list[pa.Table](), 0

    def write(name: str) -> None:
        path = folder / series_folder(series) / name
        with _whole(path) as sink:
            pq.write_table(pa.concat_tables(held), sink, compression=_ZSTD, use_dictionary=False)
        held.clear()

    name = ""
    for table in parts():
        while table.num_rows:
            first_ms = int(open_times(table)[0])
            if (new := partition_name(period, first_ms)) != name:
                if held:
                    write(name)
                name = new
            span = partition_span(name)
            assert span is not None  # noqa: S101 # the name was made for a time
            inside = int(np.searchsorted(open_times(table), span[1]))
            held.append(table.slice(0, inside))
            count += inside
            table = table.slice(inside)  # noqa: PLW2901 # what is left of it
    if held:
        write(name)
    return count


LAYOUTS: Mapping[str, Callable[[Path, Series, Parts], int]] = {
    "single": write_single,
    "freqtrade": write_freqtrade,
    "nautilus": write_nautilus,
    "hive": write_hive,
}
"""Each writes one series below a folder, in place of what is there of it; how many rows."""


@contextlib.contextmanager
def _whole(path: Path) -> Iterator[BinaryIO]:
    """A file that is there when it is whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        with unfinished.open("wb") as sink:
            yield sink
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


def _copy(tables: Iterable[pa.Table], write: Callable[[pa.Table], object]) -> int:
    count = 0
    for table in tables:
        write(table)
        count += table.num_rows
    return count


def _blocks(tables: Iterable[pa.Table], rows: int) -> Iterator[pa.Table]:
    """Tables of about so many rows, none of them empty."""
    held = list[pa.Table]()
    for table in tables:
        held.append(table)
        if sum(one.num_rows for one in held) >= rows:
            yield pa.concat_tables(held)
            held = []
    if sum(one.num_rows for one in held):
        yield pa.concat_tables(held)


def _decimals(tables: Iterable[pa.Table], names: Iterable[str]) -> int:
    """The most decimals that a value of these columns has."""
    names, most = tuple(names), 0
    for table in tables:
        for name in names:
            values = numbers(table.column(name))
            while most < _MAX_PRECISION and not np.array_equal(np.rint(values * 10.0**most) / 10.0**most, values):
                most += 1
    return most


def _unnamed_index(schema: pa.Schema) -> bytes:
    """Pandas' metadata of a frame whose index has no name (see ``consumer.storage.table``)."""
    time = {"pandas_type": "datetimetz", "numpy_type": "datetime64[ms]", "metadata": {"timezone": "UTC"}}
    value = {"pandas_type": "float64", "numpy_type": "float64", "metadata": None}
    columns = [
        {
            "name": None if name.startswith("__") else name,
            "field_name": name,
            **(value if name in VALUE_COLUMNS else time),
        }
        for name in schema.names
    ]
    return json.dumps(
        {
            "index_columns": ["__index_level_0__"],
            "column_indexes": [],
            "columns": columns,
            "creator": {"library": "pyarrow", "version": pa.__version__},
            "pandas_version": "2.2.0",
        }
    ).encode()
