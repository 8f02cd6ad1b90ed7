"""Refill: files that were quarantined get once more what the broker still holds of them.

The streams retain entries for some days (``broker.retention_days``). Whatever in them belongs into a quarantined file
is written again, through the same stores; what is stored already changes nothing. What the streams no longer hold stays
missing, and ``candlewick audit --repair`` fetches it.
"""

import logging
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

from redis.exceptions import RedisError

from consumer.group.streams import retained
from consumer.storage.flush import Flusher
from consumer.storage.interface import Damaged
from consumer.storage.layout import METADATA, METADATA_SUFFIX, partition_span, series_of_folder
from shared.broker.client import CONNECTION_ERRORS, SyncClient, sync_client
from shared.broker.keys import Keys
from shared.candle import Candle, Series
from shared.errors import InternalStoreError, StoreError
from shared.interval import utc
from shared.market import Market
from shared.process.backoff import backoff
from shared.series_fact import SeriesFact
from shared.settings.model import Settings
from shared.spans import Span

log = logging.getLogger(__name__)

_WRITE_AT = 50_000
_FIRST_PAUSE_SECONDS, _MAX_PAUSE_SECONDS = 2.0, 60.0


class _Wanted(NamedTuple):
    """One file that is to be refilled: with candles that open in its span, or, without a span, with series facts."""

    damaged: Damaged
    series: Series
    span: Span | None

    def holds(self, item: Candle | SeriesFact) -> bool:
        """Whether an entry of the series belongs into it."""
        if isinstance(item, SeriesFact) or self.span is None:
            return isinstance(item, SeriesFact) and self.span is None
        return self.span.begin_ms <= item.open_time_ms < self.span.end_ms


class Refiller:
    """Refills what was quarantined in a flusher's stores, in a thread and over a connection of its own."""

    def __init__(self, settings: Settings, flusher: Flusher) -> None:
        self._settings = settings
        self._keys = Keys(settings.broker.prefix)
        self._candles = flusher.candles
        self._metadata = flusher.metadata
        self._storage = flusher.candles.storage
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="refill")
        self._running: Future[None] | None = None
        self._not_before = 0.0
        self._pauses = backoff(_FIRST_PAUSE_SECONDS, _MAX_PAUSE_SECONDS)
        self._is_closing = False

    def start(self) -> None:
        """Refill what was quarantined, if anything was and that is not being done already. Does not wait."""
        if (self._running is not None and not self._running.done()) or time.monotonic() < self._not_before:
            return
        try:
            if self._storage.damaged():
                self._running = self._pool.submit(self._try)
        except (StoreError, OSError) as error:
            self._retry_later(str(error))

    def close(self) -> None:
        """Leave the rest for another time."""
        self._is_closing = True
        self._pool.shutdown()

    def _try(self) -> None:
        client = sync_client(self._settings)
        try:
            self._run(client)
            if time.monotonic() >= self._not_before:
                self._pauses = backoff(_FIRST_PAUSE_SECONDS, _MAX_PAUSE_SECONDS)
        except (*CONNECTION_ERRORS, RedisError) as error:
            self._retry_later(str(error))
        except Exception:
            log.exception("an internal error while what was quarantined was refilled")
            self._retry_later("an internal error")
        finally:
            client.close()

    def _run(self, client: SyncClient) -> None:
        """One pass over the stream of each market that something is to be refilled of."""
        by_market: dict[Market, list[_Wanted]] = defaultdict(list)
        for damaged in self._storage.damaged():
            wanted = _wanted(damaged)
            if wanted is None:
                self._storage.refilled(damaged)
            else:
                by_market[wanted.series.market].append(wanted)
        for market, files in by_market.items():
            written, failed = self._write_retained(client, market, files)
            if self._is_closing:
                return
            for damaged, series, _ in files:
                if series in failed:
                    continue
                self._storage.refilled(damaged)
                text = "refilled %s: the broker held %d candles and facts of %s; `candlewick audit %s %s --repair` "
                text += "fetches what it did not hold"
                log.warning(text, damaged.key, written[series], series, market, series.symbol)

    def _write_retained(
        self, client: SyncClient, market: Market, files: Iterable[_Wanted]
    ) -> tuple[Counter[Series], set[Series]]:
        """Write what a stream holds of these files; how many entries of each series, and the series that failed."""
        of_series: dict[Series, list[_Wanted]] = defaultdict(list)
        for wanted in files:
            of_series[wanted.series].append(wanted)
        found: dict[Series, list[Candle | SeriesFact]] = defaultdict(list)
        written: Counter[Series] = Counter()
        failed: set[Series] = set()
        for item in retained(client, self._keys, market):
            if self._is_closing:
                break
            if item is not None and any(wanted.holds(item) for wanted in of_series.get(item.series, ())):
                found[item.series].append(item)
                if sum(map(len, found.values())) >= _WRITE_AT:
                    self._write(found, written, failed)
        self._write(found, written, failed)
        return written, failed

    def _write(
        self, found: dict[Series, list[Candle | SeriesFact]], written: Counter[Series], failed: set[Series]
    ) -> None:
        for series, items in found.items():
            try:
                self._write_series(series, items)
                written[series] += len(items)
            except StoreError as error:
                failed.add(series)
                self._retry_later(str(error))
        found.clear()

    def _write_series(self, series: Series, items: Sequence[Candle | SeriesFact]) -> None:
        candles = [item for item in items if isinstance(item, Candle)]
        facts = [item for item in items if isinstance(item, SeriesFact)]
        if facts:
            self._metadata.write(series, facts)
        try:
            if candles:
                self._candles.write(series, candles)
        except InternalStoreError:
            for candle in candles:
                try:
                    self._candles.write(series, [candle])
                except InternalStoreError as error:  # the writer met it too, and isolates it
                    log.error("not refilled: %s at %s: %s", series, utc(candle.open_time_ms), error)

    def _retry_later(self, reason: str) -> None:
        """Let some time go by before the next try."""
        pause = next(self._pauses)
        self._not_before = time.monotonic() + pause
        log.warning("what was quarantined is not refilled yet: %s; trying again in %.0f s", reason, pause)


def _wanted(damaged: Damaged) -> _Wanted | None:
    """What belongs into a file that was quarantined; None when nothing of ours does."""
    kind, _, rest = damaged.key.partition("/")
    if kind == METADATA:
        series, span = series_of_folder(rest.removesuffix(METADATA_SUFFIX)), None
    else:
        folder, _, name = rest.rpartition("/")
        series, span = series_of_folder(folder), partition_span(name)
    if series is None or (span is None and kind != METADATA):
        return None
    return _Wanted(damaged, series, Span(*span) if span else None)
