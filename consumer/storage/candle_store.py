"""Candles into partitions: each is read with its version, merged, and replaced if the version still holds.

Merging does not depend on order: whoever finds that another writer was faster reads and merges again, and nothing is
lost or doubled. A compacted month's partition takes the month's candles. While there is none, a small file is changed
only under the condition that there is still none.
"""

import logging
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial

from consumer.storage.codec import encode, read_partition
from consumer.storage.interface import NO_VERSION, Change, Storage, Version
from consumer.storage.layout import Period, candles_key, partition_name, partition_span, period_of
from consumer.storage.table import EMPTY, Merged, Rows, merge, override, rows_from_candles
from shared.candle import Candle, Series
from shared.errors import DamagedFileError, InternalStoreError, SeriesLockedError, StoreError, VersionChangedError
from shared.interval import Interval
from shared.process.once import SayOnce

log = logging.getLogger(__name__)

_TRIES = 50  # against other writers of the same series; one of all who try succeeds each time
_CACHED_PARTITIONS = 2  # of a series


@dataclass(frozen=True, slots=True)
class Written:
    """What one write did: partitions replaced, open times (ms) under which different candles met, and bytes written."""

    files: int = 0
    conflicts: tuple[int, ...] = ()
    nbytes: int = 0


@dataclass(slots=True)
class _Job:
    """One series on its way; ``error`` says why it cannot go on."""

    series: Series
    make_rows: Callable[[], Merged]
    merge: Callable[[Rows, Rows], Merged] = merge
    changes: list[Change] = field(default_factory=list)
    rows: dict[str, Rows] = field(default_factory=dict)
    conflicts: list[int] = field(default_factory=list)
    error: StoreError | None = None

    @property
    def nbytes(self) -> int:
        """Bytes of all files that it writes."""
        return sum(len(change.content) for change in self.changes if change.content is not None)


