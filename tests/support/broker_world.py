"""A world in memory for the model of what producers and brokers do to each other (tests/producers/test_model.py).

Real: publisher, resend buffer, verifier, checkpoints, resumption, gap tracker, repair. In memory: broker, exchange, a
writer and its disk. Everything may happen between any two commands that a producer sends.
"""

import contextlib
import random

import redis

from shared.broker.entry import EntryId
from shared.broker.keys import RECORDED
from shared.candle import Candle, Series
from shared.interval import MINUTE_MS
from shared.series_fact import FactKind, SeriesFact
from shared.spans import Spans
from tests.support.candles import JUNE_30
from tests.support.memory_broker import Data, MemoryBroker
from tests.support.model_writer import Writer
from tests.support.producer_life import BUFFER_CANDLES, GRACE_MS, SERIES, Clock, Killed, Life


class World:
    """Everything, and what may happen to it."""

    def __init__(self, rng: random.Random, clock: Clock) -> None:
        self.rng = rng
        self.clock = clock
        self.broker = MemoryBroker()
        self.broker.before = self._between
        self.broker.seconds = clock
        self.redundancy, self.buffer_candles = rng.choice((1, 2)), rng.choice(BUFFER_CANDLES)
        self.now_ms = JUNE_30 + GRACE_MS
        self.horizon_ms = self.now_ms  # what has closed by then must be on disk at last
        clock.seconds = 100.0
        self.holes = {JUNE_30 + number * MINUTE_MS for number in range(1, 400) if rng.random() < 0.05}
        self.disk: dict[Series, set[int]] = {series: set() for series in SERIES}
        self.absent: dict[Series, Spans] = {series: Spans() for series in SERIES}
        self.began: dict[Series, int] = {}
        self.lives: list[Life | None] = [Life(self, 0)] + [None] * rng.choice((0, 0, 1, 1, 2))
        self.writer: Writer | None = Writer(self)
        self.log: list[str] = []
        self.steps = 0
        self._replica: Data = self.broker.data.copy()
        self._is_calm = True
        self._depth = 0
        self.settle()
        self.settle()
        assert all(self.disk.values()), "recording has begun, and the disk knows it"

    # What happens

    def step(self) -> None:
        """One thing happens."""
        self._is_calm = False
        self.steps += 1
        name = self.rng.choices(_NAMES, _WEIGHTS)[0]
        self.log.append(name)
        getattr(self, f"_{name}")()

    def settle(self) -> None:
        """No fault any more: whatever waits is done, until nothing changes."""
        self._is_calm = True
        self.lives = [life or Life(self, place) for place, life in enumerate(self.lives)]
        for life in self.lives:
            assert life is not None
            life.ears.is_deaf = False
        self.writer = self.writer or Writer(self)
        self.horizon_ms = self.now_ms - GRACE_MS
        for _ in range(60):
            self._agree()
            self.now_ms += MINUTE_MS  # a question may wait for a later time of the exchange's
            for life in self.lives:
                assert life is not None
                for act in (life.save, life.resume, life.send, life.repair, life.send, life.send):
                    act()
            for act in (self.writer.read, self.writer.flush, self.writer.acknowledge):
                act()
            self.writer.look_at_disk()
            self.writer.answer()
            if (
                all(self.disk.values())
                and not self.missing()
                and not any(life and life.publisher.held for life in self.lives)
            ):
                return

    def _agree(self) -> None:
        """Producers see each other, and divide the series among themselves."""
        for _ in range(6):
            self.clock.seconds += 4  # nobody is taken for dead
            for act in ("beat", "divide", "save", "resume"):
                for life in self.lives:
                    assert life is not None
                    getattr(life, act)()

    def missing(self) -> list[tuple[Series, int]]:
        """Candles that the exchange has had since recording began, and that are not on disk; numbers, by series."""
        return [
            (series, (time_ms - JUNE_30) // MINUTE_MS)
            for series in SERIES
            for time_ms in range(JUNE_30, self.horizon_ms - MINUTE_MS + 1, MINUTE_MS)
            if time_ms not in self.holes and time_ms not in self.disk[series]
        ]

    def holders(self) -> dict[Series, int]:
        """How many producers record each series, once they have had the time to agree."""
        was_calm, self._is_calm = self._is_calm, True
        self._agree()
        self._is_calm = was_calm
        return {
            series: sum(life is not None and series in life.ears.series for life in self.lives) for series in SERIES
        }

    def store(self, item: Candle | SeriesFact) -> None:
        """As the store does it."""
        if isinstance(item, Candle):
            self.disk[item.series].add(item.open_time_ms)
        elif item.kind is FactKind.ABSENT:
            self.absent[item.series].add(item.from_ms, item.to_ms)
        elif item.kind is FactKind.BEGAN:
            self.began[item.series] = min(item.from_ms, self.began.get(item.series, item.from_ms))

    def ends(self) -> dict[str, str]:
        """What a writer finds on disk: up to where each series has no hole."""
        found: dict[str, str] = {}
        for series, times in self.disk.items():
            if times:
                there = Spans()
                for time_ms in times:
                    there.add(time_ms, time_ms + MINUTE_MS)
                for span in self.absent[series]:
                    there.add(*span)
                end_ms = there.end_of_run(min(self.began.get(series, min(times)), max(times)))
                found |= {series.field: str(min(end_ms, max(times) + MINUTE_MS)), f"{RECORDED}{series.field}": "1"}
        return found

    def _between(self) -> None:
        """Before each command: perhaps something else happens, perhaps the connection breaks."""
        if self._is_calm or self._depth > 2:  # deep enough for anything
            return
        if self.rng.random() < 0.08:
            self._depth += 1
            name = self.rng.choices(_BETWEEN, _BETWEEN_WEIGHTS)[0]
            self.log.append(f"  {name}")
            getattr(self, f"_{name}")()
            self._depth -= 1
        if self.rng.random() < 0.01:
            self.log.append("  cut")
            raise redis.ConnectionError("cut")
        if self.rng.random() < 0.005:
            self.log.append("  killed")
            raise Killed

    def _live(self, act: str) -> None:
        """A living producer does something, unless the task that does it waits for the broker already."""
        place = self.rng.randrange(len(self.lives))
        life, task = self.lives[place], act if act in ("send", "repair", "beat") else "look"
        if life is None or task in life.busy:
            return
        life.busy.add(task)
        with contextlib.suppress(redis.ConnectionError):
            try:
                getattr(life, act)()
            except Killed:
                self.lives[place] = None
        life.busy.discard(task)

    def _candle_closes(self) -> None:
        self.now_ms += MINUTE_MS
        for life in self.lives:
            for series in SERIES:
                if life is not None and self.rng.random() < 0.8:  # frames may be lost
                    life.hear(series)

    def _send(self) -> None:
        self._live("send")

    def _look(self) -> None:
        self._live("look")

    def _resume(self) -> None:
        self._live("resume")

    def _save(self) -> None:
        self._live("save")

    def _repair(self) -> None:
        self._live("repair")

    def _beat(self) -> None:
        self._live("beat")

    def _divide(self) -> None:
        self._live("divide")

    def _deafen(self) -> None:
        """A producer loses the exchange, or hears it again."""
        life = self.rng.choice(self.lives)
        if life is not None:
            life.ears.is_deaf = not life.ears.is_deaf

    def _producer_dies(self) -> None:
        self.lives[self.rng.randrange(len(self.lives))] = None

    def _producer_starts(self) -> None:
        place = self.rng.randrange(len(self.lives))
        self.lives[place] = self.lives[place] or Life(self, place)

    def _writer_dies(self) -> None:
        self.writer = None

    def _writer_starts(self) -> None:
        self.writer = self.writer or Writer(self)

    def _writes(self, act: str) -> None:
        if self.writer is not None:
            getattr(self.writer, act)()

    def _read(self) -> None:
        self._writes("read")

    def _flush(self) -> None:
        self._writes("flush")

    def _acknowledge(self) -> None:
        self._writes("acknowledge")

    def _look_at_disk(self) -> None:
        self._writes("look_at_disk")

    def _answer(self) -> None:
        self._writes("answer")

    def _time_passes(self) -> None:
        self.clock.seconds += self.rng.choice((1, 1, 5, 30))

    def _trim(self) -> None:
        """Old entries that are acknowledged go, but for the last that was delivered."""
        stream = self.broker.data.stream
        if stream is None or stream.delivered is None or not stream.entries:
            return
        end = min([stream.delivered, *stream.pending])
        for number in [number for number in stream.entries if number < end][: self.rng.randrange(5)]:
            del stream.entries[number]

    def _replicate(self) -> None:
        self._replica = self.broker.data.copy()

    def _fail_over(self) -> None:
        self.broker.fail_over(self._replica, max(1, self.broker.clock_ms + self.rng.choice((0, 0, 5, -5, -50))))
        if self.writer is not None:  # its connection ends with the server, and it begins again
            self.writer = Writer(self)

    def _flushall(self) -> None:
        self.broker.data = Data()

    def _delete_stream(self) -> None:
        self.broker.data.stream = None

    def _destroy_group(self) -> None:
        if self.broker.data.stream is not None:
            self.broker.data.stream.delivered = None
            self.broker.data.stream.pending.clear()

    def _delete_entry(self) -> None:
        """Somebody deletes an entry, once, and whoever published it lives to look: nobody else can know of it."""
        life, stream = self.rng.choice(self.lives), self.broker.data.stream
        if life is None or stream is None or "look" in life.busy:
            return
        is_first = stream.max_deleted == EntryId(0, 0)  # of others only the newest is told
        there = [number for number in life.publisher.resend.items if number in stream.entries and is_first]
        if there:
            number = self.rng.choice(there)
            del stream.entries[number]
            stream.max_deleted = max(stream.max_deleted, number)
            was_calm, self._is_calm = self._is_calm, True
            life.look()
            self._is_calm = was_calm


_HAPPENS = {
    "candle_closes": 10.0,
    "send": 20.0,
    "look": 4.0,
    "resume": 8.0,
    "save": 10.0,
    "repair": 6.0,
    "beat": 8.0,
    "divide": 8.0,
    "deafen": 1.0,
    "read": 12.0,
    "flush": 10.0,
    "acknowledge": 10.0,
    "look_at_disk": 3.0,
    "answer": 3.0,
    "time_passes": 4.0,
    "replicate": 4.0,
    "trim": 2.0,
    "producer_dies": 1.5,
    "producer_starts": 4.0,
    "writer_dies": 1.5,
    "writer_starts": 4.0,
    "fail_over": 1.0,
    "flushall": 0.7,
    "delete_stream": 0.7,
    "destroy_group": 0.5,
    "delete_entry": 0.7,
}
_NAMES, _WEIGHTS = tuple(_HAPPENS), tuple(_HAPPENS.values())
_BETWEEN = tuple(name for name in _NAMES if name not in ("producer_dies", "producer_starts"))
_BETWEEN_WEIGHTS = tuple(_HAPPENS[name] for name in _BETWEEN)
