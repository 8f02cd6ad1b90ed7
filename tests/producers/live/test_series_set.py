"""Which series are recorded and where they continue, against a real broker and an exchange that only lists."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import redis

import producers.live.resume
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
from producers.publish.continuity import Finding, anchor_text
from shared.broker.client import async_client
from shared.broker.entry import EntryId
from shared.broker.keys import ASKED, STORED_AT, Keys
from shared.candle import Series
from shared.errors import RestRefusedError
from shared.interval import DAY_MS, MINUTE_MS, Interval
from shared.market import Market
from shared.process.tasks import cancel
from shared.series_fact import FactKind, SeriesFact
from shared.settings.model import Settings
from tests.support.candles import JUNE_30, make_candle
from tests.support.publishing import until

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
    roster = SeriesSet(Selection(MARKET, settings, share), ears, intake, line, verifier, exchange, clock)
    running = asyncio.create_task(roster.run(look_seconds=0.01))
    try:
        yield roster, line, account, outlet.facts
    finally:
        await cancel([running])
        await client.aclose()


@pytest.fixture
def settings(make_settings: Callable[..., Settings], client: Any, keys: Keys) -> Settings:
    """Everything that is listed is recorded; a writer has said that nothing is on disk."""
    client.hset(keys.stored(MARKET), STORED_AT, "-")
    client.xadd(keys.candles(MARKET), NothingLost.fields, id=str(NothingLost.entry_id))
    return make_settings(
        record=[{"market": MARKET, "symbols": ["*"], "intervals": ["1m"]}], exchange={"symbols_seconds": 0.01}
    )


async def test_a_listing_whose_producer_died_before_it_could_begin_is_recorded_from_its_first_candle(
    settings: Settings, client: Any, keys: Keys
) -> None:
    """The broker was away when the listing was noticed and back when progress was saved."""
    exchange = Exchange()
    async with one_life(settings, exchange) as (roster, line, account, _):
        await until(lambda: account.is_resumed(OLD) and client.hexists(keys.checkpoints(MARKET), OLD.field))
        line.is_cut = True
        exchange.listings_now = [*exchange.listings_now, Listing("NEWUSDT", "TRADING")]
        listed_ms = exchange.since_ms["NEWUSDT"] = exchange.now_ms
        await until(lambda: NEW in account)
        exchange.now_ms += 10 * MINUTE_MS
        seen = exchange.read
        await until(lambda: exchange.read > seen + 1)
        await roster.save()
    exchange.now_ms += 10 * MINUTE_MS
    async with one_life(settings, exchange) as (_, _, account, notes):
        await until(lambda: account.is_resumed(NEW))
        assert account.began_ms(NEW) == listed_ms - listed_ms % MINUTE_MS
        (began,) = (note for note in notes if note.series == NEW)
        assert (began.kind, began.from_ms) == (FactKind.BEGAN, account.began_ms(NEW))


async def test_a_listing_that_another_share_has_seen_is_recorded_from_its_first_candle_all_the_same(
    settings: Settings,
) -> None:
    """One of two producers is down while a symbol of its own is listed."""
    mine, other = sorted((Share(1, 2), Share(2, 2)), key=lambda share: NEW not in share)
    exchange = Exchange()
    exchange.listings_now = [Listing(f"S{number}USDT", "TRADING") for number in range(9)]
    async with one_life(settings, exchange, other) as (_, _, others, _):
        async with one_life(settings, exchange, mine) as (roster, _, account, _):
            await until(lambda: bool(account.series) and all(map(account.is_resumed, account.series)))
            await roster.save()
        read_ms = exchange.now_ms
        exchange.now_ms += 10 * MINUTE_MS
        exchange.since_ms["NEWUSDT"] = exchange.now_ms
        exchange.listings_now = [*exchange.listings_now, Listing("NEWUSDT", "TRADING")]
        exchange.now_ms += 10 * MINUTE_MS
        seen = exchange.read
        await until(lambda: exchange.read > seen + 2 and bool(others.series))
    async with one_life(settings, exchange, mine) as (_, _, account, _):
        await until(lambda: NEW in account and account.is_resumed(NEW))
        assert account.began_ms(NEW) == read_ms - read_ms % MINUTE_MS, "when its list was last read"


async def test_a_listing_of_which_no_more_than_its_noticing_was_written_down_is_recorded_from_its_first_candle(
    settings: Settings, client: Any, keys: Keys
) -> None:
    """Its producer died before progress was saved, while its writer had stored what came live, and told so."""
    exchange = Exchange()
    async with one_life(settings, exchange) as (roster, _, account, _):
        await until(lambda: account.is_resumed(OLD))
        await roster.save()
    read_ms = exchange.now_ms
    exchange.now_ms += 10 * MINUTE_MS
    listed_ms = exchange.since_ms["NEWUSDT"] = exchange.now_ms
    exchange.listings_now = [*exchange.listings_now, Listing("NEWUSDT", "TRADING")]
    client.hset(keys.checkpoints(MARKET), NEW.field, f"{listed_ms + 5 * MINUTE_MS} began")
    client.hset(keys.stored(MARKET), NEW.field, listed_ms + 7 * MINUTE_MS)
    exchange.now_ms += 10 * MINUTE_MS
    async with one_life(settings, exchange) as (_, _, account, _):
        await until(lambda: NEW in account and account.is_resumed(NEW))
        assert account.began_ms(NEW) == read_ms - read_ms % MINUTE_MS, "when its list was last read"


@pytest.mark.parametrize("refuses", [False, True])
@pytest.mark.parametrize("dies", [False, True])
@pytest.mark.parametrize("was", ["", "PENDING_TRADING", "PRE_TRADING", "BREAK", "SETTLING", "DELIVERED"])
async def test_what_was_not_traded_at_the_last_reading_is_asked_for_from_that_reading_on(
    settings: Settings, was: str, dies: bool, refuses: bool
) -> None:
    """Whatever its status was, whether the exchange refuses its klines at first, in the same life or in the next."""
    exchange = Exchange()
    exchange.since_ms["NEWUSDT"] = JUNE_30 + 60 * MINUTE_MS
    old = exchange.listings_now
    exchange.listings_now = old + ([Listing("NEWUSDT", was)] if was else [])

    def trade() -> int:
        read_ms = exchange.now_ms
        exchange.now_ms = JUNE_30 + 90 * MINUTE_MS
        exchange.refuses = refuses
        exchange.listings_now = [*old, Listing("NEWUSDT", "TRADING")]
        return read_ms

    async with one_life(settings, exchange) as (roster, _, account, _):
        await until(lambda: exchange.read > 1 and account.is_resumed(OLD))
        await roster.save()
        assert NEW not in account
        if not dies:
            read_ms = trade()
            await until(lambda: account.is_resumed(NEW))
            assert account.began_ms(NEW) == read_ms - read_ms % MINUTE_MS
            return
    read_ms = trade()
    async with one_life(settings, exchange) as (_, _, account, _):
        await until(lambda: account.is_resumed(NEW))
        assert account.began_ms(NEW) == read_ms - read_ms % MINUTE_MS


async def test_what_was_traded_at_the_last_reading_and_is_wanted_now_is_recorded_from_now(
    settings: Settings, make_settings: Callable[..., Settings]
) -> None:
    """The settings name it since, or a command does: nobody asked for its past."""
    exchange = Exchange()
    few = make_settings(
        record=[{"market": MARKET, "symbols": ["BTC*"], "intervals": ["1m"]}], exchange={"symbols_seconds": 0.01}
    )
    exchange.listings_now = [*exchange.listings_now, Listing("NEWUSDT", "TRADING")]
    async with one_life(few, exchange) as (roster, _, account, _):
        await until(lambda: account.is_resumed(OLD))
        await roster.save()
    exchange.now_ms += 90 * MINUTE_MS
    async with one_life(settings, exchange) as (_, _, account, _):
        await until(lambda: account.is_resumed(NEW))
        assert account.began_ms(NEW) == JUNE_30 + 90 * MINUTE_MS


async def test_a_series_that_began_before_any_writer_spoke_is_not_called_safe_until_one_does(
    settings: Settings, client: Any, keys: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Should the producer die before the writer speaks, the next life must still ask the disk."""
    monkeypatch.setattr(producers.live.resume, "_WRITER_SECONDS", 0.0)
    client.delete(keys.stored(MARKET))
    exchange = Exchange()
    async with one_life(settings, exchange) as (roster, _, account, _):
        await until(lambda: account.is_resumed(OLD))
        await roster.save()
        assert client.hget(keys.checkpoints(MARKET), OLD.field).endswith(b" began")
    earlier = exchange.now_ms - 60 * MINUTE_MS
    client.hset(keys.stored(MARKET), mapping={STORED_AT: "-", OLD.field: earlier})
    async with one_life(settings, exchange) as (_, _, account, _):
        await until(lambda: OLD in account and account.began_ms(OLD) == earlier - earlier % MINUTE_MS)


