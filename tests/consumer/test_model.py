"""Whatever happens in whatever order, nothing acknowledged is lost and nothing is doubled.

A hypothesis state machine publishes candles, notes and malformed entries to a real Valkey and lets up to three real
writers work on one data folder, each one step at a time. They are killed, cut off from the broker, stopped and
overtaken at points in the middle of an operation (tests/consumer/interruption.py); months are joined beside them;
streams are trimmed, the group deleted, the broker killed; the exchange's clock jumps. After every step the broker and
the files are compared with what was published (tests/consumer/books.py). In the end one fresh writer has to bring
everything to disk.

By default the same few sequences are tried each time. To search for longer, at random::

    pytest tests/consumer/test_model.py --hypothesis-profile=search

which takes an hour or so; ``--hypothesis-seed=N`` tries one search again. A failure is printed as the calls that
lead to it, shortened.
"""

import contextlib
import fcntl
import itertools
import logging
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import redis
from hypothesis import Phase
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test
from redis.exceptions import RedisError

import consumer.writer
from consumer.dataset.compact import join_month
from consumer.group.dead_letters import drop, letters, requeue
from consumer.storage.durable import Staging
from consumer.storage.layout import Period, partition_name, partition_span, series_folder
from consumer.storage.store import Store
from consumer.writer import Writer
from shared.broker.client import CONNECTION_ERRORS
from shared.broker.entry import encode_entry
from shared.broker.keys import Keys
from shared.candle import Series
from shared.errors import SeriesLockedError
from shared.interval import DAY_MS, HOUR_MS, MINUTE_MS, Interval
from shared.market import Market
from shared.series_fact import Note, NoteKind
from shared.settings.model import Settings
from tests.conftest import JUNE_30, RealServer, make_candle
from tests.consumer.books import TAG, Books
from tests.consumer.interruption import cut_off, killed, overtaken

SERIES = (
    Series(Market.USDT_FUTURES, "BTCUSDT", Interval.M1),  # a file a day
    Series(Market.USDT_FUTURES, "BTCUSDT", Interval.S1),  # a file an hour
    Series(Market.SPOT, "BTCUSDT", Interval.M1),
    Series(Market.SPOT, "ETHUSDT", Interval.H1),  # a file a month
    Series(Market.COIN_FUTURES, "BTCUSD_PERP", Interval.MONTH),  # a file a year
)
CONTRADICTIONS: tuple[dict[str, Any], ...] = (
    {},
    {"trade_num": 419, "volume": "1.000"},
    {"volume": "17.000"},
    {"close": "61624.80"},
    {"trade_num": 7, "volume": "99.500"},
    {"volume": "16.71"},  # no contradiction, only spelled otherwise
)
MALFORMED: tuple[dict[str, Any], ...] = (
    {"volume": "-1"},
    {"open_time_ms": JUNE_30 + 1},
    {"symbol": "../BTCUSDT"},
    {"interval": "7m"},
    {"close": b"\xff"},
    {"note": "rumour"},
    {"note": "absent", "from_ms": 5, "to_ms": 5, "noted_ms": 5, "reason": ""},
)
CLOCK_STEPS = (MINUTE_MS, HOUR_MS, DAY_MS, 31 * DAY_MS, -MINUTE_MS, -DAY_MS)
WRITERS = 3
IS_SEARCH = hypothesis_settings.get_current_profile_name() == "search"

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

Arrivals = list[tuple[Series, str]]

series = st.sampled_from(SERIES)
markets = st.sampled_from((Market.USDT_FUTURES, Market.SPOT))
places = st.integers(0, WRITERS - 1)
operations = st.sampled_from(sorted(OPERATIONS))
points = st.integers(0, 20)
arrivals = st.lists(
    st.tuples(series, st.sampled_from(("candle", "contradiction", "note", "malformed"))), min_size=1, max_size=4
)


