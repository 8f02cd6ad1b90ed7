"""Which series are recorded and where they continue, against a real broker and an exchange that only lists."""

from collections.abc import Callable
from typing import Any

import pytest

import producers.live.resume
from producers.exchange.symbols import Listing
from producers.live.share import Share
from shared.broker.keys import STORED_AT, Keys
from shared.interval import MINUTE_MS
from shared.series_fact import FactKind
from shared.settings.model import Settings
from tests.support.candles import JUNE_30
from tests.support.lives import MARKET, NEW, OLD, Exchange, one_life
from tests.support.publishing import until


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
