"""Lives of a set of series, against a real broker and an exchange that only lists."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import redis

from producers.exchange.clock import ExchangeClock
from producers.exchange.event_time import EventTime
from producers.exchange.page import Answer, Page
from producers.exchange.symbols import Listing
from producers.gaps.intake import Intake
from producers.gaps.tracker import GapTracker
from producers.live.checkpoints import Checkpoints
from producers.live.known import Known
from producers.live.selection import Selection
from producers.live.series_set import SeriesSet
from producers.live.share import Share
from producers.live.sharing import Sharing
from producers.publish.continuity import Finding, anchor_text
from shared.broker.client import async_client
from shared.broker.entry import EntryId
from shared.broker.keys import STORED_AT, Keys
from shared.candle import Series
from shared.errors import RestRefusedError
from shared.interval import MINUTE_MS, Interval
from shared.market import Market
from shared.process.tasks import cancel
from shared.series_fact import SeriesFact
from shared.settings.model import Settings
from tests.support.candles import JUNE_30, make_candle

MARKET = Market.USDT_FUTURES
OLD, NEW = (Series(MARKET, symbol, Interval.M1) for symbol in ("BTCUSDT", "NEWUSDT"))


EVERYTHING = Share()


class Exchange:
    """Lists symbols and tells the time; has klines of what is traded, since it is.

    Attributes:
        since_ms: when symbols began to be traded that were not traded always.
        refuses: whether it refuses questions for klines.
    """

    def __init__(self) -> None:
        self.since_ms: dict[str, int] = {}
        self.refuses = False
        self.listings_now = [Listing("BTCUSDT", "TRADING")]
        self.now_ms = JUNE_30
        self.read = 0

    async def listings(self) -> list[Listing]:
        self.read += 1
        return self.listings_now

    async def klines(self, series: Series, page: Page, closed_before_ms: int) -> Answer:
        if self.refuses:
            raise RestRefusedError("Invalid symbol status.", -1122)
        assert page.end_ms is not None
        last_ms = min(page.end_ms, closed_before_ms) - MINUTE_MS
        has_any = self.since_ms.get(series.symbol, 0) <= last_ms
        return Answer([make_candle(series, last_ms)] if has_any else [], page.end_ms)

    async def server_time_ms(self) -> int:
        self.now_ms += 1
        return self.now_ms


class Ears:
    """Listens to nothing."""

    connections = (0, 0)

    async def add_series(self, series: list[Series]) -> None:
        pass

    remove_series = add_series


class Outlet:
    """Keeps the facts that are handed to it."""

    def __init__(self) -> None:
        self.facts: list[SeriesFact] = []

    def put_fact(self, fact: SeriesFact) -> None:
        self.facts.append(fact)


class NothingLost:
    """A broker that holds everything, and one entry that stands in the stream."""

    entry_id, fields = EntryId(1, 1), {b"an": b"entry"}
    anchor = anchor_text(entry_id, fields, EntryId(0, 0))

    finding = Finding.WHOLE

    published = 0

    def is_idle(self, _: int) -> bool:
        return False

    async def look(self) -> Finding:
        finding, self.finding = self.finding, Finding.WHOLE
        return finding


class Line(Checkpoints):
    """Checkpoints whose reading is lost on the way while ``is_cut``; a writer that has spoken once answers at once."""

    is_cut = False

    async def ask_disk(self, question: str) -> None:
        await super().ask_disk(question)
        stored = self._keys.stored(self._market)
        if await self._client.hexists(stored, STORED_AT):
            await self._client.hset(stored, STORED_AT, question)

    async def load(self) -> Known:
        if self.is_cut:
            raise redis.ConnectionError("cut")
        return await super().load()


@asynccontextmanager
async def one_life(
    settings: Settings, exchange: Any, share: Share = EVERYTHING, verifier: Any = None
) -> AsyncIterator[tuple[SeriesSet, Line, GapTracker, list[SeriesFact]]]:
    """A set of series that is kept up to date until it is killed."""
    ears: Any = Ears()
    outlet: Any = Outlet()
    verifier = verifier or NothingLost()
    client = async_client(settings)
    line = Line(client, Keys(settings.broker.prefix), MARKET, share)
    account = GapTracker(5000, 600_000)
    clock = ExchangeClock(EventTime(), exchange, monotonic=lambda: 1000 * time.monotonic())
    intake = Intake(outlet, account)
    sharing = Sharing(client, MARKET, settings, share)
    selection = Selection(MARKET, settings, share, sharing.division)
    roster = SeriesSet(selection, ears, intake, line, verifier, exchange, clock, sharing)
    said = asyncio.create_task(sharing.run(roster, ears, clock))
    running = asyncio.create_task(roster.run(look_seconds=0.01))
    try:
        yield roster, line, account, outlet.facts
    finally:
        await cancel([running, said])
        await client.aclose()
