"""What a writer tells of its flushes: log lines, the next try of series that cannot be written, and its heartbeat."""

import logging
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from consumer.group.batch import Batch
from consumer.storage.candle_store import Written
from shared.broker.entry import Entry
from shared.broker.heartbeat import Rate
from shared.candle import WEBSOCKET, Candle, Series
from shared.errors import SeriesLockedError, StoreError
from shared.interval import utc
from shared.market import Market
from shared.metrics.measures import CLOSE_TO_DISK_SECONDS, STEP_SECONDS, Buckets
from shared.process.clock import Clock
from shared.series_fact import BEFORE_ITS_FIRST, FactKind, SeriesFact

log = logging.getLogger(__name__)

_RETRY_SECONDS = 2.0  # after the disk refused a series
_LOCKED_SECONDS = 0.3  # after another writer held a series
_LOCKED_LONG_SECONDS = 10.0  # a lock held for longer is worth a line


class Journal:
    """One writer's counters. A flush of more than ``log_candles`` candles logs one summary, not a line a candle.

    Attributes:
        written: candles written.
        files: partitions replaced.
        conflicts: how often two different candles met under one key.
        flush_seconds: what the last flush cost.
        failure: why series cannot be written now; empty when all can.
        nbytes: bytes of the files written.
        written_by_market: ``written`` by market.
        newest_end_ms: end of the newest candle on disk, by market, in UTC ms.
        flush: how long flushes take.
        close_to_disk: how long after their close candles that came over WebSocket are on disk, by market.
    """

    def __init__(self, log_candles: int, clock: Clock) -> None:
        self.written = self.files = self.conflicts = self.nbytes = 0
        self.written_by_market: Counter[Market] = Counter()
        self.newest_end_ms: dict[Market, int] = {}
        self.flush = Buckets(STEP_SECONDS)
        self.close_to_disk = {market: Buckets(CLOSE_TO_DISK_SECONDS) for market in Market}
        self.flush_seconds = 0.0
        self.failure = ""
        self._log_candles = log_candles
        self._clock = clock
        self._locked_since: dict[Series, float] = {}
        self._rate = Rate()

    def note_flush(self, done: Mapping[Series, tuple[Sequence[Entry], Written]], seconds: float) -> None:
        """A flush is over: these entries of these series are durable."""
        self.flush_seconds = seconds
        self.flush.observe(seconds)
        self.note_stored(done)

    def note_stored(self, done: Mapping[Series, tuple[Sequence[Entry], Written]]) -> None:
        """These entries of these series are durable, in a flush or written alone."""
        entries = [entry.item for series_entries, _ in done.values() for entry in series_entries]
        candles = [item for item in entries if isinstance(item, Candle)]
        files = sum(written.files for _, written in done.values())
        self.written += len(candles)
        self.files += files
        self.nbytes += sum(written.nbytes for _, written in done.values())
        self._measure(candles)
        for series, (_, written) in done.items():
            self._locked_since.pop(series, None)
            self.conflicts += len(written.conflicts)
            for time_ms in written.conflicts:
                log.warning("two different candles of %s at %s: the one with more trades stays", series, utc(time_ms))
        for item in entries:
            if isinstance(item, SeriesFact):
                _log_fact(item)
        self._log_candles_of(candles, files)

    def note_alone(self, entry: Entry, written: Written) -> None:
        """One entry was written alone, and is durable."""
        self.note_stored({entry.item.series: ([entry], written)})

    def _measure(self, candles: Sequence[Candle]) -> None:
        now_ms, ends = time.time_ns() // 1_000_000, self.newest_end_ms
        for candle in candles:
            market = candle.series.market
            self.written_by_market[market] += 1
            ends[market] = max(ends.get(market, 0), candle.end_time_ms)
            if candle.source == WEBSOCKET:
                self.close_to_disk[market].observe(candle.seconds_since_close(now_ms))

    def note_failures(self, failures: Mapping[Series, StoreError], batch: Batch) -> None:
        """Plan the next try of each series that failed, and say so once: at once, or for a lock after a while."""
        now, lasting = self._clock.monotonic(), list[StoreError]()
        for series, error in failures.items():
            is_locked = isinstance(error, SeriesLockedError)
            batch.retry(series, now + (_LOCKED_SECONDS if is_locked else _RETRY_SECONDS))
            if not is_locked or now - self._locked_since.setdefault(series, now) > _LOCKED_LONG_SECONDS:
                lasting.append(error)
        if lasting and str(lasting[0]) != self.failure:
            self.failure = str(lasting[0])
            log.error("%d series stay pending: %s; trying again", len(lasting), self.failure)
        elif self.failure and not batch.failing:
            log.info("every series can be written again")
            self.failure = ""
        if left := batch.forget_excess():
            log.error("%d entries that cannot be written are left to the broker until they are claimed again", left)

    def heartbeat(self) -> dict[str, Any]:
        """What a heartbeat says of what is written."""
        return {
            "written": self.written,
            "written_per_minute": self._rate.sample(self._clock.monotonic(), self.written),
            "files": self.files,
            "flush_seconds": round(self.flush_seconds, 3),
            "bytes": self.nbytes,
            "close_to_disk": {str(market): buckets.counts for market, buckets in self.close_to_disk.items()},
            "conflicts": self.conflicts,
            "failure": self.failure or None,
            "troubles": [self.failure] if self.failure else [],
        }

    def _log_candles_of(self, candles: Sequence[Candle], files: int) -> None:
        if len(candles) > self._log_candles:
            series = len({candle.series for candle in candles})
            newest = utc(max(candle.end_time_ms for candle in candles))
            text = "Recorded %d candles of %d series in %d files in %.2f s, newest %s"
            log.info(text, len(candles), series, files, self.flush_seconds, newest)
            return
        for candle in candles:
            log.info("Record %s at %s", candle.series, utc(candle.end_time_ms))


def _log_fact(fact: SeriesFact) -> None:
    """Say what a fact says, where it is more than that recording began."""
    match fact.kind:
        case FactKind.ABSENT:
            level = logging.INFO if fact.reason == BEFORE_ITS_FIRST else logging.WARNING
            log.log(level, "absent at the exchange: %s from %s to %s", fact.series, utc(fact.from_ms), utc(fact.to_ms))
        case FactKind.ENDED:
            log.warning("%s ends at %s: %s", fact.series, utc(fact.from_ms), fact.reason)
        case FactKind.BEGAN:
            log.debug("%s is recorded from %s", fact.series, utc(fact.from_ms))
        case FactKind.FETCHED | FactKind.REPAIRED:
            log.debug("%s is %s from %s", fact.series, fact.kind, utc(fact.from_ms))