class CandleStore:
    """The dataset, as a writer sees it. Safe to call from several threads.

    Up to ``cache_bytes`` of rows are kept from one write to the next. A partition that is damaged or not ours is
    quarantined if the store ``quarantines``; otherwise it stays, and its series cannot be written.
    """

    def __init__(self, storage: Storage, cache_bytes: int = 0, *, quarantines: bool = False) -> None:
        self.storage = storage
        self._quarantines = quarantines
        self._cache = _Cache(cache_bytes)
        self._log_once = SayOnce(log.exception)  # it will be tried again and again

    @property
    def cached_bytes(self) -> int:
        """Bytes of the rows that are kept from one write to the next."""
        return self._cache.nbytes

    def write(self, series: Series, candles: Sequence[Candle]) -> Written:
        """Store candles of one series; when this returns they are durable.

        Candles may come in any order and any number of times. Repeats that change nothing write nothing. StoreError
        when the storage refuses, a file cannot be read or another writer holds the series for too long. Then earlier
        rows are as they were, and each partition has either all of its new rows or none.
        """
        return _only(self.write_many([(series, candles)]))

    def write_rows(self, series: Series, rows: Rows, *, overrides: bool = False) -> Written:
        """Store rows of one series, as ``write`` does candles: for those that were never anything but numbers.

        If it ``overrides``, they take the place of rows with the same open time, whatever those hold.
        Each partition that changes is an open file until all are synced: hand over some hundred of them at most.
        """
        made = partial(Merged, rows, changed=True, conflicts=())
        return _only(self._write([_Job(series, made, override if overrides else merge)]))

    def write_many(self, groups: Iterable[tuple[Series, Sequence[Candle]]]) -> list[Written | StoreError]:
        """Store candles of several series, each named once; for each in turn what ``write`` would return or raise."""
        return self._write([_Job(series, partial(rows_from_candles, candles)) for series, candles in groups])

    def _write(self, jobs: Sequence[_Job]) -> list[Written | StoreError]:
        trying = jobs
        for _ in range(_TRIES):
            folders = [candles_key(job.series) for job in trying]
            for job, error in zip(trying, self.storage.await_writers(folders), strict=True):
                job.error = error
                if error is None:
                    self._merge(job)
            self._replace([job for job in trying if job.error is None and job.changes])
            trying = [job for job in trying if isinstance(job.error, VersionChangedError)]
            if not trying:
                break
        for job in trying:
            job.error = SeriesLockedError(f"{job.series}: other writers were faster {_TRIES} times: {job.error}")
        return [job.error or Written(len(job.rows), tuple(job.conflicts), job.nbytes) for job in jobs]

    def _merge(self, job: _Job) -> None:
        """Merge with what is stored, and make what has to be changed."""
        job.changes, job.rows, job.conflicts = [], {}, []
        try:
            new = job.make_rows()
            job.conflicts.extend(new.conflicts)
            for key, conditions, part in self._partitions(job.series, new.rows):
                version, stored = self._read(key, job.series.interval)
                merged = job.merge(stored, part)
                job.conflicts.extend(merged.conflicts)
                content = encode(merged.rows, job.series.interval) if merged.changed else None
                job.changes += [*conditions, Change(key, version, content)]
                if content is not None:
                    job.rows[key] = merged.rows
        except StoreError as error:
            job.error = error
        except (OSError, MemoryError) as error:
            job.error = StoreError(f"{job.series} cannot be written: {error or type(error).__name__}")
        except Exception as error:  # noqa: BLE001 # it is logged, once
            text = f"{job.series} cannot be written, by an internal error: {error!r}"
            self._log_once("%s", text)
            job.error = InternalStoreError(text)

    def _replace(self, jobs: Sequence[_Job]) -> None:
        for job, result in zip(jobs, self.storage.replace([job.changes for job in jobs]), strict=True):
            if isinstance(result, StoreError):
                job.error = result
                for key in job.rows:
                    self._cache.drop(key)
                continue
            for change, version in zip(job.changes, result, strict=True):
                if change.key in job.rows:
                    self._cache.put(change.key, version, job.rows[change.key])

    def _read(self, key: str, interval: Interval) -> tuple[Version, Rows]:
        """Version and rows of one partition, from memory if they are what was written last; none where there is none.

        One that is damaged or not ours is quarantined, if that may be; then there is none.
        """
        version = self.storage.version(key)
        if version is NO_VERSION:
            return NO_VERSION, EMPTY
        cached = self._cache.get(key, version)
        if cached is not None:
            return version, cached
        try:
            found = read_partition(self.storage, key)
            if found is None:
                return NO_VERSION, EMPTY
            version = found.version
            self._check_span(key, found.rows)
        except DamagedFileError as error:
            if not self._quarantines:
                raise
            return self.storage.quarantine(key, version, str(error), encode(EMPTY, interval)), EMPTY
        return version, found.rows

    def _check_span(self, key: str, rows: Rows) -> None:
        span = partition_span(key.rpartition("/")[2])
        if span is None or (len(rows) and not span[0] <= rows.times[0] <= rows.times[-1] < span[1]):
            raise DamagedFileError(f"{self.storage.name}/{key} is no partition of ours: its rows open in another time")

    def _partitions(self, series: Series, rows: Rows) -> Iterator[tuple[str, list[Change], Rows]]:
        """Rows by the partition they belong in, and what must be so: a compacted month, or that there is none."""
        period = period_of(series.interval)
        while len(rows):
            begin_ms = int(rows.times[0])
            name, conditions = partition_name(period, begin_ms), list[Change]()
            if period in (Period.HOUR, Period.DAY):
                month = partition_name(Period.MONTH, begin_ms)
                if self.storage.version(candles_key(series, month)) is NO_VERSION:
                    conditions = [Change(candles_key(series, month), NO_VERSION)]
                else:
                    name = month
            span = partition_span(name)
            assert span is not None  # noqa: S101 # the name was made for a time
            part = rows.between(begin_ms, span[1])
            yield candles_key(series, name), conditions, part
            rows = Rows(rows.times[len(part) :], rows.values[:, len(part) :])


def _only(results: Sequence[Written | StoreError]) -> Written:
    """The only result there is; an error is raised."""
    (result,) = results
    if isinstance(result, StoreError):
        raise result
    return result


class _Cache:
    """Rows by partition, each good only while the partition has the version that they were written as.

    Of a series it keeps the two partitions that were written last: the one that grows, and the one before it for what
    comes late. A period that is over is forgotten, however large the bound.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._bytes = 0
        self._entries: OrderedDict[str, tuple[Version, Rows]] = OrderedDict()
        self._by_folder: dict[str, list[str]] = {}  # keys, written last last
        self._mutex = threading.RLock()

    @property
    def nbytes(self) -> int:
        """Bytes of all rows that are kept."""
        return self._bytes

    def get(self, key: str, version: Version) -> Rows | None:
        with self._mutex:
            stored_as, rows = self._entries.get(key, (NO_VERSION, None))
            if rows is None or stored_as != version:
                return None
            self._entries.move_to_end(key)
            return rows

    def put(self, key: str, version: Version, rows: Rows) -> None:
        with self._mutex:
            self.drop(key)
            self._entries[key] = (version, rows)
            self._bytes += rows.nbytes
            written = self._by_folder.setdefault(_folder(key), [])
            written.append(key)
            if len(written) > _CACHED_PARTITIONS:
                self.drop(written[0])
            while self._bytes > self._max_bytes:
                self.drop(next(iter(self._entries)))

    def drop(self, key: str) -> None:
        with self._mutex:
            _, rows = self._entries.pop(key, (NO_VERSION, EMPTY))
            self._bytes -= rows.nbytes
            written = self._by_folder.get(_folder(key), [])
            if key in written:
                written.remove(key)
                if not written:
                    del self._by_folder[_folder(key)]


def _folder(key: str) -> str:
    return key.rpartition("/")[0]
