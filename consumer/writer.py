"""The writer process: consumer group → batch → storage → acknowledgement.

The batch holds what was delivered to this consumer and is not acknowledged. A flush writes the batch's series side by
side, then acknowledges exactly the entries whose partitions are durable. Whatever goes wrong in between leaves the rest
pending at the broker, to be read again by this writer or claimed by another. Storage merges by key, so reading again
changes nothing.

An entry that meets an internal error again and again, or ends the whole process, is isolated and goes to the dead
letters (``consumer.recovery.poison``). A file that is damaged or not ours is quarantined, and refilled beside the loop
with what the broker still holds (``consumer.recovery.refill``).

Any number of writers may share a data folder and a group. A writer's staging folder gives its consumer its number.
"""

import contextlib
import logging
import signal
import socket
import time
from collections.abc import Iterable, Mapping, Sequence
from math import inf
from typing import Any

from redis.exceptions import OutOfMemoryError, RedisError

from consumer.dataset.compactor import Compactor
from consumer.dataset.dataset import Dataset
from consumer.figures import WriterFigures
from consumer.group.batch import Batch
from consumer.group.reader import EntryReader
from consumer.group.retention import Retention, Trimmer, remove_dead
from consumer.group.streams import warn_of_clock
from consumer.journal import Journal
from consumer.recovery.poison import CrashCount, PoisonIsolation
from consumer.recovery.refill import Refiller
from consumer.sources import SourceWatch
from consumer.storage.candle_store import CandleStore, Written
from consumer.storage.durable import Staging, make_folders
from consumer.storage.flush import Flusher, Groups
from consumer.storage.kinds import open_storage
from consumer.storage.metadata import MetadataStore
from consumer.stored_ends import StoredEnds
from shared.broker.address import broker_name
from shared.broker.client import CONNECTION_ERRORS, check_server, fatal_answer, server_info, sync_client
from shared.broker.entry import Entry
from shared.broker.heartbeat import BEAT_SECONDS, beat, fall_silent
from shared.broker.keys import Keys
from shared.candle import Series
from shared.errors import ReplicaError, StoreError
from shared.interval import DAY_MS
from shared.market import Market
from shared.metrics.measures import Family
from shared.metrics.server import Watched, watched
from shared.metrics.vitals import Vitals
from shared.process.backoff import backoff
from shared.process.clock import Clock
from shared.process.once import SayOnce
from shared.process.stopping import StopRequests, stop_signals
from shared.process.timer import Timer
from shared.settings.model import Settings

log = logging.getLogger(__name__)

ROLE = "writer"
_BLOCK_MS = 400  # how long a read waits for entries, and so how soon a signal is noticed
_READ_COUNT = 2000
_TRIM_SECONDS = 30.0
_ANSWER_SECONDS = 1.0  # between two looks whether a producer asks what is on disk
_REFILL_SECONDS = 2.0  # between two looks at what was quarantined
_STORE_REFILL_SECONDS = 60.0  # the same in an object store, where each costs a request
_STORE_THREADS = 16  # an answer takes a while, and costs nothing but waiting
_COMPACT_SECONDS = 3600.0  # between two looks for months that are over
_DEAD_AFTER = 10  # times the claim time: a consumer that has not asked for so long, with nothing pending, is gone
_DRAIN_SECONDS = 1.0  # how long a stopping writer goes on reading what is there


