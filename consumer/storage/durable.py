"""Files and folders that survive a crash: staged, synced, locked. What is in them is others' affair.

A staged file is written whole and synced before anyone gives it its name; a folder is made together with its name's
durability; a lock is an ``flock`` on a folder itself, so it dies with its process and leaves no file behind. A folder
may be swapped or removed while its lock is awaited: a lock is good only if its path still leads to what was locked.
"""

import contextlib
import errno
import fcntl
import itertools
import os
import shutil
from pathlib import Path
from typing import NamedTuple, Self, cast

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from consumer.storage.table import INDEX_COLUMN, Rows, from_arrow, to_arrow
from shared.errors import DamagedFileError, StoreError
from shared.interval import Interval

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


class LockedFolder(NamedTuple):
    """A series' folder whose lock is held through ``fd``."""

    path: Path
    fd: int


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


def read_partition(path: Path) -> Rows:
    """Rows of one file, its checksums verified.

    Raises:
        DamagedFileError: when it is damaged, not one of ours, or no file.
        StoreError: when the disk, or the memory that there is, does not let it be read.
        FileNotFoundError: when it does not exist.
    """
    return read_partition_and_ends(path)[0]


def read_partition_and_ends(path: Path) -> "tuple[Rows, npt.NDArray[np.int64]]":
    """``read_partition``, and the ``candle_end_time`` that each row was stored with, in UTC ms."""
    try:
        with path.open("rb") as file:
            table = pq.ParquetFile(file, page_checksum_verification=True).read(use_threads=False)
        return from_arrow(table), cast("npt.NDArray[np.int64]", table.column(INDEX_COLUMN).cast(pa.int64()).to_numpy())
    except FileNotFoundError:
        raise
    except (MemoryError, pa.ArrowMemoryError) as error:
        raise StoreError(f"{path} cannot be read: {error or 'out of memory'}") from error
    except (OSError, pa.ArrowException, ValueError) as error:
        if isinstance(error, OSError) and error.errno not in (None, errno.EISDIR):  # Arrow's own have no number
            raise StoreError(f"{path} cannot be read: {error}") from error
        raise DamagedFileError(f"{path} is no partition of ours: {error}") from error


def write_unsynced(path: Path, rows: Rows, interval: Interval) -> int:
    """Write a new partition file; its open descriptor, to be synced and closed.

    Encoded in memory first, so that the disk sees one write and an encoding error leaves no file.
    """
    try:
        sink = pa.BufferOutputStream()
        table = to_arrow(rows, interval)
        pq.write_table(table, sink, compression="zstd", use_dictionary=False, write_page_checksum=True)
        content = memoryview(sink.getvalue())
    except pa.ArrowMemoryError as error:
        raise MemoryError(str(error)) from error
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
    try:
        while content:
            content = content[os.write(fd, content) :]
    except BaseException:
        os.close(fd)
        path.unlink(missing_ok=True)
        raise
    return fd


def make_folders(path: Path) -> None:
    """Make a folder and its missing parents, each durable in its own parent."""
    if path.is_dir():
        return
    make_folders(path.parent)
    path.mkdir(exist_ok=True)
    sync_folder(path.parent)


class DurableFolders:
    """Folders whose names survive a power cut, whoever made them: each is looked at once in a process's life.

    A folder that is there may have been made by a process that died before it could sync the name.

    Args:
        root: the topmost folder that is looked at.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._known: set[Path] = set()

    def make(self, folder: Path) -> None:
        """Make a folder below the root if need be, and every name on the way to it durable."""
        make_folders(folder)
        fresh = []
        for path in (folder, *folder.parents):
            if path in self._known:
                break
            sync_folder(path.parent)
            fresh.append(path)
            if path == self._root:
                break
        self._known.update(fresh)


def sync_folder(path: Path) -> None:
    """Make the names in a folder durable."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def open_folder(path: Path) -> int:
    """A descriptor of a folder, made if need be."""
    try:
        return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        make_folders(path)
        return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)


def try_flock(fd: int) -> bool:
    """Lock what is open, if nobody else has it locked."""
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _try_lock(path: Path) -> int | None:
    """Lock a folder, made if need be; its descriptor, or None when somebody else holds it."""
    fd = open_folder(path)
    if try_flock(fd) and is_same_file(fd, path):
        return fd
    os.close(fd)
    return None


def is_same_file(fd: int, path: Path) -> bool:
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
