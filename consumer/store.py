"""One partition replaced at a time: locked, merged with what is on disk, staged, synced, renamed, synced.

The order of a write is the guarantee. Under the series' lock: read what is on disk (or the copy of it that this
process wrote last, if the file is still that very file), merge, write a staged file outside the dataset, fsync it,
rename it over the partition, fsync the folder. A reader sees the old file or the new one, and when ``write`` has
returned, the rows survive a power cut. Whatever fails on the way leaves the old file as it was.

The lock is an ``flock`` on the series' folder itself: it dies with its process and leaves no file behind. Staged
files lie in a folder of their own for each living writer, claimed by the same kind of lock; at start the folders
that nobody holds are swept.
"""

import contextlib
import fcntl
import itertools
import logging
import os
import shutil
import threading
import time
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Self

import pyarrow as pa
import pyarrow.parquet as pq

from consumer.layout import Period, partition_name, period_of, series_folder
from consumer.table import EMPTY, Merged, Rows, from_arrow, merge, rows_from_candles, to_arrow
from shared.candle import Candle, Series
from shared.errors import SeriesLockedError, StoreError

log = logging.getLogger(__name__)

_LOCK_POLL_SECONDS = 0.02
_MOST_WRITERS = 1000


class FileIdentity(NamedTuple):
    """What tells whether a file is still the one that was written: a rename puts another inode in its place."""

    inode: int
    mtime_ns: int
    size: int

    @classmethod
    def of(cls, status: os.stat_result) -> Self:
        """The identity that a stat call shows."""
        return cls(status.st_ino, status.st_mtime_ns, status.st_size)


@dataclass(frozen=True, slots=True)
class Written:
    """What one ``write`` did.

    Attributes:
        files: partitions replaced.
        conflicts: open times (ms) under which different candles met; the order-free rule chose one.
    """

    files: int
    conflicts: tuple[int, ...]


class Staging:
    """This process's folder for files being written, held by a lock until ``close`` or the process's end.

    Args:
        folder: parent of all writers' staging folders; must be on the dataset's filesystem.

    Attributes:
        number: from 1; no two living processes have the same. A process that starts after a crash gets its
            predecessor's number, which is why it serves as the consumer's name too.
    """

    def __init__(self, folder: Path) -> None:
        make_folders(folder)
        for number in range(1, _MOST_WRITERS):
            path = folder / f"writer-{number}"
            fd = _try_lock(path)
            if fd is not None:
                self.number, self.path, self._fd = number, path, fd
                break
        else:
            raise StoreError(f"{folder} holds {_MOST_WRITERS} living writers; there cannot be more")
        self._names = itertools.count()
        _empty(self.path)
        self._sweep(folder)

    def new_path(self) -> Path:
        """A path that no file has. A staging folder that was deleted under us is made again."""
        if not self.path.is_dir():
            fd = _try_lock(self.path)
            if fd is None:
                raise StoreError(f"staging folder {self.path} was deleted and is another writer's now")
            os.close(self._fd)
            self._fd = fd
        return self.path / f"{next(self._names)}.parquet"

    def close(self) -> None:
        """Let go of the folder."""
        os.close(self._fd)

    def remove(self) -> None:
        """Remove the folder, and its parent when no other writer is there, and let go of it."""
        _empty(self.path)
        with contextlib.suppress(OSError):
            self.path.rmdir()
            self.path.parent.rmdir()
        self.close()

    def _sweep(self, folder: Path) -> None:
        for other in folder.iterdir():
            if other == self.path or not other.name.startswith("writer-"):
                continue
            fd = _try_lock(other)
            if fd is not None:
                _empty(other)
                with contextlib.suppress(OSError):
                    other.rmdir()
                os.close(fd)


