"""Replay into a new store: what the streams retain and what is stored, once more.

It reads entries from the beginning without a consumer group, so it disturbs nobody, and writes them through the same
stores as the writer; then it adds what an old store has besides. The same candles give the same rows, in any order.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from consumer.dataset.dataset import ALWAYS_MS, Dataset
from consumer.dataset.series_filter import SeriesFilter
from consumer.group.streams import retained
from consumer.storage.candle_store import CandleStore, Written
from consumer.storage.durable import Staging, make_folders
from consumer.storage.layout import CANDLES, METADATA
from consumer.storage.local import LocalStorage
from consumer.storage.metadata import MetadataStore
from consumer.storage.sources import SourceStore
from shared.broker.client import SyncClient
from shared.broker.keys import Keys
from shared.broker.sources import sources_of
from shared.candle import Candle, Series
from shared.errors import SettingsError
from shared.interval import Interval
from shared.market import Market
from shared.series_fact import SeriesFact

_STAGING = "staging"
_WRITE_AT = 200_000
_CACHE_BYTES = 256 * 2**20
_LOCK_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Selection:
    """Which candles; what is not named means all. Times are open times in UTC ms, ``end_ms`` is not included."""

    market: Market | None = None
    symbols: frozenset[str] = frozenset()  # names, and patterns; empty: all
    interval: Interval | None = None
    start_ms: int | None = None
    end_ms: int | None = None

    def __contains__(self, item: Candle | SeriesFact) -> bool:
        return self.names(item.series) and (isinstance(item, SeriesFact) or self._holds(item.open_time_ms))

    def names(self, series: Series) -> bool:
        """Whether a series is meant, of whatever market."""
        return series in SeriesFilter((), tuple(self.symbols), self.interval)

    def _holds(self, open_time_ms: int) -> bool:
        after = self.start_ms is None or open_time_ms >= self.start_ms
        return after and (self.end_ms is None or open_time_ms < self.end_ms)


@dataclass(slots=True)
class Replayed:
    """How many entries a replay read, how many candles in them were selected, and how many rows of a store.

    They are of ``series`` series and changed ``files`` files. ``conflicts`` is how often two different ones met under a
    key.
    """

    entries: int = 0
    candles: int = 0
    rows: int = 0
    unreadable: int = 0
    series: int = 0
    files: int = 0
    conflicts: int = 0


def replay(
    client: SyncClient | None, keys: Keys, into: Path, selection: Selection, stored: Dataset | None = None
) -> Replayed:
    """Write what is selected of the streams and of a store into a folder that is new or empty, or an earlier replay's.

    Without a client there are no streams, without ``stored`` there is no store.

    SettingsError when ``into`` holds something else, StoreError when the disk refuses, redis.RedisError when the broker
    is away.
    """
    if into.exists() and not into.is_dir():
        raise SettingsError(f"{into} is not a folder")
    if into.is_dir() and any(path.name not in (CANDLES, METADATA, _STAGING) for path in into.iterdir()):
        raise SettingsError(f"{into} is neither empty nor an earlier replay's folder")
    if client is not None:
        client.ping()
    make_folders(into.absolute() / CANDLES)
    staging = Staging(into / _STAGING)
    try:
        run = _Replay(LocalStorage(into, staging, _LOCK_SECONDS), selection)
        if client is not None:
            run.add_streams(client, keys)
        if stored is not None:
            run.add_store(stored)
        return run.done
    finally:
        staging.remove()


class _Replay:
    """One replay on its way; ``done`` says how far."""

    def __init__(self, storage: LocalStorage, selection: Selection) -> None:
        self.done = Replayed()
        self._selection = selection
        self._candles = CandleStore(storage, _CACHE_BYTES)
        self._metadata = MetadataStore(storage)
        self._sources = SourceStore(storage)
        self._seen: set[Series] = set()
        self._waiting: dict[Series, list[Candle]] = defaultdict(list)

    @property
    def _markets(self) -> Sequence[Market]:
        return tuple(Market) if self._selection.market is None else (self._selection.market,)

    def add_streams(self, client: SyncClient, keys: Keys) -> None:
        for market in self._markets:
            if sources := sources_of(client, keys, market):
                self._sources.add(market, sources)
            for item in retained(client, keys, market):
                self.done.entries += 1
                if item is None:
                    self.done.unreadable += 1
                elif item not in self._selection:
                    continue
                elif isinstance(item, SeriesFact):
                    self._metadata.write(item.series, [item])
                else:
                    self.done.candles += 1
                    self._waiting[item.series].append(item)
                    if self.done.candles % _WRITE_AT == 0:
                        self._write()
            self._write()

    def add_store(self, stored: Dataset) -> None:
        span = (self._selection.start_ms or -ALWAYS_MS, self._selection.end_ms or ALWAYS_MS)
        for series in stored.series(with_metadata=True):
            if series.market not in self._markets or not self._selection.names(series):
                continue
            if sources := stored.sources(series.market):
                self._sources.add(series.market, sources)
            metadata = stored.metadata(series)
            if not metadata.is_empty:
                self._metadata.write(series, metadata.facts(series))
            for rows in stored.parts(series, *span) if stored.partitions(series) else ():
                self.done.rows += len(rows)
                self._note(series, self._candles.write_rows(series, rows))

    def _write(self) -> None:
        for series, candles in self._waiting.items():
            self._note(series, self._candles.write(series, candles))
        self._waiting.clear()

    def _note(self, series: Series, written: Written) -> None:
        self.done.files += written.files
        self.done.conflicts += len(written.conflicts)
        self._seen.add(series)
        self.done.series = len(self._seen)
