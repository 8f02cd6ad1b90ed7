"""The scene of the state machine: a broker, files, writers that work one step at a time, and what must be true."""

from collections.abc import Callable
from typing import Any

import pytest
import redis
from hypothesis.stateful import RuleBasedStateMachine, invariant
from redis.exceptions import RedisError

from consumer.group.retention import Retention, Trimmer
from consumer.writer import Writer
from shared.broker.client import CONNECTION_ERRORS
from shared.broker.keys import Keys
from shared.interval import HOUR_MS
from shared.market import Market
from shared.settings.model import Settings
from tests.support.books import Books
from tests.support.candles import JUNE_30
from tests.support.servers import RealServer
from tests.support.shelves import Shelf

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

    def __init__(self, server: RealServer, settings: Settings, clock: Clock, shelf: Shelf) -> None:
        super().__init__()
        self.server = server
        self.settings = settings
        self.clock = clock
        self.keys = Keys(settings.broker.prefix)
        self.client: Any = redis.Redis.from_url(server.url)
        self.shelf = shelf
        self.books = Books(self.client, settings, shelf)
        self.writers: list[Writer | None] = [None] * WRITERS
        self.now = JUNE_30 + 23 * HOUR_MS  # the exchange's clock
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
            for place in range(WRITERS):
                self._bury(place)
            self.client.flushall()
            self.client.close()
            self.shelf.remove()

    def _a_fresh_writer_brings_everything_to_disk(self) -> None:
        self.shelf.unlock()
        for place in range(WRITERS):
            self._bury(place)
        writer = self._writer(0)  # which takes over the name of one that died
        self._repeat(("write",), until=lambda: not self.books.pending_of(writer.consumer))
        self._repeat(("write", "take over"), until=lambda: not self.books.waiting())
        self._work(0, "stop")
        self.books.join_months()
        self.shelf.finish()
        self.books.check_all_is_stored()

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
