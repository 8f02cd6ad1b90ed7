"""Candles into partitions: locked, merged with what is on disk, staged, synced, renamed, synced.

The order of a write is the guarantee. Under the series' lock: read what is on disk (or the copy of it that this
process wrote last, if the file is still that very file), merge, write a staged file outside the dataset, fsync it,
rename it over the partition, fsync the folder. A reader sees the old file or the new one, and when ``write`` has
returned, the rows survive a power cut. Whatever fails on the way leaves the old file as it was.

Several series are written step by step together: all staged, then all synced, then all renamed, then all folders
synced. Each series keeps the order above, and the file system commits its journal a few times instead of twice a
series (a third cheaper, docs/benchmarks.md).
"""

import contextlib
import logging
import os
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from consumer.storage.durable import (
    DurableFolders,
    FileIdentity,
    LockedFolder,
    Staging,
    is_same_file,
    open_folder,
    read_partition,
    try_flock,
    write_unsynced,
)
from consumer.storage.layout import Period, partition_name, partition_span, period_of, series_folder
from consumer.storage.quarantine import Aside
from consumer.storage.table import EMPTY, Merged, Rows, merge, rows_from_candles
from shared.candle import Candle, Series
from shared.errors import DamagedFileError, SeriesLockedError, StoreError, UnstorableError

log = logging.getLogger(__name__)

_LOCK_POLL_SECONDS = 0.02


@dataclass(frozen=True, slots=True)
class Written:
    """What one ``write`` did.

    Attributes:
        files: partitions replaced.
        conflicts: open times (ms) under which different candles met; the order-free rule chose one.
    """

    files: int
    conflicts: tuple[int, ...]


@dataclass(slots=True)
class _Replacement:
    """One partition on its way to disk."""

    name: str
    rows: Rows
    staged: Path
    fd: int
    identity: FileIdentity | None = None


@dataclass(slots=True)
class _Job:
    """One series on its way to disk; ``error`` takes it out of the steps that follow."""

    series: Series
    folder: LockedFolder | None = None
    replacements: list[_Replacement] = field(default_factory=list)
    conflicts: list[int] = field(default_factory=list)
    error: StoreError | None = None


