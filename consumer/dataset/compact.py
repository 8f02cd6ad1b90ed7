"""Closed months: many small partitions become one, when the user asks for it.

Hour and day files of a month that is over are joined into the month's file. A reader must never see both, nor
neither, and two renames cannot promise that. So a whole new folder is prepared beside the dataset (hard links to what
stays, the month's file new), synced, and swapped with the series' folder in one step: ``renameat2`` with
``RENAME_EXCHANGE`` (Linux 3.15, renameat2(2)). What was the folder is kept aside for a moment, so that a reader in
the middle of listing it goes on listing it.

That is as far as the file system goes, and for one reader it is not far enough: Arrow lists a folder, then looks at
each name again, and leaves out without a word what is gone by then. A plain ``pandas.read_parquet`` in exactly that
instant would miss the month (seen; docs/design.md, "Joining months"). ``candlewick.read_candles`` starts again
instead. So the writer never joins files by itself: every other change replaces one file under one name, where no
reader can be wrong.
"""

import ctypes
import errno
import logging
import os
import shutil
from collections.abc import Iterable
from pathlib import Path

from consumer.storage.durable import LockedFolder, sync_folder, write_unsynced
from consumer.storage.durable import read_partition as read_file
from consumer.storage.layout import SUFFIX, Period, partition_name, partition_span, period_of, series_folder
from consumer.storage.store import Store
from consumer.storage.table import concatenate
from shared.candle import Series
from shared.interval import DAY_MS, Interval

log = logging.getLogger(__name__)

GRACE_MS = 2 * DAY_MS
"""A month counts as over when its series has a candle that opens so long after it."""

_AT_FDCWD = -100
_RENAME_EXCHANGE = 2


def closed_months(store: Store, series: Series) -> list[str]:
    """File names of the months of a series that are over and still lie in small files, oldest first.

    What is over is told by the series' own newest candle, never by a clock.
    """
    if period_of(series.interval) not in (Period.HOUR, Period.DAY):
        return []
    folder = store.root / series_folder(series)
    spans = {path: span for path in folder.iterdir() if (span := partition_span(path.name))}
    if not spans:
        return []
    newest = read_file(max(spans, key=lambda path: spans[path])).times
    closed_before = Interval.MONTH.floor(int(newest[-1]) - GRACE_MS) if len(newest) else 0
    months = {
        path.name: partition_name(Period.MONTH, begin) for path, (begin, end) in spans.items() if end <= closed_before
    }
    return sorted({month for name, month in months.items() if name != month})


def join_month(store: Store, series: Series, month: str) -> tuple[int, Path | None]:
    """Join a month's small partitions, and the month's file if there is one, into the month's file.

    Args:
        store: the dataset; its locks and staging folder are used.
        series: whose month.
        month: the month's file name, such as ``2024-05.parquet``.

    Returns:
        How many small files were joined, and the folder that was put aside, to be removed in a moment.

    Raises:
        StoreError: when a file cannot be read or the series is locked by another writer.
        OSError: when the disk refuses or the system cannot swap folders. Nothing has changed then.
    """
    with store.locked(series) as folder:
        parts = [path for path in sorted(folder.path.iterdir()) if _is_part(path.name, month)]
        if not parts:
            return 0, None
        aside = _swap(store, folder, series, month, parts)
    log.info("joined %d files of %s into %s", len(parts), series, month)
    return len(parts), aside


def _swap(store: Store, folder: LockedFolder, series: Series, month: str, parts: Iterable[Path]) -> Path:
    joined = {path.name for path in parts} | {month}
    present = list(folder.path.iterdir())
    rows = concatenate(read_file(path) for path in present if path.name in joined)
    prepared = store.staging.new_path().with_suffix("")
    prepared.mkdir()
    try:
        for path in present:
            if path.name not in joined:
                os.link(path, prepared / path.name)
        fd = write_unsynced(prepared / month, rows, series.interval)
        os.fsync(fd)
        os.close(fd)
        sync_folder(prepared)
        _exchange(prepared, folder.path)
    except BaseException:
        shutil.rmtree(prepared)
        raise
    sync_folder(folder.path.parent)
    return prepared


def _is_part(name: str, month: str) -> bool:
    """Whether a file is one of a month's small partitions."""
    return name != month and name.startswith(month.removesuffix(SUFFIX)) and partition_span(name) is not None


def _exchange(one: Path, other: Path) -> None:
    """Swap two folders in one step. OSError with ENOSYS or EINVAL where the system or filesystem cannot."""
    renameat2 = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if renameat2 is None:
        raise OSError(errno.ENOSYS, "this system cannot swap two folders in one step (renameat2)")
    if renameat2(_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), _RENAME_EXCHANGE) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), str(other))
