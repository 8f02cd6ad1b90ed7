"""What went through the streams, once more, into a new store.

Replay reads the retained entries from the beginning without a consumer group, so it disturbs nobody, and writes them
through the same store as the writer. The same entries give the same rows.
"""

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from consumer.group.reader import retained
from consumer.storage.durable import Staging, make_folders
from consumer.storage.metadata import Ledger
from consumer.storage.store import Store
from shared.broker.client import SyncClient
from shared.broker.keys import Keys
from shared.candle import Candle, Series
from shared.errors import SettingsError
from shared.interval import Interval
from shared.market import Market
from shared.series_fact import Note

_TELL_EVERY = 5000
_WRITE_AT = 200_000
_CACHE_BYTES = 256 * 2**20


@dataclass(frozen=True, slots=True)
class Selection:
    """Which candles; None means all. Times are open times in UTC ms, ``start_ms`` included, ``end_ms`` not."""

    market: Market | None = None
    symbol: str | None = None
    interval: Interval | None = None
    start_ms: int | None = None
    end_ms: int | None = None

    def __contains__(self, item: Candle | Note) -> bool:
        series = item.series
        return (
            self.symbol in (None, series.symbol)
            and self.interval in (None, series.interval)
            and (isinstance(item, Note) or self._holds(item.open_time_ms))
        )

    def _holds(self, open_time_ms: int) -> bool:
        return (self.start_ms is None or open_time_ms >= self.start_ms) and (
            self.end_ms is None or open_time_ms < self.end_ms
        )

    @property
    def markets(self) -> tuple[Market, ...]:
        """Markets whose streams have to be read."""
        return tuple(Market) if self.market is None else (self.market,)


@dataclass(slots=True)
class Replayed:
    """What a replay read and wrote."""

    entries: int = 0
    candles: int = 0
    unreadable: int = 0
    series: int = 0
    files: int = 0


def replay(
    client: SyncClient,
    keys: Keys,
    into: Path,
    selection: Selection,
    progress: Callable[[int], None] = lambda _: None,
) -> Replayed:
    """Write the selected retained candles into ``into/candles``.

    Args:
        client: connection to the broker.
        keys: names of the streams.
        into: a folder that is empty, does not exist yet, or holds an earlier replay, which is added to.
        selection: which candles.
        progress: called now and then with the number of entries read so far.

    Raises:
        SettingsError: when ``into`` holds something else.
        StoreError: when the disk refuses.
        redis.RedisError: when the broker is away.
    """
    if into.exists() and not into.is_dir():
        raise SettingsError(f"{into} is not a folder")
    if into.is_dir() and any(path.name not in ("candles", "ledger", "staging") for path in into.iterdir()):
        raise SettingsError(f"{into} is neither empty nor an earlier replay's folder")
    client.ping()
    make_folders(into.absolute() / "candles")
    staging = Staging(into.absolute() / "staging")
    store = Store(into.absolute() / "candles", staging, lock_timeout_seconds=60, cache_bytes=_CACHE_BYTES)
    done = Replayed()
    seen: set[Series] = set()
    waiting: dict[Series, list[Candle]] = defaultdict(list)
    ledger = Ledger(into.absolute() / "ledger")
    try:
        for market in selection.markets:
            for item in retained(client, keys, market):
                done.entries += 1
                if done.entries % _TELL_EVERY == 0:
                    progress(done.entries)
                if item is None:
                    done.unreadable += 1
                    continue
                if item not in selection:
                    continue
                if isinstance(item, Note):
                    ledger.write(item.series, [item], staging)
                    continue
                done.candles += 1
                waiting[item.series].append(item)
                if done.candles % _WRITE_AT == 0:
                    _write(store, waiting, done, seen)
            _write(store, waiting, done, seen)
    finally:
        staging.remove()
    done.series = len(seen)
    return done


def _write(store: Store, waiting: dict[Series, list[Candle]], done: Replayed, seen: set[Series]) -> None:
    for series, candles in waiting.items():
        done.files += store.write(series, candles).files
    seen.update(waiting)
    waiting.clear()