class Store:
    """The dataset, as a writer sees it. Safe to call from several threads.

    Args:
        root: the dataset's root folder.
        staging: this process's staging folder.
        lock_timeout_seconds: longest wait for series that another process is writing, in one call.
        cache_bytes: most memory for rows kept from one write to the next.
        aside: where a partition goes that is damaged or not ours; None: it stays, and cannot be written.
    """

    def __init__(
        self,
        root: Path,
        staging: Staging,
        lock_timeout_seconds: float,
        cache_bytes: int,
        aside: Aside | None = None,
    ) -> None:
        self.root = root
        self.staging = staging
        self._lock_timeout_seconds = lock_timeout_seconds
        self._aside = aside
        self._faults: set[str] = set()
        self._cache = _Cache(cache_bytes)
        self._folders = DurableFolders(root)

    def write(self, series: Series, candles: Sequence[Candle]) -> Written:
        """Store candles of one series; when this returns they are on disk, synced.

        Candles may come in any order and any number of times. Repeats that change nothing write nothing.

        Raises:
            StoreError: when the disk refuses, a file cannot be read or another writer holds the series for longer
                than the lock's time-out. Nothing is half done: earlier rows are as they were, and each partition
                has either all of its new rows or none.
        """
        return _one(self.write_many([(series, candles)]))

    def write_rows(self, series: Series, rows: Rows) -> Written:
        """Store rows of one series, as ``write`` does candles: for those that were never anything but numbers.

        Each partition that changes is an open file until all are synced: hand over some hundred of them at most.
        """
        return _one(self._write([(series, lambda: Merged(rows, changed=True, conflicts=()))]))

    def write_many(self, groups: Iterable[tuple[Series, Sequence[Candle]]]) -> list[Written | StoreError]:
        """Store candles of several series, each named once.

        Returns:
            For each series, in order, what ``write`` would return or raise; one that fails holds up no other.
        """
        return self._write((series, partial(rows_from_candles, candles)) for series, candles in groups)

    def _write(self, groups: Iterable[tuple[Series, Callable[[], Merged]]]) -> list[Written | StoreError]:
        """All steps of a write, for all series together, each with what makes its rows."""
        deadline = time.monotonic() + self._lock_timeout_seconds
        jobs = []
        with contextlib.ExitStack() as locks:
            for series, make_rows in groups:
                job = _Job(series)
                jobs.append(job)
                self._step([job], partial(self._stage, make_rows=make_rows, locks=locks, deadline=deadline))
            self._step(jobs, self._sync)
            self._step(jobs, self._rename)
            self._step(jobs, self._settle)
        return [job.error or Written(len(job.replacements), tuple(job.conflicts)) for job in jobs]

    @contextlib.contextmanager
    def locked(self, series: Series, deadline: float | None = None) -> Iterator[LockedFolder]:
        """The series' folder, made if need be, held against all other writers.

        Raises:
            SeriesLockedError: when another writer holds it beyond the deadline (monotonic; by default the time-out).
        """
        path = self.root / series_folder(series)
        deadline = time.monotonic() + self._lock_timeout_seconds if deadline is None else deadline
        while True:
            fd = open_folder(path)
            try:
                while not try_flock(fd):
                    if time.monotonic() > deadline:
                        raise SeriesLockedError(
                            f"{series} is locked by another writer for more than {self._lock_timeout_seconds:g} s"
                        )
                    time.sleep(_LOCK_POLL_SECONDS)
                if is_same_file(fd, path):
                    yield LockedFolder(path, fd)
                    return
            finally:
                os.close(fd)

    def _step(self, jobs: Iterable[_Job], step: Callable[[_Job], None]) -> None:
        """Take one step with each job that has not failed; what fails leaves nothing behind."""
        for job in jobs:
            if job.error is not None:
                continue
            try:
                step(job)
            except StoreError as error:
                job.error = error
            except (OSError, MemoryError) as error:
                job.error = StoreError(f"{job.series} cannot be written: {error or type(error).__name__}")
            except Exception as error:
                if repr(error) not in self._faults:  # it will be tried again and again
                    self._faults.add(repr(error))
                    log.exception("a fault of ours while %s was written", job.series)
                job.error = UnstorableError(f"{job.series} cannot be written, by a fault of ours: {error!r}")
            except BaseException:
                self._discard(job)
                raise
            if job.error is not None:
                self._discard(job)

    def _stage(self, job: _Job, make_rows: Callable[[], Merged], locks: contextlib.ExitStack, deadline: float) -> None:
        """Lock the series, merge, and write what changes into staged files, not synced yet."""
        new = make_rows()
        job.folder = locks.enter_context(self.locked(job.series, deadline))
        self._folders.make(job.folder.path)
        job.conflicts.extend(new.conflicts)
        for name, part in _partitions(job.folder, job.series, new.rows):
            merged = merge(self._read(job.folder.path / name), part)
            job.conflicts.extend(merged.conflicts)
            if merged.changed:
                staged = self.staging.new_path()
                fd = write_unsynced(staged, merged.rows, job.series.interval)
                job.replacements.append(_Replacement(name, merged.rows, staged, fd))

    def _sync(self, job: _Job) -> None:
        for replacement in job.replacements:
            os.fsync(replacement.fd)
            replacement.identity = FileIdentity.of(os.fstat(replacement.fd))
            fd, replacement.fd = replacement.fd, -1  # it is closed whatever close answers
            os.close(fd)

    def _rename(self, job: _Job) -> None:
        assert job.folder is not None  # noqa: S101 # set when it was staged
        for replacement in job.replacements:
            os.rename(replacement.staged, replacement.name, dst_dir_fd=job.folder.fd)  # by descriptor

    def _settle(self, job: _Job) -> None:
        """Make the names durable: ours, or those of a writer that died before it could."""
        assert job.folder is not None  # noqa: S101
        os.fsync(job.folder.fd)
        for replacement in job.replacements:
            if replacement.identity is not None:
                self._cache.put(job.folder.path / replacement.name, replacement.identity, replacement.rows)

    def _discard(self, job: _Job) -> None:
        for replacement in job.replacements:
            if replacement.fd >= 0:
                os.close(replacement.fd)
                replacement.fd = -1
            with contextlib.suppress(OSError):
                replacement.staged.unlink(missing_ok=True)
            if job.folder is not None:
                self._cache.drop(job.folder.path / replacement.name)

    def _read(self, path: Path) -> Rows:
        """Rows of one partition, from memory if the file is the one that was written; none where there is no file.

        A file that is damaged or not ours goes aside, if it may; then there is none.
        """
        try:
            identity = FileIdentity.of(path.stat())
        except FileNotFoundError:
            return EMPTY
        cached = self._cache.get(path, identity)
        if cached is not None:
            return cached
        try:
            return _checked(path, read_partition(path))
        except DamagedFileError as error:
            if self._aside is None:
                raise
            self._aside.move(path, str(error))
            return EMPTY


def _checked(path: Path, rows: Rows) -> Rows:
    """The rows of a partition, if they belong into it."""
    span = partition_span(path.name)
    if span is None or (len(rows) and not span[0] <= rows.times[0] <= rows.times[-1] < span[1]):
        raise DamagedFileError(f"{path} is no partition of ours: its rows open in another time")
    return rows


def _one(results: Sequence[Written | StoreError]) -> Written:
    """The only result there is; an error is raised."""
    result = results[0]
    if isinstance(result, StoreError):
        raise result
    return result


def _partitions(folder: LockedFolder, series: Series, rows: Rows) -> Iterator[tuple[str, Rows]]:
    """Rows by the file they belong in: a compacted month where there is one, else the open period's."""
    period = period_of(series.interval)
    at = 0
    while at < len(rows):
        begin_ms = int(rows.times[at])
        name = partition_name(period, begin_ms)
        month = partition_name(Period.MONTH, begin_ms)
        if period in (Period.HOUR, Period.DAY) and (folder.path / month).exists():
            name = month
        span = partition_span(name)
        assert span is not None  # noqa: S101 # the name was made for a time
        part = rows.between(begin_ms, span[1])
        yield name, part
        at += len(part)


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