async def test_the_open_candle_of_a_symbol_that_was_delisted_while_nobody_listened_is_waited_for(
    settings: Settings, client: Any, keys: Keys
) -> None:
    """A moment ago, perhaps: what is safe says nothing about when."""
    exchange = Exchange()
    client.hset(keys.checkpoints(MARKET), NEW.field, str(exchange.now_ms))
    exchange.now_ms += MINUTE_MS // 2
    exchange.listings_now = [*exchange.listings_now, Listing("NEWUSDT", "SETTLING")]
    async with one_life(settings, exchange) as (roster, _, account, notes):
        await until(lambda: NEW in account)
        await roster.save()
        assert account.is_ending(NEW)
        assert [note for note in notes if note.series == NEW] == []
        assert account.questions(exchange.now_ms + 10 * MINUTE_MS)[0].page.from_ms == JUNE_30


async def test_a_series_whose_stream_was_lost_while_nobody_lived_continues_where_the_disk_ends(
    settings: Settings, client: Any, keys: Keys
) -> None:
    """Its checkpoint speaks of a stream that is gone; what was in it and not stored yet, nobody holds."""
    exchange = Exchange()
    async with one_life(settings, exchange) as (roster, _, account, _):
        await until(lambda: account.is_resumed(OLD))
        await roster.save()
        assert NothingLost.anchor in client.hget(keys.checkpoints(MARKET), OLD.field).decode()
    client.delete(keys.candles(MARKET))
    stored_to = JUNE_30 - 60 * MINUTE_MS
    client.hset(keys.stored(MARKET), OLD.field, stored_to)
    exchange.now_ms += 10 * MINUTE_MS
    async with one_life(settings, exchange) as (_, _, account, notes):
        await until(lambda: account.is_resumed(OLD))
        assert account.began_ms(OLD) == stored_to
        assert [note.from_ms for note in notes] == [stored_to], "its beginning may be lost too"