class Store:
    """The dataset, as a writer sees it. Safe to call from several threads.

    Args:
        root: the dataset's root folder.
        staging: this process's staging folder.
        lock_timeout_seconds: longest wait for a series that another process is writing.
        cache_bytes: most memory for rows kept from one write to the next.
    """

    def __init__(self, root: Path, staging: Staging, lock_timeout_seconds: float, cache_bytes: int) -> None:
        self.root = root
        self.staging = staging
        self._lock_timeout_seconds = lock_timeout_seconds
        self._cache = _Cache(cache_bytes)
        self._durable: set[Path] = set()

    def write(self, series: Series, candles: Sequence[Candle]) -> Written:
        """Store candles of one series; when this returns they are on disk, synced.

        Candles may come in any order and any number of times. Repeats that change nothing write nothing.

        Raises:
            StoreError: when the disk refuses, a file cannot be read or another writer holds the series for longer
                than the lock's time-out. Nothing is half done: earlier rows are as they were, and each partition
                has either all of its new rows or none.
        """
        files, conflicts = 0, list[int]()
        try:
            with self.locked(series) as folder:
                self._sync_ancestors(folder.path)
                for name, part in self._partitions(folder, series, candles).items():
                    new = rows_from_candles(part)
                    merged = self._merge(folder, series, name, new.rows)
                    files += merged.changed
                    conflicts.extend(new.conflicts + merged.conflicts)
        except (OSError, pa.ArrowException) as error:
            raise StoreError(f"{series} cannot be written: {error}") from error
        return Written(files, tuple(conflicts))

    @contextlib.contextmanager
    def locked(self, series: Series) -> Iterator["LockedFolder"]:
        """The series' folder, made if need be, held against all other writers.

        Raises:
            SeriesLockedError: when another writer holds it for longer than the time-out.
        """
        path = self.root / series_folder(series)
        deadline = time.monotonic() + self._lock_timeout_seconds
        while True:
            fd = _open_folder(path)
            try:
                while not _flock(fd):
                    if time.monotonic() > deadline:
                        raise SeriesLockedError(
                            f"{series} is locked by another writer for more than {self._lock_timeout_seconds:g} s"
                        )
                    time.sleep(_LOCK_POLL_SECONDS)
                if _is_same_file(fd, path):
                    yield LockedFolder(path, fd)
                    return
            finally:
                os.close(fd)

    def read_partition(self, path: Path) -> Rows:
        """Rows of one partition; none where the file does not exist.

        Raises:
            StoreError: when the file is damaged or not one of ours. It is left alone.
        """
        try:
            identity = FileIdentity.of(path.stat())
        except FileNotFoundError:
            return EMPTY
        cached = self._cache.get(path, identity)
        return cached if cached is not None else read_partition(path)

    def replace(self, folder: "LockedFolder", name: str, rows: Rows, series: Series) -> None:
        """Put a partition in the place of the one of that name, durably. The folder must be locked."""
        path = folder.path / name
        staged = self.staging.new_path()
        try:
            identity = write_synced(staged, rows, series)
            os.rename(staged, name, dst_dir_fd=folder.fd)  # into what is locked, wherever it is now
        except BaseException:
            self._cache.drop(path)
            staged.unlink(missing_ok=True)
            raise
        os.fsync(folder.fd)
        self._cache.put(path, identity, rows)

    def _merge(self, folder: "LockedFolder", series: Series, name: str, new: Rows) -> Merged:
        merged = merge(self.read_partition(folder.path / name), new)
        if merged.changed:
            self.replace(folder, name, merged.rows, series)
        else:
            os.fsync(folder.fd)  # whoever wrote these rows may have died before the name was durable
        return merged

    def _sync_ancestors(self, folder: Path) -> None:
        """Once for each folder: make its name durable, whoever made it, up to the dataset's root."""
        for path in (folder, *folder.parents):
            if path in self._durable:
                return
            sync_folder(path.parent)
            self._durable.add(path)
            if path == self.root:
                return

    def _partitions(self, folder: "LockedFolder", series: Series, candles: Sequence[Candle]) -> dict[str, list[Candle]]:
        """Candles by the file they belong in: a compacted month where there is one, else the open period's."""
        period = period_of(series.interval)
        parts: dict[str, list[Candle]] = {}
        for candle in candles:
            parts.setdefault(partition_name(period, candle.open_time_ms), []).append(candle)
        if period not in (Period.HOUR, Period.DAY):
            return parts
        merged: dict[str, list[Candle]] = {}
        for name, part in parts.items():
            month = partition_name(Period.MONTH, part[0].open_time_ms)
            target = month if (folder.path / month).exists() else name
            merged.setdefault(target, []).extend(part)
        return merged


