"""A publisher that runs, and what it has published."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from producers.gaps.tracker import GapTracker
from producers.publish.publisher import Publisher
from shared.broker.client import async_client
from shared.broker.entry import decode_entry
from shared.broker.keys import Keys
from shared.candle import Candle
from shared.market import Market
from shared.process.tasks import cancel
from shared.settings.model import Settings


@asynccontextmanager
async def publishing(settings: Settings) -> AsyncIterator[Publisher]:
    client = async_client(settings)
    publisher = Publisher(client, Market.USDT_FUTURES, settings, GapTracker(5000, 60_000))
    running = asyncio.create_task(publisher.run())
    try:
        yield publisher
        publisher.drain()
        await asyncio.wait_for(running, 20)
    finally:
        await cancel([running])
        await client.aclose()


async def until(condition: Callable[[], bool], seconds: float = 20.0) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.01)


def published(client: Any, keys: Keys) -> list[Candle]:
    entries = client.xrange(keys.candles(Market.USDT_FUTURES))
    decoded = [decode_entry(Market.USDT_FUTURES, fields) for _, fields in entries]
    return [item for item in decoded if isinstance(item, Candle)]