class Clock:
    """The writers' monotonic clock: it goes on when it is told to, and while a writer sleeps."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def monotonic(self) -> float:
        return self.seconds

    def sleep(self, seconds: float) -> None:
        self.seconds += seconds


class Recording(RuleBasedStateMachine):
    """Everything between the producers' streams and the files, and all that may befall it."""

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

    # What comes in

    @rule(series=series, count=st.integers(1, 6))
    def candles_close(self, series: Series, count: int) -> None:
        """One after the other, in order, and the clock goes on with them."""
        for _ in range(count):
            self.books.publish(make_candle(series, series.interval.floor(self.now)))
            self.now = series.interval.end(series.interval.floor(self.now))

    @rule(
        series=series,
        klines=st.lists(st.tuples(st.integers(-6, 3), st.sampled_from(CONTRADICTIONS)), min_size=1, max_size=6),
    )
    def candles_come_in_disorder(self, series: Series, klines: list[tuple[int, dict[str, Any]]]) -> None:
        for offset, changes in klines:
            open_time_ms = series.interval.floor(self.now + offset * series.interval.typical_ms)
            self.books.publish(make_candle(series, open_time_ms, **changes))

    @rule(
        series=series,
        kind=st.sampled_from(NoteKind),
        offset=st.integers(-5, 5),
        length=st.integers(1, 3),
        is_noted=st.booleans(),
    )
    def a_note_comes(self, series: Series, kind: NoteKind, offset: int, length: int, is_noted: bool) -> None:
        begin = series.interval.floor(self.now + offset * series.interval.typical_ms)
        end = begin + length * series.interval.typical_ms if kind is NoteKind.ABSENT else begin
        noted = 0 if kind is NoteKind.BEGAN and not is_noted else self.now
        reason = "its status is BREAK" if kind is NoteKind.ENDED else ""
        self.books.publish(Note(series, kind, begin, end, noted, reason))

    @rule(market=markets, changes=st.sampled_from(MALFORMED))
    def a_malformed_entry_comes(self, market: Market, changes: dict[str, Any]) -> None:
        candle = make_candle(Series(market, "BTCUSDT", Interval.M1), Interval.M1.floor(self.now))
        self.books.publish_malformed(market, encode_entry(candle) | changes)

    def _come(self, arrivals: Arrivals) -> None:
        """What there is to do for a writer that is interrupted."""
        for series, kind in arrivals:
            match kind:
                case "candle":
                    self.candles_close(series, 1)
                case "contradiction":
                    self.candles_come_in_disorder(series, [(-1, CONTRADICTIONS[1])])
                case "note":
                    self.a_note_comes(series, NoteKind.ABSENT, 0, 1, is_noted=True)
                case "malformed":
                    self.a_malformed_entry_comes(series.market, MALFORMED[0])

    @rule(step_ms=st.sampled_from(CLOCK_STEPS))
    def the_exchange_clock_steps(self, step_ms: int) -> None:
        self.now += step_ms

    # What writers do, undisturbed or not

    @rule(place=places, operation=operations, seconds=st.sampled_from((0.0, 1.0, 100.0)))
    def a_writer_works(self, place: int, operation: str, seconds: float) -> None:
        self.clock.sleep(seconds)
        self._work(place, operation)

    @rule(arrivals=arrivals, place=places, operation=operations, point=points)
    def a_writer_is_killed(self, arrivals: Arrivals, place: int, operation: str, point: int) -> None:
        self._come(arrivals)
        self._writer(place)
        killed(point, lambda: self._work(place, operation))
        self._bury(place)

    @rule(arrivals=arrivals, place=places, operation=operations, point=st.integers(0, 8))
    def a_writer_is_cut_off(self, arrivals: Arrivals, place: int, operation: str, point: int) -> None:
        self._come(arrivals)
        self._writer(place)
        cut_off(point, lambda: self._work(place, operation))

    @rule(arrivals=arrivals, place=places, operation=operations, point=points, is_joined=st.booleans())
    def a_writer_is_overtaken(
        self, arrivals: Arrivals, place: int, operation: str, point: int, is_joined: bool
    ) -> None:
        """It is stopped in the middle; more comes, others write that and what it holds, and join months; it wakes."""

        def others() -> None:
            self._come(arrivals)
            self._work((place + 1) % WRITERS, "take over")
            for series in SERIES[:3] if is_joined else ():
                self._compact(series)

        self._come(arrivals)
        self._writer(place)
        overtaken(point, lambda: self._work(place, operation), others)

    @rule(place=places)
    def a_writer_wakes_when_others_have_written_what_it_read(self, place: int) -> None:
        self._work(place, "read")
        self._work((place + 1) % WRITERS, "take over")
        self._work(place, "flush")

    # What happens around them

    @rule(series=st.sampled_from(SERIES[:3]), point=st.none() | points)
    def a_month_is_joined(self, series: Series, point: int | None) -> None:
        if point is None:
            self._compact(series)
        else:
            killed(point, lambda: self._compact(series))

    @rule(series=series)
    def a_series_is_locked_or_unlocked(self, series: Series) -> None:
        """By a process that was stopped in the middle of a flush."""
        folder = self.settings.candles_folder / series_folder(series)
        if series in self.locks:
            os.close(self.locks.pop(series))
        elif folder.is_dir():
            self.locks[series] = fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)

    @rule(market=markets, is_put_back=st.booleans())
    def a_dead_letter_is_decided(self, market: Market, is_put_back: bool) -> None:
        for letter in itertools.islice(letters(self.client, self.keys, market), 1):
            if is_put_back:
                assert requeue(self.client, self.keys, letter)
                self.books.requeued(market, letter.fields[TAG])
            else:
                assert drop(self.client, self.keys, letter)
                self.books.dropped(letter.fields[TAG])

    @rule(market=markets, operation=st.sampled_from(("delete entries", "delete stream", "destroy group")))
    def somebody_has_a_hand_in_the_broker(self, market: Market, operation: str) -> None:
        """Nothing is deleted that was not written: that would be a loss by order."""
        stream = self.keys.candles(market)
        match operation:
            case "delete entries":
                for number in self.books.deletable(market)[:3]:
                    self.client.xdel(stream, number)
            case "delete stream":
                self.books.delete_stream(market)
            case "destroy group":
                self.books.group_will_be_made_again(market)
                with contextlib.suppress(redis.ResponseError):  # a stream that was deleted
                    self.client.xgroup_destroy(stream, self.settings.writer.group)

    @precondition(lambda self: not self.restarts)
    @rule()
    def the_broker_is_killed_and_comes_back(self) -> None:
        self.restarts += 1
        self.server.kill()
        self.server.start()

    # What must be true

    @invariant()
    def nothing_is_lost_and_nothing_is_doubled(self) -> None:
        self.failed = True
        self.books.check()
        assert not any(writer._source.lost for writer in self.writers if writer)
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
            writer = self.writers[place] = Writer(self.settings)
            writer._source.create_groups()
        return writer

    def _bury(self, place: int) -> None:
        """What the kernel does for a process that is gone: descriptors are closed, locks fall."""
        writer, self.writers[place] = self.writers[place], None
        if writer is not None:
            writer._flusher.close()
            writer._rebuilder.close()
            writer._client.close()
            writer._staging.close()

    def _work(self, place: int, operation: str) -> None:
        """Parts of a writer's loop; a broker that is away is answered as the loop does."""
        writer = self._writer(place)
        try:
            for part in OPERATIONS[operation]:
                self._do(writer, part)
        except (*CONNECTION_ERRORS, RedisError):
            writer._start_over()
        if operation == "stop":
            self._bury(place)

    def _do(self, writer: Writer, part: str) -> None:
        room = writer._batch.room
        match part:
            case "read" if room:
                writer._batch.add(writer._source.read(room, 1), self.clock.monotonic())
            case "claim" if room:
                writer._batch.add(writer._source.claim(0, room), self.clock.monotonic())
            case "flush":
                writer._flush(writer._batch.everything())
            case "trim":
                writer._source.trim(0)
            case "step":
                writer._step()
            case "finish":
                writer._finish()

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
            store = Store(self.settings.candles_folder, staging, self.settings.writer.lock_timeout_seconds, 0)
            for month in sorted(months):
                _, aside = join_month(store, series, month)
                if aside is not None:
                    shutil.rmtree(aside)
        except SeriesLockedError:
            pass  # another time
        finally:
            staging.close()

    def _unlock(self) -> None:
        while self.locks:
            os.close(self.locks.popitem()[1])


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The clock of all writers of the test; a read waits for a millisecond and not longer."""
    clock = Clock()
    fake = SimpleNamespace(monotonic=clock.monotonic, sleep=clock.sleep, time_ns=lambda: int(clock.seconds * 1e9))
    monkeypatch.setattr(consumer.writer, "time", fake)
    monkeypatch.setattr(consumer.writer, "_BLOCK_MS", 1)
    return clock


@pytest.fixture
def make_recording(
    make_server: Callable[..., RealServer], make_settings: Callable[..., Settings], clock: Clock, tmp_path: Path
) -> Callable[[], Recording]:
    """Each recording has a prefix and a data folder of its own; they share one broker.

    Everything that is small or short elsewhere is smaller here, so that a few entries reach every bound: three entries
    are a node of the stream (what is trimmed), ten a batch; nothing is kept for a while, nothing waited for.
    """
    server = make_server(
        stream_node_max_entries="3", appendfsync="no"
    )  # it writes before it answers: enough for a kill
    numbers = itertools.count()

    def make() -> Recording:
        number = next(numbers)
        settings = make_settings(
            broker={"url": server.url, "prefix": f"model-{number}", "retention_days": 1e-9},
            data={"folder": tmp_path / f"data-{number}"},
            writer={"batch_candles": 10, "threads": 1, "lock_timeout_seconds": 0.01},
        )
        return Recording(server, settings, clock)

    return make


@pytest.mark.timeout(0 if IS_SEARCH else 600)  # a failure is made as short as it can be, which takes minutes
def test_whatever_happens_what_is_acknowledged_is_on_disk_once_and_the_rest_waits(
    make_recording: Callable[[], Recording], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL, "consumer")  # what is logged of so many faults would fill the memory
    profile = hypothesis_settings.default
    assert profile is not None
    run_state_machine_as_test(  # type: ignore[no-untyped-call,unused-ignore]
        make_recording,  # type: ignore[arg-type] # a function will do, says its documentation
        settings=hypothesis_settings(
            profile,
            max_examples=profile.max_examples // 4,
            stateful_step_count=40,
            phases=(Phase.generate, Phase.shrink),
        ),
    )


def test_a_malformed_entry_is_buried_once_also_when_the_writer_that_read_it_was_overtaken(
    make_recording: Callable[[], Recording],
) -> None:
    recording = make_recording()
    try:
        market = SERIES[0].market
        recording.a_malformed_entry_comes(market, MALFORMED[0])
        writer, other = recording._writer(0), recording._writer(1)
        overtaken(3, lambda: writer._source.read(10, 1), lambda: other._source.claim(0, 10))
        assert len(list(letters(recording.client, recording.keys, market))) == 1
    finally:
        recording.teardown()
