"""Reading what was recorded: a series, many series, the newest of all, wide, replayed, exported.

Ours reads a data folder as the writer leaves it, day files that are still open. The floor is pandas with the same
question to *one* plain Parquet file of the same rows, sorted and filtered by hand: what somebody has who keeps no
recorder. The other column is Polars asking the same of that file.
"""

import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

import candlewick
from bench.result import Result, best_of
from candlewick.recording.recording import Recording
from consumer.dataset.compact import compact
from consumer.storage.candle_store import CandleStore
from consumer.storage.durable import Staging
from consumer.storage.layout import candles_key
from consumer.storage.local import LocalStorage
from consumer.storage.table import VALUE_COLUMNS, Rows, to_arrow
from shared.candle import Series
from shared.interval import DAY_MS, HOUR_MS, MINUTE_MS, Interval, utc
from shared.market import Market

_ROUNDS = 3
_YEARS_DAYS = 5 * 365
_SYMBOLS = 500
_MONTH_SYMBOLS, _MONTH_DAYS = 50, 30
_LONG = Series(Market.USDT_FUTURES, "BTCUSDT", Interval.M1)
_END = 19_904 * DAY_MS  # 2024-06-30
Question = Callable[[], Any]


def run() -> list[Result]:
    """All questions, in a folder that is removed again."""
    folder = Path(tempfile.mkdtemp(prefix="bench-", dir=Path.cwd()))
    try:
        return [*_one_series(folder / "one"), *_many(folder / "many"), *_month(folder / "month")]
    finally:
        shutil.rmtree(folder)


def _one_series(folder: Path) -> list[Result]:
    plain = _store(folder, [_LONG], _YEARS_DAYS)
    rec = candlewick.open(folder, "")
    day, month = _END - DAY_MS, _END - 30 * DAY_MS

    def ours(start_ms: int, **options: Any) -> Question:
        return lambda: rec.read("usdt_futures", "BTCUSDT", "1m", utc(start_ms), **options)

    def by_hand(start_ms: int) -> tuple[Question, Question]:
        return _pandas(plain, start_ms), _polars(plain, start_ms)

    def same_files() -> pd.DataFrame:
        return pd.read_parquet(folder / candles_key(_LONG))

    first = _END - _YEARS_DAYS * DAY_MS
    results = [
        _compared("one series of five years: its last day", ours(day), *by_hand(day)),
        _compared("the same: its last month", ours(month), *by_hand(month)),
        _compared("the same: all of it, from day files", ours(first), *by_hand(first)),
        _compared("the same, and pandas.read_parquet of the same day files", ours(first), same_files),
    ]
    compact(LocalStorage(folder, Staging(folder / "staging"), 5), [_LONG])
    return [
        *results,
        _compared("the same: all of it, months joined", ours(first), *by_hand(first)),
        _compared("the same, and pandas.read_parquet of the same months", ours(first), same_files),
    ]


def _many(folder: Path) -> list[Result]:
    series = [Series(Market.USDT_FUTURES, f"S{number:04}USDT", Interval.M1) for number in range(_SYMBOLS)]
    plain, rec = _store(folder, series, 1), candlewick.open(folder, "")
    hour = _END - HOUR_MS
    return [
        _compared(
            f"{_SYMBOLS} symbols: the last hour",
            lambda: rec.read("usdt_futures", None, "1m", utc(hour)),
            _pandas(plain, hour),
            _polars(plain, hour),
        ),
        _compared(
            "all symbols: the last candle",
            lambda: rec.read("usdt_futures", None, "1m", tail=1),
            lambda: pd.read_parquet(plain).groupby("symbol", observed=True).tail(1),
            lambda: pl.read_parquet(plain).group_by("symbol").tail(1),
        ),
    ]


