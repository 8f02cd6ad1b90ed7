"""Partitions replaced, one at a time, whatever fails."""

import fcntl
import multiprocessing
import os
import signal
import stat
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import polars as pl
import pyarrow.parquet as pq
import pytest

from consumer.storage.durable import Staging, read_partition
from consumer.storage.layout import series_folder
from consumer.storage.store import Store
from consumer.storage.table import VALUE_COLUMNS
from shared.candle import Candle, Series
from shared.errors import StoreError
from shared.interval import DAY_MS, Interval
from shared.market import Market
from tests.conftest import BTC, JUNE_30, MINUTE, make_candle, wait_until


def candles(*minutes: int, series: Series = BTC, close: str = "5", trades: int = 1) -> list[Candle]:
    return [make_candle(series, JUNE_30 + at * MINUTE, close, trades) for at in minutes]


def open_store(folder: Path, lock_timeout_seconds: float = 5, cache_bytes: int = 2**20) -> Store:
    return Store(folder / "candles", Staging(folder / "staging"), lock_timeout_seconds, cache_bytes)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = open_store(tmp_path)
    yield store
    store.staging.close()


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def frame(store: Store, series: Series = BTC) -> pd.DataFrame:
    return pd.read_parquet(store.root / series_folder(series))


def minutes(store: Store, series: Series = BTC) -> list[int]:
    begins = frame(store, series)["candle_begin_time"]
    return [(int(begin.timestamp() * 1000) - JUNE_30) // MINUTE for begin in begins]


def test_pandas_reads_a_series_folder_back_sorted_and_unique(store: Store) -> None:
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


def test_duckdb_and_polars_read_the_dataset_with_its_hive_columns(store: Store) -> None:
    monthly = Series(Market.COIN_FUTURES, "BTCUSD_PERP", Interval.MONTH)
    store.write(BTC, candles(1, 2, 2000))
    store.write(monthly, [make_candle(monthly, monthly.interval.floor(JUNE_30))])
    pattern = str(store.root / "**" / "*.parquet")
    counted = "SELECT market, interval, symbol, count(*) FROM read_parquet(?, hive_partitioning=true) GROUP BY ALL"
    rows = sorted(duckdb.execute(counted, [pattern]).fetchall())
    assert rows == [("coin_futures", "1mo", "BTCUSD_PERP", 1), ("usdt_futures", "1m", "BTCUSDT", 3)]
    scanned = pl.scan_parquet(pattern, hive_partitioning=True).group_by("market", "interval", "symbol").len()
    assert sorted(scanned.collect().rows()) == rows


def test_the_dataset_holds_finished_files_in_the_layout_and_nothing_else(store: Store, tmp_path: Path) -> None:
    store.write(BTC, candles(0, 1440))
    assert files(tmp_path) == [
        "candles/market=usdt_futures/interval=1m/symbol=BTCUSDT/2024-06-30.parquet",
        "candles/market=usdt_futures/interval=1m/symbol=BTCUSDT/2024-07-01.parquet",
    ]


def test_repeats_write_nothing(store: Store) -> None:
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


def test_the_copy_in_memory_is_not_trusted_when_the_file_is_another(store: Store, tmp_path: Path) -> None:
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


def test_many_threads_on_one_series_lose_nothing(store: Store) -> None:
    threads = [
        threading.Thread(target=lambda first=first: [store.write(BTC, candles(at)) for at in range(first, 60, 6)])
        for first in range(6)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert minutes(store) == list(range(60))


def write_minutes(folder: Path, first: int) -> None:
    store = open_store(folder, lock_timeout_seconds=30)
    for at in range(first, 90, 3):
        store.write(BTC, candles(at))


def test_many_processes_on_one_series_lose_nothing(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=write_minutes, args=(tmp_path, first)) for first in range(3)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
        assert writer.exitcode == 0
    store = open_store(tmp_path)
    assert minutes(store) == list(range(90))
    store.staging.close()


def write_for_ever(folder: Path) -> None:
    store = open_store(folder)
    for at in range(1_000_000):
        store.write(BTC, candles(at % 1440, close=str(at), trades=at + 1))


def test_a_reader_never_sees_a_torn_file_while_the_writer_writes_and_is_killed(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    folder = tmp_path / "candles" / series_folder(BTC)
    seen = 0
    for _ in range(3):
        writer = context.Process(target=write_for_ever, args=(tmp_path,), daemon=True)
        writer.start()
        wait_until(lambda: any(folder.glob("*.parquet")))
        for _ in range(60):
            found = pd.read_parquet(folder)
            assert found.index.is_unique
            assert found.index.is_monotonic_increasing
            assert len(found) >= seen
            seen = len(found)
        writer.kill()
        writer.join()
    store = open_store(tmp_path)
    store.write(BTC, candles(5000))
    assert 5000 in minutes(store)
    assert files(tmp_path / "staging") == []
    store.staging.close()


def test_a_lock_held_elsewhere_is_a_clear_error_and_changes_nothing(tmp_path: Path) -> None:
    store = open_store(tmp_path, lock_timeout_seconds=0.1)
    store.write(BTC, candles(0))
    fd = os.open(store.root / series_folder(BTC), os.O_RDONLY)
    fcntl.flock(fd, fcntl.LOCK_EX)
    with pytest.raises(StoreError, match=r"usdt_futures BTCUSDT-1m is locked by another writer for more than 0\.1 s"):
        store.write(BTC, candles(1))
    os.close(fd)
    store.write(BTC, candles(1))
    assert minutes(store) == [0, 1]
    store.staging.close()


def hold_lock(folder: Path, held: "multiprocessing.Queue[int]") -> None:
    store = open_store(folder)
    with store.locked(BTC):
        held.put(os.getpid())
        signal.pause()


def test_a_lock_dies_with_its_process(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    held: multiprocessing.Queue[int] = context.Queue()
    holder = context.Process(target=hold_lock, args=(tmp_path, held))
    holder.start()
    held.get(timeout=30)
    store = open_store(tmp_path, lock_timeout_seconds=0.05)
    with pytest.raises(StoreError, match="is locked"):
        store.write(BTC, candles(0))
    holder.kill()
    holder.join()
    store.write(BTC, candles(0))
    assert minutes(store) == [0]
    store.staging.close()


def test_a_file_that_is_not_ours_is_named_and_left_alone(store: Store) -> None:
    store.write(BTC, candles(0))
    path = next(store.root.rglob("*.parquet"))
    for content in (b"", b"not parquet", path.read_bytes()[:-100]):
        path.write_bytes(content)
        with pytest.raises(StoreError, match=f"{path} is no partition of ours"):
            store.write(BTC, candles(1))
        assert path.read_bytes() == content


def test_a_folder_that_is_deleted_meanwhile_is_made_again(store: Store) -> None:
    import shutil

    store.write(BTC, candles(0))
    shutil.rmtree(store.root / "market=usdt_futures")
    store.write(BTC, candles(1))
    assert minutes(store) == [1]


def refuse_files(real: Callable[..., Any], fd: int, *rest: Any) -> Any:
    """A call that fails for files; pipes of others in this process go on."""
    if stat.S_ISREG(os.fstat(fd).st_mode):
        raise OSError(28, "No space left on device")
    return real(fd, *rest)


def test_when_the_disk_refuses_the_old_file_stays_and_nothing_is_left_behind(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk at the write, and a failing sync: injected at the system call, since no disk here is full."""
    store.write(BTC, candles(0))
    for call in ("write", "fsync"):
        with monkeypatch.context() as patch:
            patch.setattr(os, call, partial(refuse_files, getattr(os, call)))
            with pytest.raises(StoreError, match=r"cannot be written: .*No space left on device"):
                store.write(BTC, candles(1))
        assert minutes(store) == [0]
        assert files(tmp_path / "staging") == []
    store.write(BTC, candles(1))
    assert minutes(store) == [0, 1]


def test_living_writers_have_different_numbers_and_a_dead_one_s_is_given_again(tmp_path: Path) -> None:
    one, two = Staging(tmp_path), Staging(tmp_path)
    assert (one.number, two.number) == (1, 2)
    one.close()
    again = Staging(tmp_path)
    assert again.number == 1
    two.close()
    again.close()


def test_staged_files_that_nobody_owns_are_swept_and_a_living_writer_s_are_not(tmp_path: Path) -> None:
    one, two = Staging(tmp_path), Staging(tmp_path)
    one.new_path().write_text("left behind")
    two.new_path().write_text("being written")
    one.close()
    again = Staging(tmp_path)
    assert files(tmp_path) == ["writer-2/0.parquet"]
    again.close()
    two.close()


def test_a_partition_is_read_back_as_it_was_written(store: Store) -> None:
    written = candles(0, 1, 2)
    store.write(BTC, written)
    rows = read_partition(next(store.root.rglob("*.parquet")))
    assert list(rows.times) == [candle.open_time_ms for candle in written]


def test_the_compression_is_zstd_without_dictionaries(store: Store) -> None:
    store.write(BTC, candles(*range(100)))
    group = pq.read_metadata(next(store.root.rglob("*.parquet"))).row_group(0)
    columns = [group.column(number) for number in range(group.num_columns)]
    assert {column.compression for column in columns} == {"ZSTD"}
    assert not any("DICTIONARY" in encoding for column in columns for encoding in column.encodings)


def test_a_candle_of_a_compacted_month_goes_into_the_month_s_file(store: Store) -> None:
    store.write(BTC, candles(0))
    folder = store.root / series_folder(BTC)
    (folder / "2024-06-30.parquet").rename(folder / "2024-06.parquet")
    store.write(BTC, candles(1, -DAY_MS // MINUTE, 1440))
    assert sorted(path.name for path in folder.iterdir()) == ["2024-06.parquet", "2024-07-01.parquet"]
    assert minutes(store) == [-1440, 0, 1, 1440]


def test_rows_whose_name_may_not_be_durable_are_synced_before_they_are_called_written(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The folder's sync fails after the rename; the second try finds the rows there and must sync all the same."""
    store.write(BTC, candles(0))
    synced: list[bool] = []
    real = os.fsync

    def fsync(fd: int) -> None:
        is_folder = os.path.isdir(f"/proc/self/fd/{fd}")  # noqa: PTH112 # a descriptor, not a path
        synced.append(is_folder)
        if is_folder and synced.count(True) == 1:
            raise OSError(5, "Input/output error")
        real(fd)

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(StoreError, match="Input/output error"):
        store.write(BTC, candles(1))
    assert store.write(BTC, candles(1)).files == 0
    assert synced == [False, True, True]


def test_folders_that_others_made_are_made_durable_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "candles" / series_folder(BTC)
    folder.mkdir(parents=True)
    store = open_store(tmp_path)
    synced = set()
    real = os.fsync

    def fsync(fd: int) -> None:
        synced.add(os.readlink(f"/proc/self/fd/{fd}"))  # noqa: PTH115 # a descriptor, not a path
        real(fd)

    monkeypatch.setattr(os, "fsync", fsync)
    store.write(BTC, candles(0))
    assert {str(path) for path in (folder, *folder.parents)} - synced == {str(path) for path in tmp_path.parents}
    store.staging.close()


def test_a_flipped_byte_is_noticed_or_changes_no_row(store: Store) -> None:
    store.write(BTC, candles(*range(200)))
    path = next(store.root.rglob("*.parquet"))
    whole, content = read_partition(path), path.read_bytes()
    noticed = 0
    for at in range(4, len(content), 61):
        damaged = bytearray(content)
        damaged[at] ^= 0x10
        path.write_bytes(damaged)
        try:
            rows = read_partition(path)
        except StoreError:
            noticed += 1
        else:
            assert (rows.times == whole.times).all()
            assert (rows.values == whole.values).all()
    assert noticed > 10


def test_a_staging_folder_that_is_deleted_is_made_again(store: Store, tmp_path: Path) -> None:
    import shutil

    store.write(BTC, candles(0))
    shutil.rmtree(tmp_path / "staging")
    store.write(BTC, candles(1))
    assert minutes(store) == [0, 1]
    other = Staging(tmp_path / "staging")
    assert other.number == 2
    other.close()


def test_ancestors_that_could_not_be_synced_are_synced_by_the_next_try(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The folders stand already, made by somebody else; the first try fails at the topmost sync but one."""
    folder = store.root / series_folder(BTC)
    folder.mkdir(parents=True)
    synced: list[str] = []
    failed: list[bool] = []
    real = os.fsync

    def fsync(fd: int) -> None:
        synced.append(Path(os.readlink(f"/proc/self/fd/{fd}")).name)  # noqa: PTH115 # a descriptor, not a path
        if synced == ["interval=1m", "market=usdt_futures"] and not failed:
            failed.append(True)
            raise OSError(5, "Input/output error")
        real(fd)

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(StoreError, match="Input/output error"):
        store.write(BTC, candles(0))
    synced.clear()
    store.write(BTC, candles(0))
    assert {"interval=1m", "market=usdt_futures", "candles"} <= set(synced)
