"""Replicas that should have what was published: they are waited for, and told of when they do not."""

from collections.abc import Callable

import redis

from shared.broker.keys import Keys
from shared.market import Market
from shared.settings.model import Settings
from tests.support.candles import JUNE_30, MINUTE, make_candle
from tests.support.publishing import publishing, until
from tests.support.servers import RealServer


async def test_what_is_published_waits_for_replicas_and_those_that_lag_are_told_of(
    make_settings: Callable[..., Settings], make_server: Callable[..., RealServer]
) -> None:
    primary = make_server(repl_diskless_sync_delay="0")
    replica = make_server(replicaof=f"127.0.0.1 {primary.port}")
    settings = make_settings(broker={"url": primary.url, "replicas": 1})
    stream = Keys(settings.broker.prefix).candles(Market.USDT_FUTURES)

    def length() -> int:
        with redis.Redis.from_url(replica.url) as client:
            return int(client.xlen(stream))

    async with publishing(settings) as publisher:
        for minute in range(3):
            publisher.put(make_candle(open_time_ms=JUNE_30 + minute * MINUTE))
            await until(lambda minute=minute: publisher.published == minute + 1)  # type: ignore[misc]
        await until(lambda: publisher.replicas_missing == 0)
        assert length() == 3
        replica.kill()
        publisher.put(make_candle(open_time_ms=JUNE_30 + 3 * MINUTE))
        await until(lambda: publisher.replicas_missing == 1)
        assert (publisher.published, publisher.held) == (4, 0), "the primary has it"
        replica.start()
        minute = 4
        while publisher.replicas_missing:
            publisher.put(make_candle(open_time_ms=JUNE_30 + minute * MINUTE))
            minute += 1
            await until(lambda minute=minute: publisher.published == minute)  # type: ignore[misc]
        assert length() == minute
