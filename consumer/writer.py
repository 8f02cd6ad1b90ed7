"""The writer process, wired: consumer group → batch → store → acknowledgement.

One loop, one state: what is in the batch has been delivered to this consumer and not acknowledged. A flush writes
the batch's series side by side, then acknowledges exactly the entries whose partitions are synced. Whatever goes
wrong between two lines leaves the rest pending at the broker, to be read again by this writer or claimed by another;
the store merges by key, so reading again changes nothing.

Any number of writers may run on one data folder and one group; each claims a staging folder, whose number makes its
consumer name.
"""

import contextlib
import logging
import signal
import socket
import time
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain
from typing import Any

from redis.exceptions import RedisError, ResponseError

from consumer.batch import Batch, Entry
from consumer.files import Staging, make_folders
from consumer.ledger import Ledger
from consumer.overview import newest_ends
from consumer.source import EntrySource
from consumer.store import Store, Written
from shared.backoff import backoff
from shared.broker import CONNECTION_ERRORS, STORED_AT, Keys, broker_name, check_server, fatal_answer, sync_client
from shared.candle import Candle, Series
from shared.errors import SeriesLockedError, StoreError
from shared.heartbeat import BEAT_SECONDS, Rate, beat_blocking, fall_silent_blocking
from shared.interval import utc
from shared.market import Market
from shared.note import Note, NoteKind
from shared.settings import Settings
from shared.stopping import StopRequests, stop_signals

log = logging.getLogger(__name__)

ROLE = "writer"

_BLOCK_MS = 400  # how long a read waits for entries, and so how soon a signal is noticed
_READ_COUNT = 2000
_RETRY_SECONDS = 2.0  # after the disk refused a series
_LOCKED_SECONDS = 0.3  # after another writer held a series
_LOCKED_LONG_SECONDS = 10.0  # a lock held for longer is worth a line
_TRIM_SECONDS = 30.0
_TOGETHER = 32  # series that a thread writes step by step together
_DRAIN_SECONDS = 1.0  # how long a stopping writer goes on reading what is there
_DAY_MS = 86_400_000
_NOTHING_WRITTEN: Written | StoreError = Written(0, ())


@dataclass(slots=True)
class _Timer:
    """Due every so many seconds, first at once."""

    seconds: float
    due_at: float = 0.0

    def due(self, now: float) -> bool:
        if now < self.due_at:
            return False
        self.due_at = now + self.seconds
        return True


