"""The exchange's time: how often the exchange is asked for it, whatever it answers."""

import asyncio
from typing import Any

import pytest

from producers.exchange.clock import ExchangeClock
from producers.exchange.event_time import EventTime
from shared.errors import RestRefusedError, RestUnavailableError
from tests.support.candles import JUNE_30


class Exchange:
    """Tells the time, or refuses to; counts how often it was asked."""

    def __init__(self) -> None:
        self.error: Exception | None = None
        self.asked: list[float] = []
        self.now = 0.0

    async def server_time_ms(self) -> int:
        self.asked.append(self.now)
        if self.error is not None:
            raise self.error
        return JUNE_30 + int(1000 * self.now)


async def ask_for(seconds: float, exchange: Exchange, clock: ExchangeClock) -> int:
    """Three ask four times a second each; how often the time was told."""
    told = 0
    for _ in range(int(4 * seconds)):
        for fresh in (False, False, True):
            try:
                told += bool(await clock.ask(fresh=fresh))
            except RestUnavailableError:
                continue
        exchange.now += 0.25
    return told


@pytest.fixture
def exchange() -> Exchange:
    return Exchange()


@pytest.fixture
def clock(exchange: Exchange) -> ExchangeClock:
    rest: Any = exchange
    return ExchangeClock(EventTime(), rest, monotonic=lambda: exchange.now)


@pytest.mark.parametrize(
    "error", [RestUnavailableError("HTTP 503"), RestRefusedError("HTTP 451: a restricted location")], ids=str
)
async def test_an_exchange_that_refuses_is_asked_ever_more_slowly_however_many_ask(
    exchange: Exchange, clock: ExchangeClock, error: Exception
) -> None:
    exchange.error = error
    assert await ask_for(600, exchange, clock) == 0
    minutes = [sum(60 * minute <= at < 60 * minute + 60 for at in exchange.asked) for minute in range(10)]
    assert minutes[0] <= 40
    assert all(1 <= asked <= 20 for asked in minutes[1:]), minutes
    assert sum(minutes[1:]) < 9 * 8, "half a minute at most, a quarter of it on average, or more"


async def test_an_exchange_that_is_back_is_believed_and_asked_as_before(
    exchange: Exchange, clock: ExchangeClock
) -> None:
    exchange.error = RestUnavailableError("HTTP 503")
    await ask_for(120, exchange, clock)
    exchange.error = None
    assert await ask_for(60, exchange, clock) > 60
    assert await clock.ask() == clock.server_ms > JUNE_30
    exchange.error, refused_at = RestUnavailableError("HTTP 503"), exchange.now
    await ask_for(10, exchange, clock)
    assert any(at - refused_at < 2 for at in exchange.asked if at > refused_at), "the first pauses are short again"


async def test_what_the_exchange_says_of_how_long_it_is_closed_makes_no_pause_of_ours(
    exchange: Exchange, clock: ExchangeClock
) -> None:
    """Whoever keeps the weight sees to it that nothing is sent."""
    exchange.error = RestUnavailableError("closed", seconds=25)
    with pytest.raises(RestUnavailableError):
        await clock.ask()
    exchange.error = None
    assert await clock.ask() == JUNE_30


async def test_an_answer_ends_the_refusal_that_came_while_it_was_under_way(
    exchange: Exchange, clock: ExchangeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the next question would fail without a reason."""
    is_under_way, may_answer = asyncio.Event(), asyncio.Event()
    tell = exchange.server_time_ms

    async def tell_later() -> int:
        is_under_way.set()
        await may_answer.wait()
        return await tell()

    monkeypatch.setattr(exchange, "server_time_ms", tell_later)
    slow = asyncio.create_task(clock.ask(fresh=True))
    await is_under_way.wait()
    monkeypatch.setattr(exchange, "server_time_ms", tell)
    exchange.error = RestUnavailableError("HTTP 503")
    with pytest.raises(RestUnavailableError, match="503"):
        await clock.ask(fresh=True)
    exchange.error = None
    may_answer.set()
    assert await slow == await clock.ask(fresh=True)
