"""Storage in a folder of a local file system: staged, synced, locked, compared, renamed, synced.

The order of ``replace`` is its guarantee. Each new content is written to a staged file outside the dataset and synced.
Then, under the folder's lock, every version of the group is compared again, the staged files are renamed over their
targets, and the folder is synced. A reader sees the old file or the new one; when ``replace`` has returned, a power cut
takes nothing of it. Up to the first rename a step that fails leaves the old files as they were; from then on each file
is the old one or the new one, whole.

Several groups take each step together: all are staged, then all synced, renamed, and their folders synced. So the file
system commits its journal a few times instead of twice a group (a third cheaper, docs/benchmarks.md).

A version is the file's identity: inode, time of its last write and size. A rename puts another inode in its place.
"""

import contextlib
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, NamedTuple

from consumer.storage.durable import DurableFolders, Staging, open_folder, write_new
from consumer.storage.interface import NO_VERSION, Change, Content, Damaged, Folder, Version
from consumer.storage.layout import series_of_folder
from consumer.storage.quarantine import Quarantine
from shared.errors import DamagedFileError, SeriesLockedError, StoreError, VersionChangedError
from shared.process.known_folder import KnownFolder
from shared.process.locks import leads_to, lock_within

_LIST_TRIES = 50


class _Identity(NamedTuple):
    inode: int
    mtime_ns: int
    size: int


class LockedFolder(NamedTuple):
    """A folder whose lock is held through ``fd``."""

    path: Path
    fd: int


@dataclass(slots=True)
class _Staged:
    """One new file on its way."""

    change: Change
    path: Path
    fd: int
    identity: Version = NO_VERSION


@dataclass(slots=True)
class _Job:
    """One group on its way; ``error`` takes it out of the steps that follow."""

    changes: Sequence[Change]
    staged: list[_Staged] = field(default_factory=list)
    folder_fd: int = -1
    error: StoreError | None = None