class Writer:
    """Writes what the markets' streams hold until ``stop``.

    Args:
        settings: broker, data folder, flush and lock settings.
        markets: whose streams are written; all by default.

    Raises:
        StoreError: when the data folder cannot be used.
    """

    def __init__(self, settings: Settings, markets: Sequence[Market] = tuple(Market)) -> None:
        self._settings = settings
        writer = settings.writer
        try:
            make_folders(settings.candles_folder.absolute())
            self._staging = Staging(settings.staging_folder.absolute())
        except OSError as error:
            raise StoreError(f"data folder {settings.data.folder} cannot be used: {error}") from error
        self._store = Store(
            settings.candles_folder.absolute(),
            self._staging,
            writer.lock_timeout_seconds,
            writer.cache_mb * 2**20,
        )
        self._ledger = Ledger(settings.ledger_folder.absolute())
        self._keys = Keys(settings.broker.prefix)
        self._client = sync_client(
            settings, timeout_seconds=max(settings.broker.timeout_seconds, 2.5 * _BLOCK_MS / 1000)
        )
        self.consumer = f"{socket.gethostname()}-{self._staging.number}"
        self._source = EntrySource(self._client, self._keys, markets, writer.group, self.consumer)
        self._batch = Batch(writer.flush_seconds, writer.flush_most_seconds, writer.batch_candles)
        self._pool = ThreadPoolExecutor(writer.threads, thread_name_prefix="flush")
        self._markets = markets
        self._told_at = 0
        self._stopping = False
        self._locked_since: dict[Series, float] = {}
        self._beat_timer, self._trim_timer = _Timer(BEAT_SECONDS), _Timer(_TRIM_SECONDS)
        self._claim_timer = _Timer(writer.claim_seconds / 2)
        self._rate = Rate()
        self._written = self._files = self._conflicts = 0
        self._flush_seconds = 0.0
        self._last_failure = ""

    def stop(self) -> None:
        """Ask ``run`` to flush, acknowledge and return. Safe from a signal handler."""
        self._stopping = True

    def run(self) -> None:
        """Write until ``stop``; returns after a last flush.

        Raises:
            BrokerError: when the broker cannot be used as it is.
        """
        try:
            self._run()
        finally:
            self._pool.shutdown()
            self._client.close()
            self._staging.close()

    def _run(self) -> None:
        delays = backoff(first_seconds=0.2, most_seconds=5.0)
        ready, away = False, False
        while not self._stopping:
            try:
                if not ready:
                    check_server(self._client.info(), broker_name(self._settings))
                    self._source.create_groups()
                    self._tell_what_is_stored()
                    log.info("writing to %s as %s", self._settings.candles_folder, self.consumer)
                    ready, away = True, False
                self._step()
                if self._source.groups_created > max(self._told_at, 0):
                    self._tell_what_is_stored()
                if away:
                    log.info("the broker answers again")
                    delays, away = backoff(first_seconds=0.2, most_seconds=5.0), False
            except (*CONNECTION_ERRORS, RedisError) as error:
                fatal = fatal_answer(error, self._settings)
                if fatal is not None:
                    raise fatal from None
                if not away:
                    log.warning("waiting for the broker %s: %s", broker_name(self._settings), error)
                away = True
                self._start_over()
                self._pause(next(delays))
        if ready and not away:
            self._finish()
            with contextlib.suppress(RedisError, OSError):
                fall_silent_blocking(self._client, self._keys, ROLE)
        log.info("stopped; %d candles written, %d entries left pending", self._written, len(self._batch))

    def _tell_what_is_stored(self) -> None:
        """Tell producers where each series ends on disk: a broker that is new, or was emptied, does not know."""
        self._told_at = self._source.groups_created
        ends = newest_ends(self._settings.candles_folder.absolute(), self._markets)
        for market in self._markets:
            found: Any = {series.field: end_ms for series, end_ms in ends.items() if series.market is market}
            try:
                self._client.hset(self._keys.stored(market), mapping=found | {STORED_AT: time.time_ns() // 1_000_000})
            except ResponseError as error:  # a broker that is full can still be read: try again with the next trim
                log.debug("what is stored cannot be told: %s", error)
                self._told_at = -1

    def _start_over(self) -> None:
        """Forget what was read and not acknowledged: it is pending, and is read again, over a new connection."""
        self._batch.clear()
        self._source.recover()
        self._client.connection_pool.disconnect()  # the address may lead to another server by now

    def _pause(self, seconds: float) -> None:
        """Wait, but not beyond a request to stop."""
        until = time.monotonic() + seconds
        while not self._stopping and (left := until - time.monotonic()) > 0:
            time.sleep(min(left, 0.1))

    def _step(self) -> None:
        """Read once, flush if it is due, keep house."""
        now = time.monotonic()
        due_in = self._batch.due_in(now)
        wait_ms = _BLOCK_MS if due_in is None else min(_BLOCK_MS, int(due_in * 1000))
        if self._batch.room:
            entries = self._source.read(min(_READ_COUNT, self._batch.room), wait_ms)
            self._batch.add(entries, time.monotonic())
        else:
            self._pause(wait_ms / 1000)
        self._flush(self._batch.due(time.monotonic()))
        self._keep_house(time.monotonic())

    def _finish(self) -> None:
        """Take what is in the streams already, and flush a last time; what is refused now stays pending."""
        deadline = time.monotonic() + _DRAIN_SECONDS
        try:
            while self._batch.room and time.monotonic() < deadline:
                entries = self._source.read(min(_READ_COUNT, self._batch.room), block_ms=1)
                self._batch.add(entries, time.monotonic())
                if not entries and self._source.is_recovered:
                    break
            self._flush(self._batch.everything())
        except (*CONNECTION_ERRORS, RedisError) as error:
            log.warning("leaving entries pending, the broker is away: %s", error)

    def _flush(self, groups: Mapping[Series, Sequence[Entry]]) -> None:
        """Write these series side by side, then acknowledge those that are safe."""
        if not groups:
            return
        began = time.monotonic()
        done: list[Entry] = []
        failures: dict[Series, StoreError] = {}
        files = 0
        ordered = sorted(groups)  # two writers that lock several series do it in the same order
        chunks = [ordered[first : first + _TOGETHER] for first in range(0, len(ordered), _TOGETHER)]
        results = chain.from_iterable(self._pool.map(lambda chunk: self._write_chunk(chunk, groups), chunks))
        for series, result in zip(ordered, results, strict=True):
            if isinstance(result, StoreError):
                failures[series] = result
                continue
            done.extend(groups[series])
            files += result.files
            self._note_conflicts(series, result)
        self._source.acknowledge(done)
        self._batch.written(done)
        for series in groups.keys() - failures.keys():
            self._locked_since.pop(series, None)
        self._flush_seconds = time.monotonic() - began
        candles = [entry.item for entry in done if isinstance(entry.item, Candle)]
        self._written += len(candles)
        self._files += files
        self._log_flush(candles, (entry.item for entry in done if isinstance(entry.item, Note)), files)
        self._note_failures(failures)
        self._batch.flushed(self._flush_seconds)

    def _write_chunk(
        self, chunk: Iterable[Series], groups: Mapping[Series, Sequence[Entry]]
    ) -> list[Written | StoreError]:
        """Store candles, then notes; a series is done when both are on disk."""
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
                try:
                    self._ledger.write(series, notes, self._staging)
                except StoreError as error:
                    results[series] = error
        return list(results.values())

    def _note_failures(self, failures: Mapping[Series, StoreError]) -> None:
        """Plan the next try of each series that failed, and say so once: at once, or for a lock after a while."""
        now = time.monotonic()
        locked = {series for series, error in failures.items() if isinstance(error, SeriesLockedError)}
        for series in locked:
            self._locked_since.setdefault(series, now)
        for series in failures:
            self._batch.failed(series, now + (_LOCKED_SECONDS if series in locked else _RETRY_SECONDS))
        told = [
            error
            for series, error in failures.items()
            if series not in locked or now - self._locked_since[series] > _LOCKED_LONG_SECONDS
        ]
        if told and str(told[0]) != self._last_failure:
            self._last_failure = str(told[0])
            log.error("%d series stay pending: %s; trying again", len(told), self._last_failure)
        elif self._last_failure and not self._batch.failing:
            log.info("every series can be written again")
            self._last_failure = ""
        forgotten = self._batch.forget_excess()
        if forgotten:
            log.error(
                "%d entries that cannot be written are left to the broker until they are claimed again", forgotten
            )

    def _note_conflicts(self, series: Series, written: Written) -> None:
        self._conflicts += len(written.conflicts)
        for open_time_ms in written.conflicts:
            log.warning("two different candles of %s at %s: kept the one with more trades", series, utc(open_time_ms))

    def _log_flush(self, candles: Sequence[Candle], notes: Iterable[Note], files: int) -> None:
        for note in notes:
            _log_note(note)
        if len(candles) > self._settings.writer.log_candles:
            log.info(
                "Recorded %d candles of %d series in %d files in %.2f s, newest %s",
                len(candles),
                len({candle.series for candle in candles}),
                files,
                self._flush_seconds,
                utc(max(candle.end_time_ms for candle in candles)),
            )
            return
        for candle in candles:
            log.info("Record %s at %s", candle.series, utc(candle.end_time_ms))

    def _keep_house(self, now: float) -> None:
        if self._claim_timer.due(now) and self._batch.room:
            claimed = self._source.claim(int(self._settings.writer.claim_seconds * 1000), self._batch.room)
            self._batch.add(claimed, now)
        if self._trim_timer.due(now):
            self._source.trim(int(self._settings.broker.retention_days * _DAY_MS))
            if self._told_at < 0:
                self._tell_what_is_stored()
        if self._beat_timer.due(now):
            body = {
                "consumer": self.consumer,
                "written": self._written,
                "written_per_minute": self._rate.sample(now, self._written),
                "files": self._files,
                "waiting": len(self._batch),
                "flush_seconds": round(self._flush_seconds, 3),
                "conflicts": self._conflicts,
                "dead_letters": self._source.dead_letters,
                "lost": self._source.lost,
                "failure": self._last_failure or None,
            }
            try:
                beat_blocking(self._client, self._keys, ROLE, body)
            except ResponseError as error:  # a broker that is full refuses it, and can still be read and acknowledged
                log.debug("no heartbeat: %s", error)


def _log_note(note: Note) -> None:
    """Say what a note says, where it is more than that recording began."""
    match note.kind:
        case NoteKind.ABSENT:
            log.warning("absent at the exchange: %s from %s to %s", note.series, utc(note.from_ms), utc(note.to_ms))
        case NoteKind.ENDED:
            log.warning("%s ends at %s: %s", note.series, utc(note.from_ms), note.reason)
        case NoteKind.BEGAN:
            log.debug("%s is recorded from %s", note.series, utc(note.from_ms))


def write(settings: Settings, markets: Sequence[Market] = tuple(Market)) -> None:
    """Run a writer until SIGTERM or SIGINT, which let it finish; a second signal ends it at once, losing nothing."""
    writer = Writer(settings, markets)
    requests = StopRequests()

    def on_signal(number: int, _frame: object) -> None:
        if requests.ask() == "again":
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)
        writer.stop()

    for number in stop_signals():
        signal.signal(number, on_signal)
    writer.run()
