"""Candlewick's ``CandleListener``. It tells of closed candles alone, so frames are counted by its own counter."""

import asyncio
from importlib.metadata import version

from bench.peers.feed import SYMBOLS
from bench.peers.stopwatch import Stopwatch, timed
from producers.live.connections import CandleListener
from shared.candle import Candle, Series
from shared.interval import Interval
from shared.market import Market
from shared.settings.sections import ExchangeSettings

_LOOK_SECONDS = 0.005


async def receive(address: str, watch: Stopwatch) -> None:
    """Listen until enough was seen."""
    candles = list[Candle]()
    async with CandleListener(Market.SPOT, ExchangeSettings(spot_websocket=address), candles.append) as listener:
        await listener.add_series([Series(Market.SPOT, symbol, Interval.M1) for symbol in SYMBOLS])
        seen = 0
        while not watch.done.is_set():
            await asyncio.sleep(_LOOK_SECONDS)
            if listener.counters.frames > seen:
                watch.see(listener.counters.frames - seen)
                seen = listener.counters.frames
    assert candles  # noqa: S101 # some closed


if __name__ == "__main__":
    timed(receive, version("candlewick"))
