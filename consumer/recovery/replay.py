"""Replay: what the streams retain, once more, into a new store.

It reads entries from the beginning without a consumer group, so it disturbs nobody, and writes them through the same
stores as the writer. The same entries give the same rows.
"""

from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

from consumer.group.streams import retained
from consumer.storage.candle_store import CandleStore
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
    symbols: frozenset[str] = frozenset()  # empty: all
    interval: Interval | None = None
    start_ms: int | None = None
    end_ms: int | None = None

    def __contains__(self, item: Candle | SeriesFact) -> bool:
        series = item.series
        return (
            (not self.symbols or series.symbol in self.symbols)
            and self.interval in (None, series.interval)
            and (isinstance(item, SeriesFact) or self._holds(item.open_time_ms))
        )

    def _holds(self, open_time_ms: int) -> bool:
        after = self.start_ms is None or open_time_ms >= self.start_ms
        return after and (self.end_ms is None or open_time_ms < self.end_ms)


@dataclass(slots=True)
class Replayed:
    """How many entries a replay read, and how many candles of how many series it wrote into how many files.

    ``conflicts`` is how often two different candles met under one key.
    """

    entries: int = 0
    candles: int = 0
    unreadable: int = 0
    series: int = 0
    files: int = 0
    conflicts: int = 0


def replay(client: SyncClient, keys: Keys, into: Path, selection: Selection) -> Replayed:
    """Write the selected retained candles into a folder that is new or empty, or add them to an earlier replay's.

    SettingsError when ``into`` holds something else, StoreError when the disk refuses, redis.RedisError when the broker
    is away.
    """
    if into.exists() and not into.is_dir():
        raise SettingsError(f"{into} is not a folder")
    if into.is_dir() and any(path.name not in (CANDLES, METADATA, _STAGING) for path in into.iterdir()):
        raise SettingsError(f"{into} is neither empty nor an earlier replay's folder")
    client.ping()
    make_folders(into.absolute() / CANDLES)
    staging = Staging(into / _STAGING)
    try:
        return _Replay(LocalStorage(into, staging, _LOCK_SECONDS)).run(client, keys, selection)
    finally:
        staging.remove()


class _Replay:
    """One replay on its way."""

    def __init__(self, storage: LocalStorage) -> None:
        self._candles = CandleStore(storage, _CACHE_BYTES)
        self._metadata = MetadataStore(storage)
        self._sources = SourceStore(storage)
        self._done = Replayed()
        self._seen: set[Series] = set()
        self._waiting: dict[Series, list[Candle]] = defaultdict(list)

    def run(self, client: SyncClient, keys: Keys, selection: Selection) -> Replayed:
        for market in Market if selection.market is None else (selection.market,):
            if sources := sources_of(client, keys, market):
                self._sources.add(market, sources)
            for item in retained(client, keys, market):
                self._done.entries += 1
                if item is None:
                    self._done.unreadable += 1
                elif item not in selection:
                    continue
                elif isinstance(item, SeriesFact):
                    self._metadata.write(item.series, [item])
                else:
                    self._done.candles += 1
                    self._waiting[item.series].append(item)
                    if self._done.candles % _WRITE_AT == 0:
                        self._write()
            self._write()
        self._done.series = len(self._seen)
        return self._done

    def _write(self) -> None:
        for series, candles in self._waiting.items():
            written = self._candles.write(series, candles)
            self._done.files += written.files
            self._done.conflicts += len(written.conflicts)
        self._seen.update(self._waiting)
        self._waiting.clear()