async def test_a_stream_that_is_lost_in_a_life_lets_every_series_continue_where_the_disk_ends(
    settings: Settings, client: Any, keys: Keys
) -> None:
    """No checkpoint is written before a writer has said where that is."""
    exchange, verifier = Exchange(), NothingLost()
    client.delete(keys.stored(MARKET))
    client.hset(keys.checkpoints(MARKET), OLD.field, f"{JUNE_30} published {NothingLost.anchor} {JUNE_30 - DAY_MS}")
    async with one_life(settings, exchange, verifier=verifier) as (roster, _, account, _):
        await until(lambda: account.is_resumed(OLD))
        verifier.finding = Finding.BROKEN
        await until(lambda: verifier.finding is Finding.WHOLE)
        client.delete(keys.checkpoints(MARKET))
        await roster.save()
        assert not client.hexists(keys.checkpoints(MARKET), OLD.field)
        stored_to = JUNE_30 - 60 * MINUTE_MS
        await until(lambda: client.hexists(keys.stored(MARKET), ASKED))
        question = client.hget(keys.stored(MARKET), ASKED)
        client.hset(keys.stored(MARKET), mapping={OLD.field: stored_to, STORED_AT: "an older question"})
        await roster.save()
        assert account.began_ms(OLD) == JUNE_30, "not its own"
        client.hset(keys.stored(MARKET), STORED_AT, question)
        await until(lambda: account.began_ms(OLD) == stored_to)
        await until(lambda: client.hexists(keys.checkpoints(MARKET), OLD.field))
        assert client.hget(keys.checkpoints(MARKET), OLD.field).decode().startswith(f"{stored_to} published")
