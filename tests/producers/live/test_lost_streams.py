"""Where series continue whose stream was lost: what was in it and not stored yet, nobody holds."""

from typing import Any

from producers.publish.continuity import Finding
from shared.broker.keys import ASKED, STORED_AT, Keys
from shared.interval import DAY_MS, MINUTE_MS
from shared.settings.model import Settings
from tests.support.candles import JUNE_30
from tests.support.lives import MARKET, OLD, Exchange, NothingLost, one_life
from tests.support.publishing import until


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
