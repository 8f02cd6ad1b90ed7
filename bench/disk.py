"""Candles onto disk: a flush of many series, and one more candle as history grows.

The floor writes the same rows with pyarrow straight onto a file and syncs it, with as many threads: it would lose the
file at a crash in the middle. The old way reads a series' whole file, appends a row, drops repeats and writes it back.
"""

import itertools
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from bench.result import Result, best_of
from consumer.storage.candle_store import CandleStore
from consumer.storage.durable import Staging
from consumer.storage.local import LocalStorage
from consumer.storage.table import VALUE_COLUMNS, Rows, to_arrow
from shared.candle import Candle, Series
from shared.interval import DAY_MS, MINUTE_MS, Interval
from shared.market import Market

_SERIES = 2000
_ROWS = 1000
_OLD_SERIES = 40  # the old way takes too long for all of them
_THREADS = 2
_DAY = 19_904 * DAY_MS  # 2024-06-30


def run() -> list[Result]:
    """Both measurements, in a folder that is removed again."""
    folder = Path(tempfile.mkdtemp(prefix="bench-", dir=Path.cwd()))
    try:
        return [_flush(folder), *_history(folder)]
    finally:
        shutil.rmtree(folder)


def _candle(series: Series, open_time_ms: int) -> Candle:
    values = (f"{100 + open_time_ms % 977}", "1200.5", "90.5", "101.25", "12.5", "1250.75")
    return Candle(series, open_time_ms, *values, 42, "6.25", "625.5", "websocket", open_time_ms, open_time_ms)


def _rows(count: int, first_ms: int) -> Rows:
    values = np.random.default_rng(1).lognormal(4, 0.1, (len(VALUE_COLUMNS), count)).round(2)
    return Rows(first_ms + np.arange(count, dtype=np.int64) * MINUTE_MS, values)


def _flush(folder: Path) -> Result:
    """One new candle each onto a day's rows of many series."""
    many = [Series(Market.SPOT, f"S{number}USDT", Interval.M1) for number in range(_SERIES)]
    staging = Staging(folder / "staging")
    store = CandleStore(LocalStorage(folder, staging, 5), 2**30)
    day = _rows(_ROWS, _DAY)
    candles = [_candle(many[0], int(time_ms)) for time_ms in day.times]
    for series in many:
        store.write(series, candles)
    minute = iter(range(_ROWS, 10**6))
    floor_folder = folder / "floor"
    floor_folder.mkdir()
    table = to_arrow(_rows(_ROWS + 1, _DAY), Interval.M1)
    old_files = [folder / f"old-{number}.parquet" for number in range(_OLD_SERIES)]
    for path in old_files:
        to_arrow(day, Interval.M1).to_pandas().to_parquet(path)
    with ThreadPoolExecutor(_THREADS) as pool:

        def ours() -> float:
            opens = _DAY + next(minute) * MINUTE_MS
            chunks = [[(one, [_candle(one, opens)]) for one in many[at : at + 32]] for at in range(0, _SERIES, 32)]
            return _milliseconds(lambda: list(pool.map(store.write_many, chunks)))

        def floor() -> float:
            paths = [floor_folder / f"{number}.parquet" for number in range(_SERIES)]
            return _milliseconds(lambda: list(pool.map(lambda path: _bare_write(table, path), paths)))

        def old() -> float:
            opens = _DAY + next(minute) * MINUTE_MS
            cost = _milliseconds(lambda: _old_ways(old_files, opens))
            return cost * _SERIES / _OLD_SERIES

        best = best_of(3, {"ours": ours, "floor": floor, "old": old})
    staging.close()
    return Result(
        f"flush: a candle each onto {_ROWS:,} rows of {_SERIES:,} series",
        "ms a flush",
        best["ours"],
        best["floor"],
        best["old"],
        aim=1.3,
    )


def _bare_write(table: pa.Table, path: Path) -> None:
    pq.write_table(table, path, compression="zstd", use_dictionary=False)
    fd = os.open(path, os.O_RDONLY)
    os.fsync(fd)
    os.close(fd)


def _old_way(path: Path, open_time_ms: int) -> None:
    frame = pd.read_parquet(path)
    row = frame.iloc[[-1]].copy()
    row.index = pd.DatetimeIndex([pd.Timestamp(open_time_ms + MINUTE_MS, unit="ms", tz="UTC")], name=frame.index.name)
    row["candle_begin_time"] = pd.Timestamp(open_time_ms, unit="ms", tz="UTC")
    frame = pd.concat([frame, row])
    frame[~frame.index.duplicated(keep="last")].sort_index().to_parquet(path)


def _old_ways(paths: Iterable[Path], open_time_ms: int) -> None:
    for path in paths:
        _old_way(path, open_time_ms)


def _history(folder: Path) -> list[Result]:
    """One more candle of one series that has a day, a month, a year behind it: ours take turns, then the old ways."""
    spans = {"a day": 1, "a month": 30, "a year": 365}
    ours, old = {}, {}
    for name, days in spans.items():
        series = Series(Market.SPOT, f"H{days}USDT", Interval.M1)
        data = folder / f"history-{days}"
        data.mkdir()
        store = CandleStore(LocalStorage(data, Staging(folder / "staging"), 5), 2**28)
        for day in range(days):
            rows = range(720 if day == 0 else 1440)
            store.write(series, [_candle(series, _DAY - day * DAY_MS + at * MINUTE_MS) for at in rows])
        path = folder / f"old-{days}.parquet"
        to_arrow(_rows(days * 1440 - 720, _DAY - (days - 1) * DAY_MS), Interval.M1).to_pandas().to_parquet(path)
        ours[name] = _one_more(store, series)
        old[name] = _one_more_the_old_way(path)
    ours_best, old_best = best_of(15, ours), best_of(3, old)
    return [
        Result(
            f"one more candle after {name}",
            "ms",
            ours_best[name],
            None if name == "a day" else ours_best["a day"],
            old_best[name],
            None if name == "a day" else 1.2,
        )
        for name in spans
    ]


def _one_more(store: CandleStore, series: Series) -> Callable[[], float]:
    opens = itertools.count(_DAY + 720 * MINUTE_MS, MINUTE_MS)
    return lambda: _milliseconds(lambda: store.write(series, [_candle(series, next(opens))]))


def _one_more_the_old_way(path: Path) -> Callable[[], float]:
    opens = itertools.count(_DAY + 720 * MINUTE_MS, MINUTE_MS)
    return lambda: _milliseconds(lambda: _old_way(path, next(opens)))


def _milliseconds(work: Callable[[], object]) -> float:
    """What some work costs, without what others have left to be written."""
    os.sync()
    began = time.perf_counter()
    work()
    return (time.perf_counter() - began) * 1000
