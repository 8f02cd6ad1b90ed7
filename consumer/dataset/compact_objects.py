"""Closed months in an object store: many small objects become one, without a lock and without a swap.

The month's object is written first, with all rows. Then each small one is replaced by one without rows, if it is still
what was read; if somebody has added a row meanwhile, all is done again. Last the empty ones are deleted: nobody can
have filled one, because whoever writes looks for the month's object after having read the small one, and writes there.

One that was empty already is replaced, too, by other bytes: a writer may know it and not the month.

Between the first step and the last a plain reader sees rows twice, or, if it listed before, not at all;
``candlewick.open()`` lists again when a small object has no rows. What is interrupted is finished by the next run.
"""

import logging
import uuid

from consumer.dataset.dataset import Dataset
from consumer.storage.codec import encode, read_partition
from consumer.storage.interface import NO_VERSION, Change, Version
from consumer.storage.layout import SUFFIX, candles_key
from consumer.storage.object_store import ObjectStorage
from consumer.storage.table import EMPTY, Rows, concatenate
from shared.candle import Series
from shared.errors import SeriesLockedError, StoreError, VersionChangedError

log = logging.getLogger(__name__)

_TRIES = 20  # against writers of the same month


def join_objects(storage: ObjectStorage, series: Series, month: str) -> int:
    """Join a month's small partitions, and the month's own if there is one, into the object ``month``.

    Returns how many small ones there were. StoreError when one cannot be read or the store refuses: no row is lost.
    """
    target = candles_key(series, month)
    for _ in range(_TRIES):
        small = _small(storage, series, month)
        if not small:
            return 0
        version, rows = _read(storage, target)
        merged = concatenate([rows, *(part for _, part in small.values())])
        try:
            _replace(storage, Change(target, version, encode(merged, series.interval)))
            for key, (known, _) in small.items():
                _replace(storage, Change(key, known, encode(EMPTY, series.interval, mark=uuid.uuid4().hex)))
        except VersionChangedError:
            continue
        storage.remove([*small])
        log.info("joined %d files of %s into %s", len(small), series, month)
        return len(small)
    raise SeriesLockedError(f"{series}: writers were faster {_TRIES} times")


def _small(storage: ObjectStorage, series: Series, month: str) -> dict[str, tuple[Version, Rows]]:
    """The small partitions of a month, by key, each with its version."""
    prefix = month.removesuffix(SUFFIX)
    parts = Dataset(storage).partitions(series)
    keys = [part.key for part in parts if part.name != month and part.name.startswith(prefix)]
    return {key: _read(storage, key) for key in keys}


def _read(storage: ObjectStorage, key: str) -> tuple[Version, Rows]:
    found = read_partition(storage, key)
    return (NO_VERSION, EMPTY) if found is None else (found.version, found.rows)


def _replace(storage: ObjectStorage, change: Change) -> None:
    (result,) = storage.replace([[change]])
    if isinstance(result, StoreError):
        raise result
