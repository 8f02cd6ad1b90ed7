"""A listener on a simulated exchange."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from itertools import pairwise
from typing import Any

from producers.exchange.connection import End
from producers.live.connections import CandleListener
from shared.candle import Candle, Series
from shared.interval import Interval
from shared.market import Market
from shared.settings.sections import ExchangeSettings
from simulator.server.simulator import Simulator, SimulatorOptions
from tests.support.candles import JUNE_30

SYMBOLS = tuple(f"S{number}USDT" for number in range(25))


def series(market: Market, *symbols: str, interval: Interval = Interval.S1) -> list[Series]:
    return [Series(market, symbol, interval) for symbol in symbols]


@asynccontextmanager
async def listening(
    address: str, market: Market = Market.SPOT, **settings: Any
) -> AsyncIterator[tuple[CandleListener, list[Candle]]]:
    got: list[Candle] = []
    quick = {"retry_max_seconds": 0.2, "silence_timeout_seconds": 5.0}
    exchange = ExchangeSettings(**{"simulator": address, **quick, **settings})
    async with CandleListener(market, exchange, got.append) as listener:
        yield listener, got


def replace_connections(listener: CandleListener) -> None:
    """Every connection is to be replaced, as when it grows old."""
    for line in listener._lines:
        if line._connection is not None:
            line._connection.ask_end(End.OLD)


async def until(condition: Callable[[], bool], seconds: float = 20.0) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.01)


def exchange(**options: Any) -> Simulator:
    return Simulator(SimulatorOptions(**{"speed": 20.0, "start_ms": JUNE_30, "updates": 3} | options))


def gaps(candles: list[Candle]) -> list[int]:
    """Distances between neighbouring open times of one series, repeats left out, in ms."""
    opens = sorted({candle.open_time_ms for candle in candles})
    return sorted({after - before for before, after in pairwise(opens)})
