"""Closed months: many small partitions become one, when the user asks for it.

Hour and day files of a month that is over are joined into the month's file. A reader must always see one or the other,
which two renames cannot promise. So a whole new folder is prepared beside the dataset (hard links to what stays, the
month's file new), synced, and swapped with the series' folder in one step: ``renameat2`` with ``RENAME_EXCHANGE``
(Linux 3.15, renameat2(2)). The old folder is kept for a moment, for readers that are listing it.

For one reader that is not enough: Arrow lists a folder, then looks at each name again, and leaves out without a word
what is gone by then. A plain ``pandas.read_parquet`` in that instant would miss the month (seen; docs/decisions.md,
"The writer joins files only when it is told to"); ``candlewick.open()`` reads again instead. So it is done when the
user says so: by the command, or by the setting ``writer.compact``. Every other change replaces one file under one name,
where no reader can be wrong.
"""

import ctypes
import errno
import logging
import os
import shutil
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from consumer.dataset.dataset import Dataset, PartitionFile
from consumer.storage.codec import encode
from consumer.storage.durable import Staging, sync_folder, write_new
from consumer.storage.interface import Storage
from consumer.storage.kinds import open_storage
from consumer.storage.layout import SUFFIX, Period, candles_key, partition_name, period_of
from consumer.storage.local import LocalStorage, LockedFolder
from consumer.storage.table import concatenate
from shared.candle import Series
from shared.errors import StoreError
from shared.interval import DAY_MS, Interval
from shared.settings.model import Settings

log = logging.getLogger(__name__)

GRACE_MS = 2 * DAY_MS
"""A month counts as over when its series has a candle that opens so long after it."""

_OLD_SECONDS = 1.0  # for readers that were listing a folder when it was swapped
_AT_FDCWD = -100
_RENAME_EXCHANGE = 2


class Compacted(NamedTuple):
    """How many small files were joined into how many months, and why some were not, a line each."""

    files: int
    months: int
    failures: list[str]


def compact(storage: Storage, series: Iterable[Series]) -> Compacted:
    """Join what is over of these series. What stands in the way of one month bars no other.

    StoreError when folders cannot be swapped here. Months that were joined before stay joined.
    """
    dataset, files, joined_months, old_folders, failures = Dataset(storage), 0, 0, list[Path](), list[str]()
    try:
        for chosen in series:
            try:
                months = closed_months(dataset, chosen)
            except StoreError as error:
                failures.append(f"{chosen}: {error}")
                continue
            for month in months:
                try:
                    joined, old = _join(storage, chosen, month)
                except StoreError as error:
                    failures.append(f"{chosen}, {month}: {error}")
                    continue
                files += joined
                joined_months += joined > 0
                old_folders += [old] if old else []
    except OSError as error:
        raise StoreError(f"months cannot be joined here: {error}") from error
    finally:
        if old_folders:
            time.sleep(_OLD_SECONDS)
        for old in old_folders:
            shutil.rmtree(old, ignore_errors=True)
    return Compacted(files, joined_months, failures)


def compact_here(settings: Settings, series: Sequence[Series]) -> Compacted:
    """``compact`` in the store of these settings, which is opened for it."""
    staging = Staging(settings.staging_folder)
    try:
        return compact(open_storage(settings, staging, settings.writer.lock_timeout_seconds), series)
    finally:
        staging.close()


def closed_months(dataset: Dataset, series: Series) -> list[str]:
    """File names of the months of a series that are over and still lie in small files, oldest first.

    What is over is told by the series' own newest candle, never by a clock; of a series that has ended all is.
    """
    partitions = dataset.partitions(series)
    if not partitions or period_of(series.interval) not in (Period.HOUR, Period.DAY):
        return []
    newest = dataset.partition(partitions[-1])
    last_ms = int(newest.times[-1]) if newest is not None and len(newest) else 0
    closed_before = Interval.MONTH.floor(last_ms - GRACE_MS)
    if dataset.metadata(series).end_ms is not None:
        closed_before = Interval.MONTH.end(Interval.MONTH.floor(last_ms))
    months = {
        part.name: partition_name(Period.MONTH, part.span.begin_ms)
        for part in partitions
        if part.span.end_ms <= closed_before
    }
    return sorted({month for name, month in months.items() if name != month})


def _join(storage: Storage, series: Series, month: str) -> tuple[int, Path | None]:
    """Join a month in the way of its storage: how many files, and a folder that is to be removed in a moment."""
    if isinstance(storage, LocalStorage):
        return join_month(storage, series, month)
    from consumer.dataset.compact_objects import join_objects  # its library is an extra's
    from consumer.storage.object_store import ObjectStorage

    if not isinstance(storage, ObjectStorage):
        raise StoreError(f"{storage.name} is no storage in which months are joined")
    return join_objects(storage, series, month), None


def join_month(storage: LocalStorage, series: Series, month: str) -> tuple[int, Path | None]:
    """Join a month's small partitions, and the month's file if there is one, into the file ``month``.

    How many small files were joined, and the old folder, to be removed in a moment. StoreError when a file cannot be
    read or another writer holds the series, OSError when the disk refuses or the system cannot swap folders; nothing
    has changed then.
    """
    with storage.locked(candles_key(series)) as folder:
        folders = storage.list_folder(candles_key(series)).folders
        if folders:
            raise StoreError(f"{candles_key(series, folders[0])} is a folder, and not ours: move it away")
        partitions = Dataset(storage).partitions(series)
        parts = [part for part in partitions if part.name != month and part.name.startswith(month.removesuffix(SUFFIX))]
        if not parts:
            return 0, None
        joined = [*parts, *(part for part in partitions if part.name == month)]
        old = _swap(storage, folder, series, month, joined)
    log.info("joined %d files of %s into %s", len(parts), series, month)
    return len(parts), old


def _swap(storage: LocalStorage, folder: LockedFolder, series: Series, month: str, joined: list[PartitionFile]) -> Path:
    names = {part.name for part in joined}
    rows = concatenate(rows for part in joined if (rows := Dataset(storage).partition(part)) is not None)
    prepared = storage.staged_path()
    prepared.mkdir()
    try:
        for path in folder.path.iterdir():
            if path.name not in names:
                os.link(path, prepared / path.name)
        fd = write_new(prepared / month, encode(rows, series.interval))
        os.fsync(fd)
        os.close(fd)
        sync_folder(prepared)
        _exchange(prepared, folder.path)
    except BaseException:
        shutil.rmtree(prepared)
        raise
    sync_folder(folder.path.parent)
    return prepared


def _exchange(first: Path, second: Path) -> None:
    """Swap two folders in one step. OSError with ENOSYS or EINVAL where the system or filesystem cannot."""
    renameat2 = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if renameat2 is None:
        raise OSError(errno.ENOSYS, "this system cannot swap two folders in one step (renameat2)")
    if renameat2(_AT_FDCWD, os.fsencode(first), _AT_FDCWD, os.fsencode(second), _RENAME_EXCHANGE) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), str(second))
