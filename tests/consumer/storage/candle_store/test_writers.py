"""Several writers at once, readers beside them, and locks."""

import fcntl
import multiprocessing
import os
import signal
import threading
from pathlib import Path

import pandas as pd
import pytest

from consumer.storage.layout import series_folder
from shared.errors import StoreError
from tests.support.candles import BTC
from tests.support.partitions import candles, files, minutes, open_store
from tests.support.stores import DataFolder
from tests.support.waiting import wait_until


def test_many_threads_on_one_series_lose_nothing(store: DataFolder) -> None:
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


def test_a_file_that_is_not_ours_is_named_and_left_alone(store: DataFolder) -> None:
    store.write(BTC, candles(0))
    path = next(store.root.rglob("*.parquet"))
    for content in (b"", b"not parquet", path.read_bytes()[:-100]):
        path.write_bytes(content)
        with pytest.raises(StoreError, match=f"{path} is no partition of ours"):
            store.write(BTC, candles(1))
        assert path.read_bytes() == content


def test_a_folder_that_is_deleted_meanwhile_is_made_again(store: DataFolder) -> None:
    import shutil

    store.write(BTC, candles(0))
    shutil.rmtree(store.root / "market=usdt_futures")
    store.write(BTC, candles(1))
    assert minutes(store) == [1]