class LockedFolder(NamedTuple):
    """A series' folder whose lock is held through ``fd``."""

    path: Path
    fd: int


class _Cache:
    """Rows by partition, each good only while the file on disk is the one they were written to."""

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self._bytes = 0
        self._entries: OrderedDict[Path, tuple[FileIdentity, Rows]] = OrderedDict()
        self._mutex = threading.Lock()

    def get(self, path: Path, identity: FileIdentity) -> Rows | None:
        with self._mutex:
            entry = self._entries.get(path)
            if entry is None or entry[0] != identity:
                return None
            self._entries.move_to_end(path)
            return entry[1]

    def put(self, path: Path, identity: FileIdentity, rows: Rows) -> None:
        with self._mutex:
            self._forget(path)
            self._entries[path] = (identity, rows)
            self._bytes += rows.nbytes
            while self._bytes > self._most_bytes:
                self._forget(next(iter(self._entries)))

    def drop(self, path: Path) -> None:
        with self._mutex:
            self._forget(path)

    def _forget(self, path: Path) -> None:
        entry = self._entries.pop(path, None)
        if entry is not None:
            self._bytes -= entry[1].nbytes


def read_partition(path: Path) -> Rows:
    """Rows of one file, its checksums verified.

    Raises:
        StoreError: when it is damaged or not one of ours.
        FileNotFoundError: when it does not exist.
    """
    try:
        with path.open("rb") as file:
            return from_arrow(pq.ParquetFile(file, page_checksum_verification=True).read(use_threads=False))
    except FileNotFoundError:
        raise
    except (OSError, pa.ArrowException, ValueError) as error:
        raise StoreError(f"{path} is no partition of ours: {error}") from error


def write_synced(path: Path, rows: Rows, series: Series) -> FileIdentity:
    """Write a new file and sync it; returns its identity. The name is not durable until its folder is synced.

    Encoded in memory first, so that the disk sees one write and an encoding error leaves no file.
    """
    sink = pa.BufferOutputStream()
    pq.write_table(
        to_arrow(rows, series.interval), sink, compression="zstd", use_dictionary=False, write_page_checksum=True
    )
    content = memoryview(sink.getvalue())
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
    try:
        while content:
            content = content[os.write(fd, content) :]
        os.fsync(fd)
        return FileIdentity.of(os.fstat(fd))
    finally:
        os.close(fd)


def make_folders(path: Path) -> None:
    """Make a folder and its missing parents, each durable in its own parent."""
    if path.is_dir():
        return
    make_folders(path.parent)
    path.mkdir(exist_ok=True)
    sync_folder(path.parent)


def sync_folder(path: Path) -> None:
    """Make the names in a folder durable."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _open_folder(path: Path) -> int:
    try:
        return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        make_folders(path)
        return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)


def _flock(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _try_lock(path: Path) -> int | None:
    """Lock a folder, made if need be; its descriptor, or None when somebody else holds it."""
    fd = _open_folder(path)
    if _flock(fd) and _is_same_file(fd, path):
        return fd
    os.close(fd)
    return None


def _is_same_file(fd: int, path: Path) -> bool:
    """Whether the path still leads to what was opened: a folder may be swapped or removed while a lock is awaited."""
    try:
        return os.path.samestat(os.fstat(fd), path.stat())
    except FileNotFoundError:
        return False


def _empty(folder: Path) -> None:
    for path in folder.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()
