"""A flush: waiting entries of many series to disk, candles before notes, series side by side in a few threads."""

import logging
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain

from consumer.storage.durable import Staging
from consumer.storage.metadata import Ledger
from consumer.storage.store import Store, Written
from shared.broker.entry import Entry
from shared.candle import Candle, Series
from shared.errors import StoreError, UnstorableError
from shared.series_fact import Note

log = logging.getLogger(__name__)

_TOGETHER = 32  # series that a thread writes step by step together
_NOTHING_WRITTEN: Written | StoreError = Written(0, ())

Groups = Mapping[Series, Sequence[Entry]]


class Flusher:
    """Writes groups of entries.

    Args:
        store: where candles go.
        ledger: where notes go.
        staging: this process's staging folder.
        threads: how many chunks of series are written at the same time.
    """

    def __init__(self, store: Store, ledger: Ledger, staging: Staging, threads: int) -> None:
        self._store = store
        self._ledger = ledger
        self._staging = staging
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="flush")

    def write(self, groups: Groups) -> dict[Series, Written | StoreError]:
        """Write entries by series; a series is written when its candles and its notes are on disk, synced.

        Returns:
            For each series what was written, or why nothing of it may be acknowledged; one that fails holds up no
            other.
        """
        ordered = sorted(groups)  # two writers that lock several series do it in the same order
        chunks = [ordered[first : first + _TOGETHER] for first in range(0, len(ordered), _TOGETHER)]
        results = chain.from_iterable(self._pool.map(lambda chunk: self._write_chunk(chunk, groups), chunks))
        return dict(zip(ordered, results, strict=True))

    def close(self) -> None:
        """Wait for what is being written."""
        self._pool.shutdown()

    def _write_chunk(self, chunk: Iterable[Series], groups: Groups) -> list[Written | StoreError]:
        candles = {
            series: [entry.item for entry in groups[series] if isinstance(entry.item, Candle)] for series in chunk
        }
        results = dict.fromkeys(candles, _NOTHING_WRITTEN)
        with_candles = [series for series, items in candles.items() if items]
        written = self._store.write_many((series, candles[series]) for series in with_candles)
        results |= zip(with_candles, written, strict=True)
        for series in candles:
            notes = [entry.item for entry in groups[series] if isinstance(entry.item, Note)]
            if notes and not isinstance(results[series], StoreError):
                error = self._write_notes(series, notes)
                results[series] = error or results[series]
        return list(results.values())

    def _write_notes(self, series: Series, notes: Sequence[Note]) -> StoreError | None:
        """Write notes of one series; why that was not possible, or None."""
        try:
            self._ledger.write(series, notes, self._staging)
        except StoreError as error:
            return error
        except Exception as error:
            log.exception("a fault of ours while the notes of %s were written", series)
            return UnstorableError(f"notes of {series} cannot be written, by a fault of ours: {error!r}")
        return None
