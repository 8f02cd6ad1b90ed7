"""Candles to the broker, held until it has answered."""

import asyncio
import logging
import os
import signal
from collections.abc import Callable
from typing import Any

import pytest

from producers.gaps.tracker import GapTracker
from producers.publish.publisher import Publisher
from shared.broker.client import async_client
from shared.broker.keys import Keys
from shared.candle import Candle
from shared.errors import BrokerError
from shared.market import Market
from shared.settings.load import load_settings
from shared.settings.model import Settings
from tests.support.candles import BTC, JUNE_30, MINUTE, make_candle
from tests.support.publishing import published, publishing, until


def candles(count: int) -> list[Candle]:
    return [make_candle(open_time_ms=JUNE_30 + number * MINUTE) for number in range(count)]


async def test_a_burst_is_in_the_stream_once_and_in_order(
    make_settings: Callable[..., Settings], client: Any, keys: Keys
) -> None:
    burst = candles(1700)
    async with publishing(make_settings()) as publisher:
        for candle in burst:
            publisher.put(candle)
        assert publisher.held == 1700
    assert publisher.held == 0
    assert published(client, keys) == burst


async def test_what_is_put_while_the_broker_is_dead_is_there_when_it_is_back(
    make_server: Callable[..., Any], prefix: str, caplog: pytest.LogCaptureFixture
) -> None:
    import redis

    server = make_server()
    settings = load_settings(flags={"broker": {"url": server.url, "prefix": prefix, "timeout_seconds": 1}})
    with caplog.at_level(logging.INFO):
        async with publishing(settings) as publisher:
            publisher.put(candles(1)[0])
            await until(lambda: publisher.published == 1)
            server.kill()
            for candle in candles(10)[1:]:
                publisher.put(candle)
            await until(lambda: "does not take candles" in caplog.text)
            assert publisher.held == 9
            await asyncio.to_thread(server.start)
    client = redis.Redis.from_url(server.url)
    assert published(client, Keys(prefix)) == candles(10)
    client.close()
    assert "does not take candles" in caplog.text
    assert "takes candles again" in caplog.text


async def test_a_broker_that_hangs_loses_nothing_and_may_only_repeat(
    make_server: Callable[..., Any], prefix: str
) -> None:
    """Stopped in the middle: commands it had received are carried out later and sent again by us."""
    import redis

    server = make_server()
    settings = load_settings(flags={"broker": {"url": server.url, "prefix": prefix, "timeout_seconds": 0.3}})
    async with publishing(settings) as publisher:
        publisher.put(candles(1)[0])
        await until(lambda: publisher.published == 1)
        os.kill(server.pid, signal.SIGSTOP)
        for candle in candles(20)[1:]:
            publisher.put(candle)
        await until(lambda: publisher.cut_offs > 0)
        os.kill(server.pid, signal.SIGCONT)
    client = redis.Redis.from_url(server.url)
    stored = published(client, Keys(prefix))
    client.close()
    assert list(dict.fromkeys(stored)) == candles(20)


async def test_at_the_bound_new_candles_are_refused_counted_and_logged(
    make_settings: Callable[..., Settings], client: Any, keys: Keys, caplog: pytest.LogCaptureFixture
) -> None:
    """What is held stays one unbroken run: the oldest are kept."""
    settings = make_settings(publisher={"buffer_candles": 5})
    with caplog.at_level(logging.INFO):
        async with publishing(settings) as publisher:
            for candle in candles(8):
                publisher.put(candle)
            assert (publisher.held, publisher.refused) == (5, 3)
    assert published(client, keys) == candles(5)
    assert "the buffer is full: 5 candles wait for the broker" in caplog.text
    assert (
        f"not recorded: 3 candles of {BTC} that open from 2024-06-30 00:05:00+00:00 to 2024-06-30 00:07:00+00:00"
        in caplog.text
    )


async def test_what_is_given_up_is_named(
    make_settings: Callable[..., Settings], caplog: pytest.LogCaptureFixture
) -> None:
    client = async_client(make_settings())
    publisher = Publisher(client, Market.USDT_FUTURES, make_settings(), GapTracker(5000, 60_000))
    for candle in candles(3):
        publisher.put(candle)
    with caplog.at_level(logging.ERROR):
        assert publisher.abandon() == 3
    assert f"not recorded: 3 candles of {BTC} that open from 2024-06-30 00:00:00+00:00 to" in caplog.text
    assert publisher.held == 0
    await client.aclose()


async def test_a_full_broker_holds_candles_back_until_there_is_room(
    make_server: Callable[..., Any], prefix: str, caplog: pytest.LogCaptureFixture
) -> None:
    import redis

    server = make_server()
    client = redis.Redis.from_url(server.url)
    settings = load_settings(flags={"broker": {"url": server.url, "prefix": prefix}})
    async with publishing(settings) as publisher:
        client.config_set("maxmemory", "1mb")
        publisher.put(make_candle())
        await until(lambda: "does not take candles" in caplog.text)
        assert publisher.held == 1
        client.config_set("maxmemory", "0")
        await until(lambda: publisher.published == 1)
    assert len(published(client, Keys(prefix))) == 1
    client.close()


async def test_a_wrong_password_ends_it_with_a_clear_error(make_server: Callable[..., Any]) -> None:
    server = make_server("valkey", requirepass="right")
    settings = load_settings(flags={"broker": {"url": server.url, "password": "wrong"}})
    client = async_client(settings)
    publisher = Publisher(client, Market.USDT_FUTURES, settings, GapTracker(5000, 60_000))
    publisher.put(make_candle())
    with pytest.raises(BrokerError, match="refuses the user or password"):
        await publisher.run()
    await client.aclose()


async def test_stopping_with_nothing_held_returns_at_once(make_settings: Callable[..., Settings]) -> None:
    async with publishing(make_settings()) as publisher:
        await asyncio.sleep(0)
    assert publisher.published == 0
