"""Candles in the future are refused, and named; others come through, however fast time goes."""

import asyncio
import logging
from typing import Any

import pytest

from producers.exchange.clock import ExchangeClock
from producers.exchange.event_time import EventTime
from producers.live.doubts import Doubts
from shared.candle import Candle
from shared.errors import RestUnavailableError
from shared.interval import DAY_MS
from shared.process.tasks import cancel
from tests.support.candles import JUNE_30, MINUTE, make_candle
from tests.support.publishing import until


class Time:
    """A monotonic clock, and an exchange whose own clock goes with it."""

    def __init__(self, speed: float = 1.0) -> None:
        self.seconds, self.speed = 0.0, speed
        self.is_closed = False

    def __call__(self) -> float:
        return self.seconds

    @property
    def now_ms(self) -> int:
        return JUNE_30 + int(self.seconds * 1000 * self.speed)

    async def server_time_ms(self) -> int:
        if self.is_closed:
            raise RestUnavailableError("closed")
        return self.now_ms


def closed(end_ms: int, event_ms: int | None = None) -> Candle:
    return make_candle(open_time_ms=end_ms - MINUTE, event_time_ms=end_ms if event_ms is None else event_ms)


@pytest.mark.parametrize("speed", [1, 60, 1000])
def test_whatever_the_speed_what_is_true_is_believed(speed: float) -> None:
    time = Time(speed)
    events = EventTime(time)
    events.note(time.now_ms)
    events.confirm(time.now_ms)
    time.seconds += 1
    events.confirm(time.now_ms)  # as whoever asks for the time does
    for seconds in (0.1, 0.1, 0.6, 2, 3, 10, 1):
        time.seconds += seconds
        assert events.is_believable(time.now_ms), seconds
        events.note(time.now_ms)
    assert events.newest_ms == time.now_ms
    assert not events.is_believable(time.now_ms + DAY_MS * 30)


async def test_a_candle_in_the_future_is_refused_and_named_and_moves_nothing(caplog: pytest.LogCaptureFixture) -> None:
    time, taken = Time(), list[Candle]()
    rest: Any = time
    events = EventTime(time)
    clock = ExchangeClock(events, rest, monotonic=time)
    doubts = Doubts(events, clock, taken.append)
    running = asyncio.create_task(doubts.run())
    for _ in range(3):
        time.seconds += 60
        events.note(time.now_ms)
    good = closed(time.now_ms)
    doubts.take(good)
    assert taken == [good]
    for wrong in (closed(time.now_ms + DAY_MS), closed(time.now_ms + 10 * MINUTE), closed(JUNE_30 + 400 * DAY_MS)):
        doubts.take(wrong)
        events.note(wrong.event_time_ms)
    doubts.take(closed(time.now_ms + 5 * MINUTE, time.now_ms))
    await until(lambda: doubts.refused == 4)
    assert taken == [good]
    assert events.newest_ms == time.now_ms
    told = [record.getMessage() for record in caplog.records]
    assert all(line.startswith("refused a candle of usdt_futures BTCUSDT-1m that ends at ") for line in told)
    await cancel([running])


async def test_what_comes_first_after_a_long_silence_is_taken_once_the_exchange_has_told_its_time() -> None:
    time, taken = Time(), list[Candle]()
    rest: Any = time
    events = EventTime(time)
    doubts = Doubts(events, ExchangeClock(events, rest, monotonic=time), taken.append)
    running = asyncio.create_task(doubts.run())
    events.note(time.now_ms)
    time.speed = 100  # as if this machine had slept
    time.seconds += 600
    late = closed(time.now_ms - time.now_ms % MINUTE)
    doubts.take(late)
    await until(lambda: taken == [late])
    await cancel([running])


async def test_while_the_exchange_does_not_tell_its_time_what_is_doubted_is_left_to_repair(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.WARNING)
    time, taken = Time(), list[Candle]()
    time.is_closed = True
    rest: Any = time
    events = EventTime(time)
    doubts = Doubts(events, ExchangeClock(events, rest, monotonic=time), taken.append)
    running = asyncio.create_task(doubts.run())
    events.note(time.now_ms)
    doubts.take(closed(time.now_ms + DAY_MS))
    await until(
        lambda: "1 candle may lie in the future, and the exchange does not tell: left to repair: closed" in caplog.text
    )
    assert taken == []
    await cancel([running])


def test_the_first_frame_of_all_may_be_wrong_too() -> None:
    """By then the exchange's own clock has told, if it tells at all."""
    time = Time()
    events = EventTime(time)
    assert events.is_believable(time.now_ms + DAY_MS), "nobody has said anything else"
    events.confirm(time.now_ms)
    assert not events.is_believable(time.now_ms + DAY_MS)
    events.note(time.now_ms + DAY_MS)
    assert events.newest_ms == time.now_ms
    assert events.first_ms == 0
