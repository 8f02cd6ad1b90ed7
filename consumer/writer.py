"""The writer process, wired: consumer group → batch → store → acknowledgement.

One loop, one state: what is in the batch has been delivered to this consumer and not acknowledged. A flush writes
the batch's series side by side, then acknowledges exactly the entries whose partitions are synced. Whatever goes
wrong between two lines leaves the rest pending at the broker, to be read again by this writer or claimed by another;
the store merges by key, so reading again changes nothing.

What cannot be written although disk and broker are well (a fault of ours) is tried a set number of times, then alone,
and then goes to the dead letters; so does an entry that ends the whole process again and again
(``consumer.recovery.poison``). A partition or ledger that is damaged or not ours is moved aside and rebuilt from what
the broker still holds, beside the loop, over a connection of its own (``consumer.recovery.refill``).

Any number of writers may run on one data folder and one group; each claims a staging folder, whose number makes its
consumer name.
"""

import contextlib
import logging
import signal
import socket
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from redis.exceptions import RedisError, ResponseError

from consumer.dataset.figures import newest_ends, unbroken_ends
from consumer.group.batch import Batch
from consumer.group.reader import EntrySource
from consumer.recovery.crash_count import Starts
from consumer.recovery.poison import Alone
from consumer.recovery.refill import Rebuilder
from consumer.storage.durable import Staging, make_folders
from consumer.storage.flush import Flusher
from consumer.storage.metadata import Ledger
from consumer.storage.quarantine import Aside
from consumer.storage.store import Store, Written
from shared.broker.client import CONNECTION_ERRORS, broker_name, check_server, fatal_answer, sync_client
from shared.broker.entry import Entry
from shared.broker.heartbeat import BEAT_SECONDS, Rate, beat_blocking, fall_silent_blocking
from shared.broker.keys import STORED_AT, Keys
from shared.candle import Candle, Series
from shared.errors import ReplicaError, SeriesLockedError, StoreError
from shared.interval import DAY_MS, utc
from shared.market import Market
from shared.process.backoff import backoff
from shared.process.stopping import StopRequests, stop_signals
from shared.series_fact import Note, NoteKind
from shared.settings.model import Settings

log = logging.getLogger(__name__)

ROLE = "writer"

