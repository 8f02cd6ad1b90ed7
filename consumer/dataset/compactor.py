"""Compaction by itself: a writer that is told to joins months that are over, beside its work."""

import logging
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

from consumer.dataset.compact import compact
from consumer.dataset.dataset import Dataset
from consumer.storage.interface import Storage
from shared.candle import Series
from shared.errors import StoreError
from shared.process.once import SayOnce
from shared.text import counted

log = logging.getLogger(__name__)


class Compactor:
    """Joins closed months in a thread of its own. What cannot be joined is said once, and tried again the next time."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="compact")
        self._running: Future[None] | None = None
        self._is_closing = False
        self._warn = SayOnce(log.warning)

    def start(self) -> None:
        """Look at every series once, if that is not being done already. Does not wait."""
        if self._running is None or self._running.done():
            self._running = self._pool.submit(self._try)

    def close(self) -> None:
        """Leave the rest for another time; a month that is being joined is waited for."""
        self._is_closing = True
        self._pool.shutdown()

    def _try(self) -> None:
        try:
            done = compact(self._storage, self._series())
        except StoreError as error:
            self._warn("%s", error)
            return
        except Exception:
            log.exception("an internal error while months were joined")
            return
        if done.months:
            log.info("joined %s into %s", counted(done.files, "file"), counted(done.months, "month"))
        for failure in done.failures:
            self._warn("not joined: %s", failure)

    def _series(self) -> Iterator[Series]:
        for series in Dataset(self._storage).series():
            if self._is_closing:
                return
            yield series