class Writer:
    """Writes what the markets' streams hold until ``stop``. StoreError when the data folder cannot be used.

    Attributes:
        consumer: its name in the group.
        reader: its side of the group.
        batch: what was read and is not written yet.
    """

    def __init__(
        self,
        settings: Settings,
        markets: Sequence[Market] = tuple(Market),
        clock: Clock = time,
        block_ms: int = _BLOCK_MS,
    ) -> None:
        self._settings = settings
        self._clock, self._block_ms = clock, block_ms
        self._markets = markets
        writer = settings.writing
        self._staging = Staging(settings.staging_folder)
        self._storage = storage = open_storage(settings, self._staging, writer.lock_timeout_seconds)
        try:
            make_folders(settings.candles_folder.absolute())  # readers find the dataset before anything is in it
        except OSError as error:
            raise StoreError(f"data folder {settings.data.folder} cannot be used: {error}") from error
        candles = CandleStore(storage, writer.cache_mb * 2**20, quarantines=True)
        threads = max(writer.threads, _STORE_THREADS) if settings.data.store else writer.threads
        self._keys = Keys(settings.broker.prefix)
        timeout_seconds = max(settings.broker.timeout_seconds, 2.5 * block_ms / 1000)
        self._client = sync_client(settings, timeout_seconds=timeout_seconds)
        self._sources = SourceWatch(self._client, self._keys, storage, markets, settings.exchange)
        self._flusher = Flusher(candles, MetadataStore(storage, quarantines=True), threads, self._sources.refused)
        self._refiller = Refiller(settings, self._flusher)
        self._compactor = Compactor(storage)
        self.consumer = f"{socket.gethostname()}-{self._staging.number}"
        retention_ms = int(settings.broker.retention_days * DAY_MS)
        self.reader = EntryReader(self._client, self._keys, markets, writer.group, self.consumer)
        retention = Retention(retention_ms, settings.broker.retention_entries)
        self._trimmer = Trimmer(self._client, self._keys, markets, retention)
        self._stored = StoredEnds(self._client, self._keys, Dataset(storage), markets, retention_ms)
        pauses = writer.flush_seconds, writer.flush_max_seconds
        self.batch = Batch(*pauses, writer.batch_candles, self._flusher.series_at_once)
        self._crashes = CrashCount(self._client, self._keys.crash_count(self.consumer), writer.tries)
        self._journal = Journal(writer.log_candles, clock)
        self._isolation = PoisonIsolation(
            self._flusher, self.reader, self.batch, self._crashes, writer.tries, self._beat, self._journal.note_alone
        )
        self._vitals, self._figures = Vitals(), WriterFigures(settings, markets, self._journal)
        self._beat_timer, self._trim_timer = Timer(BEAT_SECONDS), Timer(_TRIM_SECONDS)
        self._answer_timer, self._compact_timer = Timer(_ANSWER_SECONDS), Timer(_COMPACT_SECONDS)
        refill_seconds = _STORE_REFILL_SECONDS if settings.data.store else _REFILL_SECONDS
        self._claim_timer, self._refill_timer = Timer(writer.claim_seconds / 2), Timer(refill_seconds)
        self._one_by_one = self._stopping = False

    def stop(self) -> None:
        """Ask ``run`` to flush, acknowledge and return. Safe from a signal handler."""
        self._stopping = True

    def run(self) -> None:
        """Write until ``stop``, then flush a last time. BrokerError when the broker cannot be used as it is."""
        process = Watched(ROLE, self._vitals, self._families, self._figures.troubles)
        try:
            with watched(self._settings.metrics, process):
                self._run()
        finally:
            self.close()

    def close(self) -> None:
        """Let go of connections, threads and the staging folder; what is being written is waited for."""
        self._flusher.close()
        self._refiller.close()
        self._compactor.close()
        self._client.close()
        self._staging.close()

    def _run(self) -> None:
        delays = backoff(first_seconds=0.2, max_seconds=5.0)
        has_begun = is_ready = False
        say_away = SayOnce(log.warning)
        while not self._stopping:
            try:
                if not is_ready:
                    self._greet(is_first=not has_begun)
                    if say_away.reset() and has_begun:
                        log.info("the broker answers again")
                    has_begun = is_ready = True
                    delays = backoff(first_seconds=0.2, max_seconds=5.0)
                self.step()
            except (*CONNECTION_ERRORS, RedisError, ReplicaError) as error:
                fatal = fatal_answer(error, self._settings)
                if fatal is not None:
                    raise fatal from None
                if isinstance(error, ReplicaError) and not has_begun:
                    raise
                say_away("waiting for the broker %s: %s", broker_name(self._settings), error)
                self._vitals.note(self._report())
                is_ready = False
                self.start_over()
                self._pause(next(delays))
        if is_ready:
            self.finish()
            with contextlib.suppress(RedisError, OSError):
                fall_silent(self._client, self._keys, ROLE)
        log.info("stopped; %d candles written, %d entries left pending", self._journal.written, len(self.batch))

    def _greet(self, *, is_first: bool) -> None:
        """Check the server that the address leads to now, and create the groups that are read there."""
        for market in self._markets:
            check_server(server_info(self._client, self._keys.candles(market)), broker_name(self._settings))
        warn_of_clock(self._client)
        self._sources.greet()
        self.reader.create_groups()
        if is_first:
            self._one_by_one = self._crashes.count_start()  # counted anew if telling fails: that harms nobody
            self._stored.add_new()
            log.info("writing to %s as %s", self._settings.dataset_name, self.consumer)

    def start_over(self) -> None:
        """Forget what was read and not acknowledged: it is pending, and is read again, over a new connection."""
        self.batch.clear()
        self._one_by_one = self._isolation.forget_suspects() or self._one_by_one
        self.reader.recover()
        self._client.connection_pool.disconnect()  # the address may lead to another server by now

    def _pause(self, seconds: float) -> None:
        """Wait, but not beyond a request to stop."""
        until = self._clock.monotonic() + seconds
        while not self._stopping and (left := until - self._clock.monotonic()) > 0:
            self._clock.sleep(min(left, 0.1))

    def step(self) -> None:
        """One turn of the loop: read once, flush if it is due, keep house. Raises what redis-py raises.

        StoreError when the data folder was taken away: what it would write into another one stays pending.
        """
        self._storage.check_root()
        now = self._clock.monotonic()
        due_in = self.batch.due_in(now)
        wait_ms = self._block_ms if due_in is None else min(self._block_ms, int(due_in * 1000))
        is_behind = False
        if self.batch.room:
            has_waited, count = not self.reader.is_recovered, min(_READ_COUNT, self.batch.room)
            entries = self.reader.read(count, wait_ms)
            is_behind = len(entries) >= count
            self._one_by_one = self._one_by_one and not self.reader.is_recovered
            self._sources.note({entry.market for entry in entries})
            if self._one_by_one:
                self._isolation.write_pending(entries)
            else:
                soon = self._settings.writer.flush_seconds if has_waited else inf
                self.batch.add(entries, self._clock.monotonic(), soon)
        else:
            self._pause(wait_ms / 1000)
        if not (is_behind and self.batch.room):  # what is read of a backlog first is written with fewer flushes
            self.flush(self.batch.due(self._clock.monotonic()))
        self._keep_house(self._clock.monotonic())

    def finish(self) -> None:
        """Take what is in the streams already, and flush a last time; what is refused now stays pending."""
        deadline = self._clock.monotonic() + _DRAIN_SECONDS
        try:
            while self.batch.room and self._clock.monotonic() < deadline:
                entries = self.reader.read(min(_READ_COUNT, self.batch.room), block_ms=1)
                self._sources.note({entry.market for entry in entries})
                self.batch.add(entries, self._clock.monotonic())
                if not entries and self.reader.is_recovered:
                    break
            self.flush(self.batch.everything())
            self._crashes.reset()
        except (*CONNECTION_ERRORS, RedisError) as error:
            log.warning("leaving entries pending, the broker is away: %s", error)

    def flush(self, groups: Groups) -> None:
        """Write these series side by side, then acknowledge those that are durable."""
        if not groups:
            return
        began = self._clock.monotonic()
        results = self._flusher.write(groups)
        done = {series: (groups[series], result) for series, result in results.items() if isinstance(result, Written)}
        failures = {series: result for series, result in results.items() if isinstance(result, StoreError)}
        if done:
            self._acknowledge(done)
        self._isolation.isolate(groups, failures, others_can=bool(done))
        seconds = self._clock.monotonic() - began
        self._journal.note_flush(done, seconds)
        self._journal.note_failures(failures, self.batch)
        self.batch.note_flush(groups.keys(), seconds, self._clock.monotonic())

    def _acknowledge(self, done: Mapping[Series, tuple[Sequence[Entry], Written]]) -> None:
        entries = [entry for series_entries, _ in done.values() for entry in series_entries]
        self.reader.acknowledge(entries)
        self.batch.remove(entries)
        self._isolation.try_suspects()
        self._crashes.reset()

    def _keep_house(self, now: float) -> None:
        claim_ms = int(self._settings.writing.claim_seconds * 1000)
        if self._claim_timer.ring(now) and self.batch.room and not self._one_by_one:
            claimed = self.reader.claim(claim_ms, self.batch.room)
            self._sources.note({entry.market for entry in claimed})
            self.batch.add((entry for entry in claimed if not self._isolation.is_suspect(entry)), now)
            group = self._settings.writer.group
            remove_dead(self._client, self._keys, self._markets, group, self.consumer, _DEAD_AFTER * claim_ms)
        if self._trim_timer.ring(now):
            self._trimmer.trim()
        if self._answer_timer.ring(now):
            self._stored.answer(now)
        if self._refill_timer.ring(now):
            self._refiller.start()
        if self._settings.writer.compact and self._compact_timer.ring(now):
            self._compactor.start()
        self._beat()

    def _beat(self) -> bool:
        """Tell the broker how this process is, if it is time to; False when it is time to stop."""
        if not self._beat_timer.ring(self._clock.monotonic()):
            return not self._stopping
        body = self._report()
        self._vitals.note(body)
        try:
            beat(self._client, self._keys, ROLE, body)
        except OutOfMemoryError as error:  # a broker that is full refuses it, and can still be read and acknowledged
            log.debug("no heartbeat: %s", error)
        return not self._stopping

    def _report(self) -> dict[str, Any]:
        """What a heartbeat says."""
        return self._journal.heartbeat() | {
            "consumer": self.consumer,
            "waiting": len(self.batch),
            "dead_letters": self.reader.dead_letters,
            "lost": self.reader.lost,
        }

    def _families(self) -> Iterable[Family]:
        return self._figures.families(self._vitals.report)


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