def _month(folder: Path) -> list[Result]:
    series = [Series(Market.USDT_FUTURES, f"S{number:04}USDT", Interval.M1) for number in range(_MONTH_SYMBOLS)]
    plain, rec = _store(folder, series, _MONTH_DAYS), candlewick.open(folder, "")
    rows = _MONTH_SYMBOLS * _MONTH_DAYS * DAY_MS // MINUTE_MS
    wide = _compared(
        f"closes of a month, wide, {_MONTH_SYMBOLS} symbols",
        lambda: rec.read("usdt_futures", None, "1m", wide=True),
        lambda: pd.read_parquet(plain, columns=["candle_end_time", "symbol", "close"]).pivot_table(
            index="candle_end_time", columns="symbol", values="close", observed=True
        ),
        lambda: pl.read_parquet(plain, columns=["candle_end_time", "symbol", "close"]).pivot(  # noqa: PD010 # Polars'
            on="symbol", index="candle_end_time", values="close"
        ),
    )
    replay = _compared(
        "replay of a month, in one order",
        lambda: _count(rec),
        lambda: sum(1 for _ in pd.read_parquet(plain).sort_values("candle_end_time").itertuples()),
        lambda: sum(1 for _ in pl.read_parquet(plain).sort("candle_end_time").iter_rows()),
    )
    out = folder / "out"
    export = _compared(
        "export of a month, a file a series",
        lambda: list(rec.export(out, layout="single")),
        lambda: [
            frame.drop(columns="symbol").to_parquet(folder / f"{name}.pqt")
            for name, frame in pd.read_parquet(plain).groupby("symbol", observed=True)
        ],
    )
    return [wide, _rate(replay, rows), _rate(export, rows)]


def _count(rec: Recording) -> int:
    return sum(len(batch) for batch in rec.replay().batches())


def _rate(result: Result, rows: int) -> Result:
    """Milliseconds as µs a candle."""
    micros = 1000 / rows
    old = None if result.old is None else result.old * micros
    floor = None if result.floor is None else result.floor * micros
    return Result(result.name, "µs a candle", result.ours * micros, floor, old)


def _compared(name: str, ours: Question, pandas: Question, polars: Question | None = None) -> Result:
    contestants = {"ours": ours, "floor": pandas} | ({} if polars is None else {"old": polars})
    best = best_of(_ROUNDS, {who: (lambda ask=ask: _milliseconds(ask)) for who, ask in contestants.items()})  # type: ignore[misc] # the default binds it
    return Result(name, "ms", best["ours"], best["floor"], best.get("old"))


def _milliseconds(ask: Question) -> float:
    began = time.perf_counter()
    ask()
    return (time.perf_counter() - began) * 1000


def _pandas(plain: Path, start_ms: int) -> Question:
    return lambda: pd.read_parquet(plain, filters=[("candle_begin_time", ">=", utc(start_ms))])


def _polars(plain: Path, start_ms: int) -> Question:
    return lambda: pl.scan_parquet(plain).filter(pl.col("candle_begin_time") >= utc(start_ms)).collect()


def _store(folder: Path, series: list[Series], days: int) -> Path:
    """Candles that end at ``_END`` in a data folder, and the same in one plain file, whose path is returned."""
    staging = Staging(folder / "staging")
    store, plain = CandleStore(LocalStorage(folder, staging, 5)), folder / "plain.parquet"
    writer: pq.ParquetWriter | None = None
    for number, one in enumerate(series):
        rows = _made(days, number)
        for first_ms in range(_END - days * DAY_MS, _END, 100 * DAY_MS):
            store.write_rows(one, rows.between(first_ms, first_ms + 100 * DAY_MS))
        table = to_arrow(rows, Interval.M1).replace_schema_metadata()
        table = table.add_column(0, "symbol", pa.array([one.symbol] * table.num_rows).dictionary_encode())
        writer = writer or pq.ParquetWriter(plain, table.schema, compression="zstd")
        writer.write_table(table)
    assert writer is not None  # noqa: S101 # there is a series
    writer.close()
    staging.close()
    return plain


def _made(days: int, seed: int) -> Rows:
    """Rows with as many digits as prices and volumes have."""
    random, count = np.random.default_rng(seed), days * DAY_MS // MINUTE_MS
    values = np.round(random.random((len(VALUE_COLUMNS), count)) * 1e4, 4)
    values[:4] = np.round(30_000 + np.cumsum(random.normal(0, 5, count)), 2)
    return Rows(_END - (count - np.arange(count, dtype=np.int64)) * MINUTE_MS, values)
