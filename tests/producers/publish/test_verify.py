"""What the broker had taken and lost is published again: emptied, restored from an older state, replaced."""

import asyncio
import logging
import shutil
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis

from consumer.group.reader import EntryReader
from producers.publish.continuity import Finding
from shared.broker.client import CONNECTION_ERRORS
from shared.broker.entry import encode_entry
from shared.candle import Candle
from shared.process.tasks import cancel
from shared.series_fact import FactKind, SeriesFact
from tests.support.candles import BTC, JUNE_30, MINUTE, make_candle
from tests.support.publishing import until
from tests.support.servers import RealServer
from tests.support.verifying import KEYS, MARKET, candles, ends, in_stream, store_all


@pytest.fixture(params=["valkey", "redis"])
def server(request: pytest.FixtureRequest, make_server: Callable[..., Any]) -> Any:
    return make_server(request.param)


@pytest.fixture
def client(server: RealServer) -> Iterator[Any]:
    client = redis.Redis.from_url(server.url)
    yield client
    client.close()


async def test_while_nothing_happens_nothing_is_published_again_and_what_is_stored_is_forgotten(
    server: RealServer, client: Any
) -> None:
    async with ends(server) as ours:
        assert not await ours.look()
        await ours.publish(candles(0, 10))
        assert not await ours.look()
        assert len(ours.publisher.resend) == 10, "nobody has read it"
        store_all(client)
        await ours.publish(candles(10, 13))
        assert not await ours.look()
        assert [item.open_time_ms for item in ours.publisher.resend.items.values() if isinstance(item, Candle)] == [
            candle.open_time_ms for candle in candles(10, 13)
        ]
        source = EntryReader(client, KEYS, [MARKET], "writers", "one")
        assert len(source.read(2, 1)) == 2
        assert not await ours.look()
        assert len(ours.publisher.resend) == 3, "delivered is not stored"
        assert ours.check.published_again == 0
    assert in_stream(client) == candles(0, 13)


@pytest.mark.parametrize("disaster", ["flushall", "delete"])
async def test_what_an_emptied_broker_has_lost_is_published_again(
    server: RealServer, client: Any, disaster: str, caplog: pytest.LogCaptureFixture
) -> None:
    absent = SeriesFact(BTC, FactKind.ABSENT, JUNE_30 + 10 * MINUTE, JUNE_30 + 11 * MINUTE, JUNE_30)
    async with ends(server) as ours:
        await ours.publish(candles(0, 10))
        store_all(client)
        await ours.publish([absent])
        await ours.publish(candles(11, 20))
        await ours.look()
        assert ours.safe_candles == 20
        client.flushall() if disaster == "flushall" else client.delete(KEYS.candles(MARKET))
        await ours.publish(candles(20, 22))
        with caplog.at_level(logging.WARNING):
            assert await ours.look()
        assert "the broker lost 10 candles and facts that it had taken: they are published again" in caplog.text
        assert in_stream(client) == [*candles(20, 22), absent, *candles(11, 20)]
        assert ours.safe_candles == 22
        assert not await ours.look()
        assert ours.check.published_again == 10


async def test_a_loss_is_noticed_whatever_others_publish_meanwhile(server: RealServer, client: Any) -> None:
    async with ends(server) as ours:
        await ours.publish(candles(0, 5))
        assert not await ours.look()
        client.delete(KEYS.candles(MARKET))
        others = candles(100, 120)
        for other in others:
            client.xadd(KEYS.candles(MARKET), encode_entry(other))
        assert await ours.look()
        assert in_stream(client) == [*others, *candles(0, 5)]


async def test_whoever_saves_progress_hears_of_a_loss_that_somebody_else_noticed(
    server: RealServer, client: Any
) -> None:
    async with ends(server) as ours:
        await ours.publish(candles(0, 5))
        await ours.look()
        running = asyncio.create_task(ours.check.run())
        client.flushall()
        await until(lambda: ours.check.published_again == 5)
        await cancel([running])
        assert await ours.look()
        assert not await ours.look()


async def test_what_a_broker_has_lost_that_came_back_in_an_older_state_is_published_again_and_not_safe_meanwhile(
    server: RealServer, client: Any
) -> None:
    """As a replica that was behind when it took over, and another producer had published into it before we looked."""
    older = server.folder.with_name("older")
    async with ends(server) as ours:
        await ours.publish(candles(0, 5))
        await ours.look()
        shutil.copytree(server.folder, older)
        await ours.publish(candles(5, 9))
        assert not await ours.look()
        newest = list(ours.publisher.resend.items)[-4:]
        await asyncio.to_thread(server.kill)
        shutil.rmtree(server.folder)
        older.rename(server.folder)
        await asyncio.to_thread(server.start)
        other = make_candle(open_time_ms=JUNE_30 + 77 * MINUTE)
        for number in newest[1:3]:
            client.xadd(KEYS.candles(MARKET), encode_entry(other), id=str(number))
        store_all(client)
        safe: list[int] = []
        put_again = ours.publisher.put_again

        def note_what_is_safe(items: list[Candle | SeriesFact]) -> None:
            safe.append(ours.safe_candles)
            put_again(items)

        ours.publisher.put_again = note_what_is_safe  # type: ignore[assignment,method-assign]
        assert await ours.look()
        assert safe == [5], "before it is in the stream again"
        assert ours.safe_candles == 9
    assert in_stream(client) == [*candles(0, 5), other, other, *candles(5, 9)]