class LocalStorage:
    """Files below a data folder. ``consumer.storage.interface.Storage`` says what its methods promise.

    Whoever only reads needs no ``staging`` folder. A call waits up to ``lock_timeout_seconds`` for folders that another
    process holds.
    """

    def __init__(self, data: Path, staging: Staging | None = None, lock_timeout_seconds: float = 1.0) -> None:
        self.name = str(data)
        self.data = data.absolute()
        self._data_bytes = os.fsencode(self.data / "_")[:-1]
        self._staging = staging
        self._root = None if staging is None else KnownFolder(self.data)
        self._lock_timeout_seconds = lock_timeout_seconds
        self._quarantine = Quarantine(self.data)
        self._folders: dict[str, DurableFolders] = {}

    def check_root(self) -> None:  # noqa: D102 # as the interface says, here and below
        if self._root is not None:
            self._root.check()

    def list_folder(self, folder: str) -> Folder:  # noqa: D102
        path = self._path(folder)
        for _ in range(_LIST_TRIES):
            try:
                with os.scandir(path) as entries:
                    found = list(entries)
            except (FileNotFoundError, NotADirectoryError):
                return Folder((), {})
            except OSError as error:
                raise StoreError(f"{path} cannot be listed: {error}") from error
            with contextlib.suppress(FileNotFoundError):  # moved or swapped since it was listed: list again
                files = {_name(entry.name): entry.stat().st_size for entry in found if not entry.is_dir()}
                return Folder(sorted(_name(entry.name) for entry in found if entry.is_dir()), files)
        raise StoreError(f"{path} cannot be listed: it changes all the time")

    def version(self, key: str) -> Version:  # noqa: D102
        try:
            return _identity(os.stat(self._data_bytes + key.encode()))  # noqa: PTH116 # four times a series and flush
        except (FileNotFoundError, NotADirectoryError):
            return NO_VERSION
        except OSError as error:
            raise StoreError(f"{self._path(key)} cannot be read: {error}") from error

    def await_writers(self, folders: Sequence[str]) -> list[StoreError | None]:  # noqa: D102
        deadline = time.monotonic() + self._lock_timeout_seconds
        return [self._await(folder, deadline) for folder in folders]

    def read(self, key: str) -> Content | None:  # noqa: D102
        path = self._path(key)
        try:
            with path.open("rb") as file:
                return Content(file.read(), _identity(os.fstat(file.fileno())))
        except (FileNotFoundError, NotADirectoryError):
            return None
        except IsADirectoryError as error:
            raise DamagedFileError("it is a folder") from error
        except (OSError, MemoryError) as error:
            raise StoreError(str(error) or "out of memory") from error

    def open(self, key: str) -> BinaryIO:  # noqa: D102
        return self._path(key).open("rb")

    def replace(self, groups: Sequence[Sequence[Change]]) -> list[list[Version] | StoreError]:  # noqa: D102
        deadline = time.monotonic() + self._lock_timeout_seconds
        jobs = [_Job(changes) for changes in groups]
        with contextlib.ExitStack() as locks:
            self._step(jobs, self._stage)
            self._step(jobs, _sync)
            self._step(jobs, lambda job: self._rename(job, locks, deadline))
            self._step(jobs, _sync_names)
        return [job.error or _versions(job) for job in jobs]

    @contextlib.contextmanager
    def locked(self, folder: str, deadline: float | None = None) -> Iterator[LockedFolder]:
        """A folder, made if need be, held against all other writers.

        SeriesLockedError when another one holds it beyond the deadline (monotonic seconds; by default the time-out).
        """
        path = self._path(folder)
        deadline = time.monotonic() + self._lock_timeout_seconds if deadline is None else deadline
        while True:
            self.check_root()
            fd = open_folder(path, self.data)
            try:
                if not lock_within(fd, max(0.0, deadline - time.monotonic())):
                    name = series_of_folder(folder.partition("/")[2]) or path
                    raise SeriesLockedError(
                        f"{name} is locked by another writer for more than {self._lock_timeout_seconds:g} s"
                    )
                if leads_to(path, fd):
                    yield LockedFolder(path, fd)
                    return
            finally:
                os.close(fd)

    def quarantine(self, key: str, version: Version, reason: str, instead: bytes) -> Version:  # noqa: ARG002, D102
        path = self._path(key)
        try:
            with self.locked(key.rpartition("/")[0]):
                if self.version(key) == version:
                    self._quarantine.move(path, reason)
                return NO_VERSION
        except OSError as error:
            raise StoreError(f"{path} cannot be quarantined: {error}") from error

    def damaged(self) -> list[Damaged]:  # noqa: D102
        return self._quarantine.list()

    def refilled(self, damaged: Damaged) -> None:  # noqa: D102
        self._quarantine.refilled(damaged)

    def staged_path(self, suffix: str = "") -> Path:
        """A new path outside the dataset, on its filesystem."""
        if self._staging is None:
            raise StoreError(f"{self.data} was opened for reading only")
        return self._staging.new_path(suffix)

    def _path(self, key: str) -> Path:
        """Where a key lies. Names are UTF-8 on disk, whatever the locale would make of them."""
        return self.data / os.fsdecode(key.encode())

    def _await(self, folder: str, deadline: float) -> StoreError | None:
        try:
            with self.locked(folder, deadline):
                return None
        except StoreError as error:
            return error
        except OSError as error:
            return StoreError(f"{self._path(folder)} cannot be written: {error}")

    def _step(self, jobs: Iterable[_Job], step: Callable[[_Job], None]) -> None:
        """Take one step with each group that has not failed; what fails leaves nothing behind."""
        for job in jobs:
            if job.error is not None:
                continue
            try:
                step(job)
            except StoreError as error:
                job.error = error
            except (OSError, MemoryError) as error:
                job.error = StoreError(f"{_folder(job)} cannot be written: {error or type(error).__name__}")
            except BaseException:
                _discard(job)
                raise
            if job.error is not None:
                _discard(job)

    def _stage(self, job: _Job) -> None:
        """Write what is new into staged files, not synced yet, and make the folder's own name durable."""
        self.check_root()
        root, _, _ = job.changes[0].key.partition("/")
        self._folders.setdefault(root, DurableFolders(self.data / root)).make(self._path(_folder(job)))
        for change in job.changes:
            if change.content is not None:
                path = self.staged_path(Path(change.key).suffix)
                job.staged.append(_Staged(change, path, write_new(path, change.content)))

    def _rename(self, job: _Job, locks: contextlib.ExitStack, deadline: float) -> None:
        job.folder_fd = locks.enter_context(self.locked(_folder(job), deadline)).fd
        for change in job.changes:
            if self.version(change.key) != change.version:
                raise VersionChangedError(f"{self._path(change.key)} has been replaced since it was read")
        for staged in job.staged:
            os.rename(staged.path, self._path(staged.change.key).name, dst_dir_fd=job.folder_fd)  # by descriptor


def _name(name: str) -> str:
    """A name on disk as part of a key: the inverse of ``LocalStorage._path``; what is no UTF-8 is nobody's key."""
    return os.fsencode(name).decode(errors="replace")


def _identity(status: os.stat_result) -> _Identity:
    return _Identity(status.st_ino, status.st_mtime_ns, status.st_size)


def _folder(job: _Job) -> str:
    return job.changes[0].key.rpartition("/")[0]


def _sync(job: _Job) -> None:
    for staged in job.staged:
        os.fsync(staged.fd)
        staged.identity = _identity(os.fstat(staged.fd))
        fd, staged.fd = staged.fd, -1  # it is closed whatever close answers
        os.close(fd)


def _sync_names(job: _Job) -> None:
    """Make the names durable: ours, or those of a writer that died before it could."""
    os.fsync(job.folder_fd)


def _discard(job: _Job) -> None:
    for staged in job.staged:
        if staged.fd >= 0:
            os.close(staged.fd)
            staged.fd = -1
        with contextlib.suppress(OSError):
            staged.path.unlink(missing_ok=True)


def _versions(job: _Job) -> list[Version]:
    new = {staged.change.key: staged.identity for staged in job.staged}
    return [new.get(change.key, change.version) for change in job.changes]
