"""The scene of the state machine: a broker, files, writers that work one step at a time, and what must be true."""

import os
import shutil
from collections.abc import Callable
from typing import Any

import pytest
import redis
from hypothesis.stateful import RuleBasedStateMachine, invariant
from redis.exceptions import RedisError

from consumer.dataset.compact import join_month
from consumer.group.retention import Retention, Trimmer
from consumer.storage.durable import Staging
from consumer.storage.layout import Period, partition_name, partition_span, series_folder
from consumer.storage.local import LocalStorage
from consumer.writer import Writer
from shared.broker.client import CONNECTION_ERRORS
from shared.broker.keys import Keys
from shared.candle import Series
from shared.errors import SeriesLockedError
from shared.interval import HOUR_MS
from shared.market import Market
from shared.settings.model import Settings
from tests.support.books import Books
from tests.support.candles import JUNE_30
from tests.support.servers import RealServer

WRITERS = 3

OPERATIONS: dict[str, tuple[str, ...]] = {
    "write": ("read", "flush"),
    "take over": ("claim", "read", "flush"),
    "read": ("read",),
    "claim": ("claim",),
    "flush": ("flush",),
    "trim": ("trim",),
    "step": ("step",),
    "stop": ("finish",),
}
"""What a writer does, in the parts of its loop."""


class Clock:
    """The writers' monotonic clock: it goes on when it is told to, and while a writer sleeps."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def monotonic(self) -> float:
        return self.seconds

    def sleep(self, seconds: float) -> None:
        self.seconds += seconds


class Scene(RuleBasedStateMachine):
    """Everything between the producers' streams and the files."""

    def __init__(self, server: RealServer, settings: Settings, clock: Clock) -> None:
        super().__init__()
        self.server = server
        self.settings = settings
        self.clock = clock
        self.keys = Keys(settings.broker.prefix)
        self.client: Any = redis.Redis.from_url(server.url)
        self.books = Books(self.client, settings)
        self.writers: list[Writer | None] = [None] * WRITERS
        self.now = JUNE_30 + 23 * HOUR_MS  # the exchange's clock
        self.locks: dict[Series, int] = {}
        self.restarts = 0
        self.failed = False

    # What must be true

    @invariant()
    def nothing_is_lost_and_nothing_is_doubled(self) -> None:
        self.failed = True
        self.books.check()
        assert not any(writer.reader.lost for writer in self.writers if writer)
        self.failed = False

    def teardown(self) -> None:
        try:
            if not self.failed:
                self._a_fresh_writer_brings_everything_to_disk()
        finally:
            self._unlock()
            for place in range(WRITERS):
                self._bury(place)
            self.client.flushall()
            self.client.close()
            shutil.rmtree(self.settings.data.folder, ignore_errors=True)

    def _a_fresh_writer_brings_everything_to_disk(self) -> None:
        self._unlock()
        for place in range(WRITERS):
            self._bury(place)
        writer = self._writer(0)  # which takes over the name of one that died
        self._repeat(("write",), until=lambda: not self.books.pending_of(writer.consumer))
        self._repeat(("write", "take over"), until=lambda: not self.books.waiting())
        self._work(0, "stop")
        self.books.check_all_is_stored()
        assert [path for path in self.settings.staging_folder.rglob("*") if path.is_file()] == []

    # The parts

    def _writer(self, place: int) -> Writer:
        """The writer at a place; where there is none, or it ended, one is started."""
        writer = self.writers[place]
        if writer is None:
            writer = self.writers[place] = Writer(self.settings, clock=self.clock, block_ms=1)
            writer.reader.create_groups()
        return writer

    def _bury(self, place: int) -> None:
        """What the kernel does for a process that is gone: descriptors are closed, locks fall."""
        writer, self.writers[place] = self.writers[place], None
        if writer is not None:
            writer.close()

    def _work(self, place: int, operation: str) -> None:
        """Parts of a writer's loop; a broker that is away is answered as the loop does."""
        writer = self._writer(place)
        try:
            for part in OPERATIONS[operation]:
                self._do(writer, part)
        except (*CONNECTION_ERRORS, RedisError):
            writer.start_over()
        if operation == "stop":
            self._bury(place)

    def _do(self, writer: Writer, part: str) -> None:
        room = writer.batch.room
        match part:
            case "read" if room:
                writer.batch.add(writer.reader.read(room, 1), self.clock.monotonic())
            case "claim" if room:
                writer.batch.add(writer.reader.claim(0, room), self.clock.monotonic())
            case "flush":
                writer.flush(writer.batch.everything())
            case "trim":
                Trimmer(self.client, self.keys, tuple(Market), Retention(0)).trim()
            case "step":
                writer.step()
            case "finish":
                writer.finish()

    def _repeat(self, operations: tuple[str, ...], until: Callable[[], bool]) -> None:
        for _ in range(100):
            if until():
                return
            for operation in operations:
                self._work(0, operation)
        pytest.fail(f"{' and '.join(operations)} do not come to an end")

    def _compact(self, series: Series) -> None:
        """Join every month of a series, over or not: candles go on coming for those that are joined."""
        folder = self.settings.candles_folder / series_folder(series)
        names = [path.name for path in folder.iterdir()] if folder.is_dir() else []
        months = {partition_name(Period.MONTH, span[0]) for name in names if (span := partition_span(name))}
        staging = Staging(self.settings.staging_folder)
        try:
            storage = LocalStorage(self.settings.data.folder, staging, self.settings.writer.lock_timeout_seconds)
            for month in sorted(months):
                _, old = join_month(storage, series, month)
                if old is not None:
                    shutil.rmtree(old)
        except SeriesLockedError:
            pass  # another time
        finally:
            staging.close()

    def _unlock(self) -> None:
        while self.locks:
            os.close(self.locks.popitem()[1])
