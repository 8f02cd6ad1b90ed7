"""A writer's heartbeat, histograms and streams, as Prometheus sees them."""

import contextlib
import shutil
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from redis.exceptions import RedisError

from consumer.dataset.dataset import Dataset
from consumer.dataset.figures import newest_ends
from consumer.group.streams import stream_figures, waits_too_long
from consumer.journal import Journal
from shared.broker.client import sync_client
from shared.broker.keys import Keys
from shared.market import Market
from shared.metrics.measures import Family
from shared.settings.model import Settings

_FRESH_SECONDS = 1.0
_COUNTERS = {
    "files": ("files_written", "Parquet files written"),
    "bytes": ("bytes_written", "bytes of Parquet files written"),
    "conflicts": ("conflicts", "pairs of different candles under one key"),
    "lost": ("entries_lost", "entries that were deleted in the stream before they were stored"),
}
_OF_STREAMS = {
    "entries": ("stream_entries", "entries in the stream"),
    "pending": ("entries_pending", "entries that a writer has read and not stored"),
    "unread": ("entries_unread", "entries that no writer has read"),
    "dead_letters": ("dead_letters", "entries that could not be stored and wait for a decision"),
}


class WriterFigures:
    """What a writer shows; every method is called by the thread that serves it."""

    def __init__(self, settings: Settings, markets: Sequence[Market], journal: Journal) -> None:
        self._settings = settings
        self._markets = markets
        self._journal = journal
        self._mutex = threading.Lock()
        self._seen: tuple[float, dict[str, dict[str, Any]]] = (-_FRESH_SECONDS, {})
        self._ends_before: dict[Market, int] | None = None

    def families(self, report: Mapping[str, Any]) -> Iterator[Family]:
        """What a heartbeat says, the histograms, the streams where the broker answers, and the disk."""
        journal = self._journal
        for key, (name, meaning) in _COUNTERS.items():
            yield Family(name, "counter", meaning, (), {(): report.get(key)})
        yield Family("entries_held", "gauge", "entries read and not written yet", (), {(): report.get("waiting")})
        by_market = {(str(market),): count for market, count in journal.written_by_market.items()}
        yield Family("candles_stored", "counter", "candles on disk and acknowledged", ("market",), by_market)
        ends = self._newest_before() | journal.newest_end_ms
        newest = {(str(market),): end_ms / 1000 for market, end_ms in ends.items()}
        meaning = "end of the newest candle on disk"
        yield Family("newest_stored_close_timestamp_seconds", "gauge", meaning, ("market",), newest)
        to_disk = {(str(market),): buckets for market, buckets in journal.close_to_disk.items()}
        meaning = "from a candle's close, by the exchange's time, to its place on disk"
        yield Family("close_to_disk_seconds", "histogram", meaning, ("market",), to_disk)
        yield Family("flush_seconds", "histogram", "one flush, with its acknowledgement", (), {(): journal.flush})
        streams = self._streams()
        for key, (name, meaning) in _OF_STREAMS.items():
            values = {(market,): figures[key] for market, figures in streams.items()}
            yield Family(name, "gauge", meaning, ("market",), values)
        ages = {market: found["oldest_unstored_seconds"] for market, found in streams.items()}
        oldest = {(market,): None if age is None else time.time() - age for market, age in ages.items()}
        meaning = "when the oldest entry was published that is not stored"
        yield Family("oldest_unstored_entry_timestamp_seconds", "gauge", meaning, ("market",), oldest)
        with contextlib.suppress(OSError):  # a folder that was taken away
            free = shutil.disk_usage(self._settings.data.folder).free
            yield Family("data_free_bytes", "gauge", "room on the data folder's disk", (), {(): free})

    def troubles(self) -> list[str]:
        """Streams whose oldest entry has waited for longer than a writer needs."""
        found = self._streams()
        if not found:
            return ["the broker does not answer"]
        return [
            text for name, stream in found.items() if (text := waits_too_long(name, stream, self._settings.writing))
        ]

    def _newest_before(self) -> dict[Market, int]:
        """Ends of the newest candles that were stored before this process wrote any; looked at when asked first."""
        with self._mutex:
            if self._ends_before is None:
                found: dict[Market, int] = {}
                dataset = Dataset.of(self._settings)
                for series, end_ms in newest_ends(dataset, self._markets).items():
                    found[series.market] = max(found.get(series.market, 0), end_ms)
                self._ends_before = found
            return self._ends_before

    def _streams(self) -> dict[str, dict[str, Any]]:
        """Figures of each market's stream, a second old at most; none while the broker is away.

        A broker that hangs is asked once for all that one scrape wants to know: Prometheus waits for ten seconds.
        """
        with self._mutex:
            at, found = self._seen
            if time.monotonic() - at >= _FRESH_SECONDS:
                found = self._ask()
                self._seen = time.monotonic(), found
            return found

    def _ask(self) -> dict[str, dict[str, Any]]:
        client = sync_client(self._settings)
        keys, group = Keys(self._settings.broker.prefix), self._settings.writer.group
        try:
            return {str(market): stream_figures(client, keys, market, group) for market in self._markets}
        except (RedisError, OSError):
            return {}
        finally:
            client.close()
