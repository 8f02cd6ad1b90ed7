"""A flush: entries of many series into storage, candles before facts, series side by side in a few threads.

A candle that came over REST leaves a trace: its day is noted as repaired in the series' metadata.

The writer acknowledges what a flush says is written; the stores below it make each series durable.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain

from consumer.storage.candle_store import CandleStore, Written
from consumer.storage.metadata import MetadataStore
from shared.broker.entry import Entry
from shared.candle import REST, Candle, Series
from shared.errors import StoreError
from shared.interval import DAY_MS
from shared.market import Market
from shared.series_fact import FactKind, SeriesFact

_TOGETHER = 32  # series that a thread writes step by step together
_CHUNKS_A_THREAD = 4  # of a flush: then threads that end first wait for the last one for a fraction of it
_NOTHING_WRITTEN: Written | StoreError = Written()

Groups = Mapping[Series, Sequence[Entry]]


class Flusher:
    """Writes groups of entries. So many chunks of series as there are ``threads`` are written at the same time.

    ``refused`` says why nothing of a market may be stored, if so.

    Attributes:
        series_at_once: of so many series a flush makes good use of the threads, and is soon over.
    """

    def __init__(
        self,
        candles: CandleStore,
        metadata: MetadataStore,
        threads: int,
        refused: Callable[[Market], StoreError | None] = lambda _: None,
    ) -> None:
        self.candles = candles
        self.metadata = metadata
        self.series_at_once = threads * _CHUNKS_A_THREAD * _TOGETHER
        self._refused = refused
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="flush")

    def write(self, groups: Groups) -> dict[Series, Written | StoreError]:
        """Write entries by series; for each what was written, or why nothing of it may be acknowledged.

        A series is written when its candles and its facts are durable; one that fails holds up no other.
        """
        refused = {market: self._refused(market) for market in {series.market for series in groups}}
        not_yet = {series: error for series in groups if (error := refused[series.market]) is not None}
        ordered = sorted(groups.keys() - not_yet)  # two writers that lock several series do it in the same order
        chunks = [ordered[first : first + _TOGETHER] for first in range(0, len(ordered), _TOGETHER)]
        results = chain.from_iterable(self._pool.map(lambda chunk: self._write_chunk(chunk, groups), chunks))
        return dict(zip(ordered, results, strict=True)) | not_yet

    def close(self) -> None:
        """Wait for what is being written."""
        self._pool.shutdown()

    def _write_chunk(self, chunk: Iterable[Series], groups: Groups) -> list[Written | StoreError]:
        results = dict.fromkeys(chunk, _NOTHING_WRITTEN)
        candles = {
            series: items
            for series in results
            if (items := [entry.item for entry in groups[series] if isinstance(entry.item, Candle)])
        }
        results |= zip(candles, self.candles.write_many(candles.items()), strict=True)
        for series in results:
            facts = [entry.item for entry in groups[series] if isinstance(entry.item, SeriesFact)]
            facts += _repaired_days(series, candles.get(series, ()))
            if facts and not isinstance(results[series], StoreError):
                results[series] = self.metadata.try_write(series, facts) or results[series]
        return list(results.values())


def _repaired_days(series: Series, candles: Iterable[Candle]) -> list[SeriesFact]:
    """The days on which candles did not come as they closed; whole days, so that they stay few however often it is."""
    days = sorted({candle.open_time_ms // DAY_MS * DAY_MS for candle in candles if candle.source == REST})
    return [SeriesFact(series, FactKind.REPAIRED, day, day + DAY_MS, 0) for day in days]