async def test_a_broker_that_was_killed_and_lost_nothing_is_given_nothing_again(
    server: RealServer, client: Any
) -> None:
    async with ends(server) as ours:
        await ours.publish(candles(0, 5))
        await ours.look()
        await asyncio.to_thread(server.kill)
        await asyncio.to_thread(server.start)
        assert await ours.look() is Finding.COMPARE, "it might have"
        assert ours.check.published_again == 0
    assert in_stream(client) == candles(0, 5)


async def test_what_is_not_kept_any_more_is_fetched_from_the_exchange(server: RealServer, client: Any) -> None:
    """The writer is away for longer than the buffer is large, and then the broker is emptied."""
    async with ends(server, buffer_candles=4) as ours:
        for number in range(12):
            await ours.publish(candles(number, number + 1))
        await ours.look()
        assert len(ours.publisher.resend) == 4
        client.flushall()
        assert await ours.look()
        assert in_stream(client) == candles(8, 12)
        assert ours.safe_candles == 0
        (ask,) = ours.account.questions(JUNE_30 + 60 * MINUTE)
        assert ask.page.from_ms == JUNE_30
        assert all(ours.account.is_wanted(candle) for candle in candles(0, 8))
        assert not any(ours.account.is_wanted(candle) for candle in candles(8, 12))
        store_all(client)
        await ours.look()
        client.flushall()
        assert await ours.look() is Finding.BROKEN
        assert ours.check.published_again == 4, "what is stored is not needed again"


async def test_entries_that_were_stored_and_removed_before_a_look_are_published_once_more(
    server: RealServer, client: Any
) -> None:
    """Nothing proves that they were stored. What a writer trims has been looked at long before."""
    async with ends(server) as ours:
        await ours.publish(candles(0, 5))
        await ours.look()
        store_all(client)
        client.xtrim(KEYS.candles(MARKET), maxlen=0, approximate=False)
        assert await ours.look() is Finding.BROKEN, "its newest entry is gone"
        assert in_stream(client) == candles(0, 5)
        store_all(client)
        assert await ours.look() is Finding.WHOLE
        assert len(ours.publisher.resend) == 0


async def test_a_stream_that_somebody_cut_before_it_was_stored_is_broken(server: RealServer, client: Any) -> None:
    async with ends(server) as ours:
        await ours.publish(candles(0, 3))
        store_all(client)
        assert await ours.look() is Finding.WHOLE
        await ours.publish(candles(3, 9))
        assert await ours.look() is Finding.WHOLE
        client.xtrim(KEYS.candles(MARKET), maxlen=2, approximate=False)
        assert await ours.look() is Finding.BROKEN
        assert in_stream(client) == [*candles(7, 9), *candles(3, 7)], "what is kept is there again"
        assert await ours.look() is Finding.WHOLE, "said once"


@pytest.mark.parametrize("number", [3, 4, 5])
async def test_an_entry_that_somebody_deleted_before_it_was_stored_is_published_again(
    server: RealServer, client: Any, number: int
) -> None:
    async with ends(server) as ours:
        await ours.publish(candles(0, 3))
        store_all(client)
        await ours.publish(candles(3, 6))
        assert await ours.look() is Finding.WHOLE
        (entry,) = client.xrange(KEYS.candles(MARKET))[number : number + 1]
        client.xdel(KEYS.candles(MARKET), entry[0])
        assert await ours.look() is Finding.BROKEN
        assert in_stream(client)[-1] == candles(number, number + 1)[0]
        assert await ours.look() is Finding.WHOLE


async def test_while_the_broker_is_away_a_look_says_so(server: RealServer) -> None:
    async with ends(server) as ours:
        await ours.publish(candles(0, 1))
        server.kill()
        with pytest.raises(CONNECTION_ERRORS):
            await ours.check.look()


@pytest.mark.parametrize("others", [0, 4])
async def test_an_emptied_stream_that_is_stored_again_before_the_next_look_has_lost_what_came_before(
    server: RealServer, client: Any, others: int
) -> None:
    """What is stored of the new stream is beyond the ids that were lost; that alone must not make them stored."""
    async with ends(server) as ours:
        await ours.publish(candles(0, 3))
        store_all(client)
        assert await ours.look() is Finding.WHOLE
        await ours.publish(candles(3, 6))
        client.flushall()
        for _ in range(others):
            client.xadd(KEYS.candles(MARKET), encode_entry(make_candle(open_time_ms=JUNE_30 + 77 * MINUTE)))
        await ours.publish(candles(6, 8))
        assert len(in_stream(client)) == others + 2, "as many as there were at the last look, or more"
        store_all(client)
        assert await ours.look()
    stored = [item for item in in_stream(client) if isinstance(item, Candle)]
    assert {candle.open_time_ms for candle in candles(3, 8)} <= {candle.open_time_ms for candle in stored}
