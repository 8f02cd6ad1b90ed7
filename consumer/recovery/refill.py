"""Files that were moved aside, filled again with what the broker still holds.

The streams keep what was written for some days (``broker.retention_days``). Everything in them that belongs into a file
that was moved aside is written once more, through the same store and ledger; what is there already changes nothing.
What the streams no longer hold stays missing, and ``candlewick audit --repair`` finds and fetches it.
"""

import logging
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from redis.exceptions import RedisError

from consumer.group.reader import retained
from consumer.storage.durable import Staging
from consumer.storage.layout import partition_span, series_of_folder
from consumer.storage.metadata import Ledger
from consumer.storage.quarantine import Aside, Moved
from consumer.storage.store import Store
from shared.broker.client import CONNECTION_ERRORS, SyncClient, sync_client
from shared.broker.keys import Keys
from shared.candle import Candle, Series
from shared.errors import StoreError, UnstorableError
from shared.interval import utc
from shared.market import Market
from shared.series_fact import Note
from shared.settings.model import Settings
from shared.spans import Span

log = logging.getLogger(__name__)

_WRITE_AT = 50_000
_LEAST_PAUSE_SECONDS, _MOST_PAUSE_SECONDS = 1.0, 60.0


class _Wanted(NamedTuple):
    """One file that is to be rebuilt.

    Attributes:
        moved: the file that was there.
        series: whose it is.
        span: open times that belong into it; None for a ledger, into which the series' notes belong.
    """

    moved: Moved
    series: Series
    span: Span | None

    def holds(self, item: Candle | Note) -> bool:
        """Whether an entry belongs into it."""
        if item.series != self.series:
            return False
        if isinstance(item, Note):
            return self.span is None
        return self.span is not None and self.span.begin_ms <= item.open_time_ms < self.span.end_ms


class Rebuilder:
    """Rebuilds what was moved aside, in a thread and over a connection of its own.

    Args:
        settings: where the broker is.
        keys: names of the streams.
        aside: what was moved.
        store: where candles are written.
        ledger: where notes are written.
        staging: this process's staging folder.
    """

    def __init__(
        self, settings: Settings, keys: Keys, aside: Aside, store: Store, ledger: Ledger, staging: Staging
    ) -> None:
        self._settings = settings
        self._keys = keys
        self._aside = aside
        self._store = store
        self._ledger = ledger
        self._staging = staging
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="rebuild")
        self._running: Future[None] | None = None
        self._not_before, self._pause = 0.0, _LEAST_PAUSE_SECONDS
        self._is_closing = False

    def begin(self) -> None:
        """Rebuild what was moved aside, if anything was and that is not being done already. Does not wait."""
        if (self._running is not None and not self._running.done()) or time.monotonic() < self._not_before:
            return
        try:
            if self._aside.to_rebuild():
                self._running = self._pool.submit(self._try)
        except OSError as error:
            self._retry(str(error))

    def close(self) -> None:
        """Leave the rest for another time."""
        self._is_closing = True
        self._pool.shutdown()

    def _try(self) -> None:
        client = sync_client(self._settings)
        try:
            self._run(client)
            if time.monotonic() >= self._not_before:
                self._pause = _LEAST_PAUSE_SECONDS
        except (*CONNECTION_ERRORS, RedisError) as error:
            self._retry(str(error))
        except Exception:
            log.exception("a fault of ours while what was moved aside was rebuilt")
            self._retry("a fault of ours")
        finally:
            client.close()

    def _run(self, client: SyncClient) -> None:
        """One pass over the stream of each market that something is to be rebuilt of."""
        by_market: dict[Market, list[_Wanted]] = defaultdict(list)
        for moved in self._aside.to_rebuild():
            wanted = _wanted(moved)
            if wanted is None:
                self._aside.rebuilt(moved)
            else:
                by_market[wanted.series.market].append(wanted)
        for market, files in by_market.items():
            written, failed = self._write_retained(client, market, files)
            if self._is_closing:
                return
            for wanted in (one for one in files if one.series not in failed):
                self._aside.rebuilt(wanted.moved)
                log.warning(
                    "rebuilt %s: the broker held %d candles and notes of %s; `candlewick audit %s %s --repair` fetches "
                    "what it did not hold",
                    wanted.moved.file,
                    written[wanted.series],
                    wanted.series,
                    market,
                    wanted.series.symbol,
                )

    def _write_retained(
        self, client: SyncClient, market: Market, files: Iterable[_Wanted]
    ) -> tuple[Counter[Series], set[Series]]:
        """Write what a stream holds of these files.

        Returns:
            How many entries of each series it held, and the series that could not be written now.
        """
        of_series: dict[Series, list[_Wanted]] = defaultdict(list)
        for wanted in files:
            of_series[wanted.series].append(wanted)
        found: dict[Series, list[Candle | Note]] = defaultdict(list)
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

    def _write(self, found: dict[Series, list[Candle | Note]], written: Counter[Series], failed: set[Series]) -> None:
        for series, items in found.items():
            try:
                self._write_series(series, items)
                written[series] += len(items)
            except StoreError as error:
                failed.add(series)
                self._retry(str(error))
        found.clear()

    def _write_series(self, series: Series, items: Sequence[Candle | Note]) -> None:
        candles = [item for item in items if isinstance(item, Candle)]
        notes = [item for item in items if isinstance(item, Note)]
        if notes:
            self._ledger.write(series, notes, self._staging)
        try:
            if candles:
                self._store.write(series, candles)
        except UnstorableError:
            for candle in candles:
                try:
                    self._store.write(series, [candle])
                except UnstorableError as error:  # the writer met it too, and has its own way with it
                    log.error("not rebuilt: %s at %s: %s", series, utc(candle.open_time_ms), error)

    def _retry(self, reason: str) -> None:
        """Let some time go by before the next try."""
        self._pause = min(2 * self._pause, _MOST_PAUSE_SECONDS)
        self._not_before = time.monotonic() + self._pause
        log.warning("what was moved aside is not rebuilt yet: %s; trying again in %.0f s", reason, self._pause)


def _wanted(moved: Moved) -> _Wanted | None:
    """What belongs into a file that was moved; None when nothing of ours does."""
    kind, *folders, name = moved.file.parts
    if kind == "ledger":
        series = series_of_folder("/".join([*folders, Path(name).stem]))
        return _Wanted(moved, series, None) if series is not None else None
    series, span = series_of_folder("/".join(folders)), partition_span(name)
    return _Wanted(moved, series, Span(*span)) if series is not None and span is not None else None
