"""Disks that refuse, folders that are deleted, and what a power cut could take."""

import os
import stat
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from consumer.storage.codec import decode
from consumer.storage.durable import Staging
from consumer.storage.layout import series_folder
from consumer.storage.table import Rows
from shared.errors import StoreError
from shared.interval import DAY_MS
from tests.support.candles import BTC, MINUTE
from tests.support.partitions import candles, files, minutes, open_store
from tests.support.stores import DataFolder


def decoded(path: Path) -> Rows:
    return decode(path.read_bytes())[0]


def refuse_files(real: Callable[..., Any], fd: int, *rest: Any) -> Any:
    """A call that fails for files; pipes of others in this process go on."""
    if stat.S_ISREG(os.fstat(fd).st_mode):
        raise OSError(28, "No space left on device")
    return real(fd, *rest)


def test_when_the_disk_refuses_the_old_file_stays_and_nothing_is_left_behind(
    store: DataFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
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
    assert files(tmp_path) == ["writer-2/0"]
    again.close()
    two.close()


def test_writers_that_start_at_one_moment_each_get_a_folder_of_their_own(tmp_path: Path) -> None:
    """Each makes a folder before it locks it, and removes those that nobody has locked."""
    together = threading.Barrier(4, timeout=20)

    def begin(parent: Path) -> int:
        together.wait()
        staging = Staging(parent)
        together.wait()
        staging.close()
        return staging.number

    with ThreadPoolExecutor(4) as pool:
        for number in range(100):
            begun = [pool.submit(begin, tmp_path / str(number)) for _ in range(4)]
            assert len({done.result() for done in begun}) == 4


def test_a_partition_is_read_back_as_it_was_written(store: DataFolder) -> None:
    written = candles(0, 1, 2)
    store.write(BTC, written)
    rows = decoded(next(store.root.rglob("*.parquet")))
    assert list(rows.times) == [candle.open_time_ms for candle in written]


def test_the_compression_is_zstd_without_dictionaries(store: DataFolder) -> None:
    store.write(BTC, candles(*range(100)))
    group = pq.read_metadata(next(store.root.rglob("*.parquet"))).row_group(0)
    columns = [group.column(number) for number in range(group.num_columns)]
    assert {column.compression for column in columns} == {"ZSTD"}
    assert not any("DICTIONARY" in encoding for column in columns for encoding in column.encodings)


def test_a_candle_of_a_compacted_month_goes_into_the_month_s_file(store: DataFolder) -> None:
    store.write(BTC, candles(0))
    folder = store.root / series_folder(BTC)
    (folder / "2024-06-30.parquet").rename(folder / "2024-06.parquet")
    store.write(BTC, candles(1, -DAY_MS // MINUTE, 1440))
    assert sorted(path.name for path in folder.iterdir()) == ["2024-06.parquet", "2024-07-01.parquet"]
    assert minutes(store) == [-1440, 0, 1, 1440]


def test_rows_whose_name_may_not_be_durable_are_synced_before_they_are_called_written(
    store: DataFolder, monkeypatch: pytest.MonkeyPatch
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


def test_a_flipped_byte_is_noticed_or_changes_no_row(store: DataFolder) -> None:
    store.write(BTC, candles(*range(200)))
    path = next(store.root.rglob("*.parquet"))
    whole, content = decoded(path), path.read_bytes()
    noticed = 0
    for at in range(4, len(content), 61):
        damaged = bytearray(content)
        damaged[at] ^= 0x10
        path.write_bytes(damaged)
        try:
            rows = decoded(path)
        except StoreError:
            noticed += 1
        else:
            assert (rows.times == whole.times).all()
            assert (rows.values == whole.values).all()
    assert noticed > 10


def test_a_staging_folder_that_is_deleted_is_made_again(store: DataFolder, tmp_path: Path) -> None:
    import shutil

    store.write(BTC, candles(0))
    shutil.rmtree(tmp_path / "staging")
    store.write(BTC, candles(1))
    assert minutes(store) == [0, 1]
    other = Staging(tmp_path / "staging")
    assert other.number == 2
    other.close()


def test_ancestors_that_could_not_be_synced_are_synced_by_the_next_try(
    store: DataFolder, monkeypatch: pytest.MonkeyPatch
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
