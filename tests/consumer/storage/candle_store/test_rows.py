"""Partitions hold what was written, once, for every reader."""

from pathlib import Path

import duckdb
import polars as pl

from consumer.storage.table import VALUE_COLUMNS
from shared.candle import Series
from shared.interval import DAY_MS, Interval
from shared.market import Market
from tests.support.candles import BTC, JUNE_30, MINUTE, make_candle
from tests.support.partitions import candles, files, frame, minutes, open_store
from tests.support.stores import DataFolder
from tests.support.writing import ETH


def test_pandas_reads_a_series_folder_back_sorted_and_unique(store: DataFolder) -> None:
    store.write(BTC, candles(3, 1, 2, 1))
    store.write(BTC, candles(2000, 0))
    found = frame(store)
    assert minutes(store) == [0, 1, 2, 3, 2000]
    assert found.index.name == "candle_end_time"
    assert found.index.is_monotonic_increasing
    assert found.index.is_unique
    assert list(found.columns) == ["candle_begin_time", *VALUE_COLUMNS]
    assert str(found.index.dtype) == "datetime64[ms, UTC]"
    assert (found.dtypes[list(VALUE_COLUMNS)] == "float64").all()


def test_duckdb_and_polars_read_the_dataset_with_its_hive_columns(store: DataFolder) -> None:
    monthly = Series(Market.COIN_FUTURES, "BTCUSD_PERP", Interval.MONTH)
    store.write(BTC, candles(1, 2, 2000))
    store.write(monthly, [make_candle(monthly, monthly.interval.floor(JUNE_30))])
    pattern = str(store.root / "**" / "*.parquet")
    counted = "SELECT market, interval, symbol, count(*) FROM read_parquet(?, hive_partitioning=true) GROUP BY ALL"
    rows = sorted(duckdb.execute(counted, [pattern]).fetchall())
    assert rows == [("coin_futures", "1mo", "BTCUSD_PERP", 1), ("usdt_futures", "1m", "BTCUSDT", 3)]
    scanned = pl.scan_parquet(pattern, hive_partitioning=True).group_by("market", "interval", "symbol").len()
    assert sorted(scanned.collect().rows()) == rows


def test_the_dataset_holds_finished_files_in_the_layout_and_nothing_else(store: DataFolder, tmp_path: Path) -> None:
    store.write(BTC, candles(0, 1440))
    assert files(tmp_path) == [
        "candles/market=usdt_futures/interval=1m/symbol=BTCUSDT/2024-06-30.parquet",
        "candles/market=usdt_futures/interval=1m/symbol=BTCUSDT/2024-07-01.parquet",
    ]


def test_repeats_write_nothing(store: DataFolder) -> None:
    assert store.write(BTC, candles(1, 2)).files == 1
    before = next(store.root.rglob("*.parquet")).stat()
    assert store.write(BTC, candles(2, 1, 1)).files == 0
    assert next(store.root.rglob("*.parquet")).stat().st_mtime_ns == before.st_mtime_ns


def test_a_conflict_is_reported_and_resolved_the_same_way_in_either_order(tmp_path: Path) -> None:
    kept = []
    for folder, order in ((tmp_path / "a", (5, 9)), (tmp_path / "b", (9, 5))):
        store = open_store(folder)
        conflicts = [store.write(BTC, candles(0, close=str(n), trades=n)).conflicts for n in order]
        assert conflicts == [(), (JUNE_30,)]
        kept.append(frame(store)["close"].tolist())
        store.staging.close()
    assert kept == [[9.0], [9.0]]


def test_the_copy_in_memory_is_not_trusted_when_the_file_is_another(store: DataFolder, tmp_path: Path) -> None:
    """Two writers in turn, each with a copy of what it wrote: neither undoes the other's."""
    other = open_store(tmp_path)
    for at in range(10):
        (store, other)[at % 2].write(BTC, candles(at))
    assert minutes(store) == list(range(10))
    other.staging.close()


def test_without_any_memory_for_copies_the_result_is_the_same(tmp_path: Path) -> None:
    store = open_store(tmp_path, cache_bytes=0)
    for at in range(5):
        store.write(BTC, candles(at))
    assert minutes(store) == list(range(5))
    store.staging.close()


def test_the_copies_in_memory_do_not_grow_with_the_days(tmp_path: Path) -> None:
    """A day that is over is forgotten: memory is flat, however long a writer lives."""
    store = open_store(tmp_path, cache_bytes=2**30)
    sizes = []
    for day in range(12):
        for series in (BTC, ETH):
            store.write(series, [make_candle(series, JUNE_30 + day * DAY_MS + at * MINUTE) for at in range(50)])
        sizes.append(store.cached_bytes)
    assert sizes[0] > 0
    assert sizes[1:] == [2 * sizes[0]] * 11
    store.write(BTC, [make_candle(BTC, JUNE_30 + 50 * MINUTE)])
    assert len(frame(store)) == 12 * 50 + 1, "a late one finds its day"
    store.staging.close()
