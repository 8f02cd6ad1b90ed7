"""A publisher and its verifier at the two ends of a stream, for tests that break what is between."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from consumer.group.reader import EntryReader
from producers.gaps.tracker import GapTracker
from producers.publish.continuity import Finding
from producers.publish.publisher import Publisher
from producers.publish.verify import StreamVerifier
from shared.broker.client import CONNECTION_ERRORS, async_client
from shared.broker.entry import decode_entry
from shared.broker.keys import Keys
from shared.candle import Candle
from shared.process.tasks import cancel
from shared.series_fact import SeriesFact
from shared.settings.load import load_settings
from tests.support.candles import BTC, JUNE_30, MINUTE, make_candle
from tests.support.publishing import until
from tests.support.servers import RealServer

MARKET = BTC.market
KEYS = Keys("candlewick")


def candles(first: int, last: int) -> list[Candle]:
    return [make_candle(open_time_ms=JUNE_30 + number * MINUTE) for number in range(first, last)]


@dataclass
class Ends:
    """A publisher with the account of its series, and the check between them."""

    publisher: Publisher
    check: StreamVerifier
    account: GapTracker

    async def publish(self, items: list[Candle] | list[SeriesFact]) -> None:
        for item in items:
            if isinstance(item, SeriesFact):
                self.publisher.put_fact(item)
            else:
                assert self.publisher.put(item)
                self.account.mark_received(item)
        await until(lambda: self.publisher.held == 0)

    async def look(self) -> Finding:
        """Look as soon as the broker answers, and wait until what is published again has arrived."""
        while True:
            try:
                found = await self.check.look()
            except CONNECTION_ERRORS:
                await asyncio.sleep(0.01)
                continue
            await until(lambda: self.publisher.held == 0)
            return found

    @property
    def safe_candles(self) -> int:
        progress = self.account.checkpoint(BTC)
        assert progress is not None
        return (progress - JUNE_30) // MINUTE


@asynccontextmanager
async def ends(server: RealServer, buffer_candles: int = 1000) -> AsyncIterator[Ends]:
    settings = load_settings(
        flags={"broker": {"url": server.url, "timeout_seconds": 2}, "publisher": {"buffer_candles": buffer_candles}}
    )
    client = async_client(settings)
    account = GapTracker(5000, 60_000)
    account.expect(BTC, JUNE_30)
    account.resume(BTC, JUNE_30)
    publisher = Publisher(client, MARKET, settings, account)
    check = StreamVerifier(client, settings, MARKET, publisher, account)
    running = asyncio.create_task(publisher.run())
    try:
        yield Ends(publisher, check, account)
    finally:
        await cancel([running])
        await client.aclose()


def in_stream(client: Any) -> list[Candle | SeriesFact]:
    return [decode_entry(MARKET, fields) for _, fields in client.xrange(KEYS.candles(MARKET))]


def store_all(client: Any) -> None:
    """As a writer does that stores everything it reads."""
    source = EntryReader(client, KEYS, [MARKET], "writers", "one")
    source.create_groups()
    while entries := source.read(1000, 1):
        source.acknowledge(entries)
