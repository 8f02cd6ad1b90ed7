"""Where the state machine's candles lie: a folder, or an object store. Read here as any tool reads it."""

import contextlib
import fcntl
import os
import shutil
from collections.abc import Callable, Iterator
from typing import NamedTuple, Protocol

from consumer.dataset.compact import join_month
from consumer.dataset.compact_objects import join_objects
from consumer.storage.durable import Staging
from consumer.storage.layout import Period, candles_key, partition_name, partition_span, series_folder
from consumer.storage.local import LocalStorage
from consumer.storage.object_store import ObjectStorage
from shared.candle import Series
from shared.errors import SeriesLockedError, StoreError
from shared.settings.model import Settings


class Lying(NamedTuple):
    """A partition as it lies there.

    Attributes:
        name: of the file or object.
        identity: another one as soon as it has been replaced.
        content: reads it.
    """

    name: str
    identity: object
    content: Callable[[], bytes]


class Shelf(Protocol):
    """What the state machine has to know of a kind of storage.

    Attributes:
        may_double: whether a row may lie in two partitions while months are joined, or their joining was killed.
    """

    may_double: bool

    def partitions(self, series: Series) -> Iterator[Lying]:
        """All of a series."""

    def join_months(self, series: Series) -> None:
        """Join every month of a series, over or not: candles go on coming for those that are joined."""

    def lock_or_unlock(self, series: Series) -> None:
        """Do what a process does that was stopped in the middle of a flush, or is ended."""

    def unlock(self) -> None:
        """End all processes that were stopped so."""

    def finish(self) -> None:
        """Nobody writes any more: from now on nothing may be left over, and no row lie twice."""

    def remove(self) -> None:
        """Leave nothing."""


def _months(names: list[str]) -> list[str]:
    return sorted({partition_name(Period.MONTH, span[0]) for name in names if (span := partition_span(name))})


class FolderShelf:
    """A data folder."""

    may_double = False

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._locks: dict[Series, int] = {}

    def partitions(self, series: Series) -> Iterator[Lying]:
        folder = self._settings.candles_folder / series_folder(series)
        for path in folder.iterdir() if folder.is_dir() else ():
            status = path.stat()
            yield Lying(path.name, (status.st_ino, status.st_mtime_ns, status.st_size), path.read_bytes)

    def join_months(self, series: Series) -> None:
        staging = Staging(self._settings.staging_folder)
        try:
            storage = LocalStorage(self._settings.data.folder, staging, self._settings.writer.lock_timeout_seconds)
            for month in _months([part.name for part in self.partitions(series)]):
                _, old = join_month(storage, series, month)
                if old is not None:
                    shutil.rmtree(old)
        except SeriesLockedError:
            pass  # another time
        finally:
            staging.close()

    def lock_or_unlock(self, series: Series) -> None:
        folder = self._settings.candles_folder / series_folder(series)
        if series in self._locks:
            os.close(self._locks.pop(series))
        elif folder.is_dir():
            self._locks[series] = fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def unlock(self) -> None:
        while self._locks:
            os.close(self._locks.popitem()[1])

    def finish(self) -> None:
        assert [path for path in self._settings.staging_folder.rglob("*") if path.is_file()] == []

    def remove(self) -> None:
        self.unlock()
        shutil.rmtree(self._settings.data.folder, ignore_errors=True)


class ObjectShelf:
    """An object store by URL."""

    may_double = True

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._store = ObjectStorage(settings.data.store)

    def partitions(self, series: Series) -> Iterator[Lying]:
        for name in self._store.list_folder(candles_key(series)).files:
            key = candles_key(series, name)
            yield Lying(name, self._store.version(key), lambda key=key: self._content(key))  # type: ignore[misc]

    def _content(self, key: str) -> bytes:
        found = self._store.read(key)
        assert found is not None, f"{key} is gone"
        return found.content

    def join_months(self, series: Series) -> None:
        for month in _months([part.name for part in self.partitions(series)]):
            with contextlib.suppress(StoreError):  # another time
                join_objects(self._store, series, month)

    def lock_or_unlock(self, series: Series) -> None:
        """Nobody holds anything here."""

    def unlock(self) -> None:
        """Likewise."""

    def finish(self) -> None:
        """What was killed in the middle of joining is finished by whoever joins next."""
        self.may_double = False

    def remove(self) -> None:
        shutil.rmtree(self._settings.data.folder, ignore_errors=True)
        self._store.remove(self._store.keys(""))