_BLOCK_MS = 400  # how long a read waits for entries, and so how soon a signal is noticed
_READ_COUNT = 2000
_RETRY_SECONDS = 2.0  # after the disk refused a series
_LOCKED_SECONDS = 0.3  # after another writer held a series
_LOCKED_LONG_SECONDS = 10.0  # a lock held for longer is worth a line
_TRIM_SECONDS = 30.0
_REBUILD_SECONDS = 2.0  # between two looks at what was moved aside
_DEAD_AFTER = 10  # times the claim time: a consumer that has not asked for so long, with nothing pending, is gone
_DRAIN_SECONDS = 1.0  # how long a stopping writer goes on reading what is there


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
        aside = Aside(settings.data.folder.absolute())
        store = Store(
            settings.candles_folder.absolute(),
            self._staging,
            writer.lock_timeout_seconds,
            writer.cache_mb * 2**20,
            aside,
        )
        self._ledger = Ledger(settings.ledger_folder.absolute(), aside)
        self._flusher = Flusher(store, self._ledger, self._staging, writer.threads)
        self._keys = Keys(settings.broker.prefix)
        self._rebuilder = Rebuilder(settings, self._keys, aside, store, self._ledger, self._staging)
        self._client = sync_client(
            settings, timeout_seconds=max(settings.broker.timeout_seconds, 2.5 * _BLOCK_MS / 1000)
        )
        self.consumer = f"{socket.gethostname()}-{self._staging.number}"
        self._source = EntrySource(self._client, self._keys, markets, writer.group, self.consumer)
        self._starts = Starts(self._client, self._keys.starts(self.consumer), writer.tries)
        self._one_by_one = False
        self._batch = Batch(writer.flush_seconds, writer.flush_most_seconds, writer.batch_candles)
        self._alone = Alone(
            self._flusher, self._source, self._batch, self._starts, writer.tries, self._beat, lambda: self._stopping
        )
        self._markets = markets
        self._told_at = 0
        self._stopping = False
        self._locked_since: dict[Series, float] = {}
        self._beat_timer, self._trim_timer = _Timer(BEAT_SECONDS), _Timer(_TRIM_SECONDS)
        self._claim_timer, self._rebuild_timer = _Timer(writer.claim_seconds / 2), _Timer(_REBUILD_SECONDS)
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
            self._flusher.close()
            self._rebuilder.close()
            self._client.close()
            self._staging.close()

    def _run(self) -> None:
        delays = backoff(first_seconds=0.2, most_seconds=5.0)
        has_begun = is_ready = False
        reasons: set[str] = set()  # why the broker is away, each told once
        while not self._stopping:
            try:
                if not is_ready:
                    self._greet(is_first=not has_begun)
                    if has_begun:
                        log.info("the broker answers again")
                    has_begun = is_ready = True
                    reasons.clear()
                    delays = backoff(first_seconds=0.2, most_seconds=5.0)
                self._step()
                if 0 <= self._told_at < self._source.groups_created:
                    self._tell_what_is_stored()
            except (*CONNECTION_ERRORS, RedisError, ReplicaError) as error:
                fatal = fatal_answer(error, self._settings)
                if fatal is not None:
                    raise fatal from None
                if isinstance(error, ReplicaError) and not has_begun:
                    raise
                if str(error) not in reasons:
                    log.warning("waiting for the broker %s: %s", broker_name(self._settings), error)
                is_ready = False
                reasons.add(str(error))
                self._start_over()
                self._pause(next(delays))
        if is_ready:
            self._finish()
            with contextlib.suppress(RedisError, OSError):
                fall_silent_blocking(self._client, self._keys, ROLE)
        log.info(
            "stopped; %d candles written, %d entries left pending",
            self._written + self._alone.written,
            len(self._batch),
        )

    def _greet(self, *, is_first: bool) -> None:
        """Look at the server that the address leads to, now or again, and make ready what is read there."""
        check_server(self._client.info(), broker_name(self._settings))
        self._source.create_groups()
        if is_first:
            self._one_by_one = (
                self._starts.begin()
            )  # counted anew if telling fails: sooner one by one, which harms nobody
            self._tell_what_is_stored()
            log.info("writing to %s as %s", self._settings.candles_folder, self.consumer)

    def _tell_what_is_stored(self) -> None:
        """Tell producers where each series ends on disk: a broker that is new, or was emptied, does not know.

        One that was emptied may have lost candles older than the newest on disk: then it is where the first hole is.
        """
        self._told_at = self._source.groups_created
        root = self._settings.candles_folder.absolute()
        if self._source.groups_created:  # the broker is new, or has lost what nobody had stored
            retention_ms = int(self._settings.broker.retention_days * DAY_MS)
            ends = unbroken_ends(root, self._ledger, self._markets, retention_ms)
        else:
            ends = newest_ends(root, self._markets)
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
        self._one_by_one = self._alone.forget_suspects() or self._one_by_one
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
            self._one_by_one = self._one_by_one and not self._source.is_recovered
            if self._one_by_one:
                self._alone.write_pending(entries)
            else:
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
            self._starts.over()
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
        for series, result in self._flusher.write(groups).items():
            if isinstance(result, StoreError):
                failures[series] = result
                continue
            done.extend(groups[series])
            files += result.files
            self._note_conflicts(series, result)
        if done:
            self._source.acknowledge(done)
            self._batch.written(done)
            self._alone.settle_suspects()
            self._starts.over()
        for series in groups.keys() - failures.keys():
            self._locked_since.pop(series, None)
        self._alone.part_with_faults(groups, failures, is_particular=bool(done))
        self._flush_seconds = time.monotonic() - began
        candles = [entry.item for entry in done if isinstance(entry.item, Candle)]
        self._written += len(candles)
        self._files += files
        self._log_flush(candles, (entry.item for entry in done if isinstance(entry.item, Note)), files)
        self._note_failures(failures)
        self._batch.flushed(self._flush_seconds)

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
        claim_ms = int(self._settings.writer.claim_seconds * 1000)
        if self._claim_timer.due(now) and self._batch.room and not self._one_by_one:
            claimed = self._source.claim(claim_ms, self._batch.room)
            self._batch.add((one for one in claimed if not self._alone.is_suspect(one)), now)
            self._source.remove_dead(_DEAD_AFTER * claim_ms)
        if self._trim_timer.due(now):
            self._source.trim(int(self._settings.broker.retention_days * DAY_MS))
            if self._told_at < 0:
                self._tell_what_is_stored()
        if self._rebuild_timer.due(now):
            self._rebuilder.begin()
        self._beat()

    def _beat(self) -> None:
        """Tell the broker how this process is, if it is time to."""
        now = time.monotonic()
        if not self._beat_timer.due(now):
            return
        body = {
            "consumer": self.consumer,
            "written": self._written + self._alone.written,
            "written_per_minute": self._rate.sample(now, self._written + self._alone.written),
            "files": self._files + self._alone.files,
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
