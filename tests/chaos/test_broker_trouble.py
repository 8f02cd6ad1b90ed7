"""Both ends of the pipeline while the line to the broker, or the broker behind its address, is in trouble.

Each trouble ends in recovery without loss or in one clear message, and never in a spin: how often the broker is asked
meanwhile is counted. The proxy makes the trouble; the broker, the publisher and the writer are real.
"""

import asyncio
import contextlib
import logging
import random
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest
import redis

from chaos.proxy import Proxy, proxy
from consumer.writer import Writer
from producers.publish.publisher import Publisher
from shared.broker.heartbeat import heartbeats
from shared.broker.keys import Keys
from shared.candle import Candle
from shared.errors import BrokerError
from shared.settings.model import Settings
from tests.support.commands import Start
from tests.support.publishing import published, publishing, until
from tests.support.servers import RealServer
from tests.support.waiting import wait_until
from tests.support.writing import candles, pending, publish, stored, writing

QUIET_SECONDS = 2.0
MOST_CONNECTIONS = 40
"""In the quiet seconds, of a publisher and a writer that back off from 0.2 to 5 s with full jitter."""

MOST_LINES = 4
ENDS_WITHIN_SECONDS = 8


@pytest.fixture
def server(make_server: Callable[..., RealServer]) -> RealServer:
    return make_server()


@pytest.fixture
def line(server: RealServer) -> Iterator[Proxy]:
    with proxy(server.port) as running:
        yield running


@pytest.fixture
def settings(make_settings: Callable[..., Settings], line: Proxy) -> Settings:
    return make_settings(
        broker={"url": f"redis://127.0.0.1:{line.port}/0", "timeout_seconds": 0.5}, publisher={"batch_candles": 20}
    )


@pytest.fixture
def direct(server: RealServer) -> Iterator[Any]:
    """A connection that no trouble meets."""
    client = redis.Redis.from_url(server.url)
    yield client
    client.close()


async def all_on_disk_once(settings: Settings, count: int) -> None:
    """Wait until so many candles are stored; readers cannot see a row twice without ``stored`` being longer."""
    await until(lambda: stored(settings) == list(range(count)), 40)


async def put_slowly(publisher: Publisher, wanted: list[Candle]) -> None:
    for candle in wanted:
        publisher.put(candle)
        await asyncio.sleep(0.002)


async def test_connections_that_are_cut_in_the_middle_of_replies_lose_and_double_nothing(
    settings: Settings, line: Proxy, direct: Any, keys: Keys
) -> None:
    rng = random.Random(1)
    wanted = candles(300)
    with writing(settings):
        async with publishing(settings) as publisher:
            for first in range(0, 300, 20):
                cuts = line.counts["cut"]
                while line.counts["cut"] == cuts:  # an order that meets no connection is not counted
                    line.cut(after_bytes=rng.randrange(200))
                    await asyncio.sleep(0.02)
                await put_slowly(publisher, wanted[first : first + 20])
            await until(lambda: publisher.held == 0, 40)
        await all_on_disk_once(settings, 300)
        await until(lambda: pending(direct, keys) == 0)
    entries = published(direct, keys)
    assert list(dict.fromkeys(entries)) == wanted, "in order, some of them perhaps twice"
    assert line.counts["cut"] >= 15
    assert line.counts["connections cut"] >= 5


async def test_a_black_hole_is_left_and_what_was_held_arrives(
    settings: Settings, line: Proxy, direct: Any, keys: Keys, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO), writing(settings):
        async with publishing(settings) as publisher:
            await put_slowly(publisher, candles(10))
            await all_on_disk_once(settings, 10)
            line.freeze()
            await put_slowly(publisher, candles(40)[10:])
            await until(lambda: "does not take candles" in caplog.text)
            await until(lambda: "waiting for the broker" in caplog.text)
            line.heal()
            await until(lambda: publisher.held == 0)
        await all_on_disk_once(settings, 40)
        await until(lambda: pending(direct, keys) == 0)
    assert caplog.text.count("does not take candles") == 1, "one line, however many tries"
    assert caplog.text.count("waiting for the broker") == 1


async def test_an_address_that_refuses_is_tried_again_with_pauses(
    settings: Settings, line: Proxy, direct: Any, keys: Keys, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO), writing(settings):
        async with publishing(settings) as publisher:
            await put_slowly(publisher, candles(10))
            await all_on_disk_once(settings, 10)
            line.refuse()
            await until(lambda: line.counts["refuse"] == 1)
            line.cut()
            await put_slowly(publisher, candles(40)[10:])
            await until(lambda: "does not take candles" in caplog.text)
            await until(lambda: "waiting for the broker" in caplog.text)
            await asyncio.sleep(QUIET_SECONDS)  # the time in which tries are counted
            lines = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
            assert len(set(lines)) == len(lines) <= 4, "each reason once: cut, and then refused, by both"
            line.heal()
            await until(lambda: publisher.held == 0)
        await all_on_disk_once(settings, 40)
        await until(lambda: pending(direct, keys) == 0)


async def test_a_slow_line_is_only_slow(
    settings: Settings, line: Proxy, direct: Any, keys: Keys, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING), writing(settings):
        async with publishing(settings) as publisher:
            line.delay(0.05)
            await put_slowly(publisher, candles(100))
            await until(lambda: publisher.held == 0)
        await all_on_disk_once(settings, 100)
        await until(lambda: pending(direct, keys) == 0)
    assert published(direct, keys) == candles(100)
    assert caplog.text == ""


@pytest.mark.parametrize("way_out", ["the replica is promoted", "the primary is back"])
async def test_a_fail_over_to_a_read_only_replica_is_waited_out(
    settings: Settings,
    line: Proxy,
    server: RealServer,
    direct: Any,
    keys: Keys,
    make_server: Callable[..., RealServer],
    caplog: pytest.LogCaptureFixture,
    way_out: str,
) -> None:
    """What the primary had answered for is in the replica here: it has caught up before the address changes."""
    replica = make_server("valkey", replicaof=f"127.0.0.1 {server.port}")
    behind = redis.Redis.from_url(replica.url)
    with caplog.at_level(logging.INFO), writing(settings):
        async with publishing(settings) as publisher:
            await put_slowly(publisher, candles(10))
            await all_on_disk_once(settings, 10)
            await until(lambda: len(published(behind, keys)) == 10)
            await until(lambda: pending(behind, keys) == 0)
            line.retarget(replica.port)
            await put_slowly(publisher, candles(40)[10:])
            await until(lambda: "does not take candles" in caplog.text)
            await until(lambda: "waiting for the broker" in caplog.text)
            before = behind.info("stats")["total_connections_received"]
            await asyncio.sleep(QUIET_SECONDS)  # the time in which tries are counted
            assert behind.info("stats")["total_connections_received"] - before < MOST_CONNECTIONS
            lines = [record for record in caplog.records if record.levelno >= logging.WARNING]
            assert len(lines) <= MOST_LINES, "a line for each of them and each reason, not one a try"
            if way_out == "the replica is promoted":
                server.kill()
                behind.replicaof("NO", "ONE")
            else:
                line.retarget(server.port)
            await until(lambda: publisher.held == 0)
        await all_on_disk_once(settings, 40)
        now = behind if way_out == "the replica is promoted" else direct
        await until(lambda: pending(now, keys) == 0)
    assert list(dict.fromkeys(published(now, keys))) == candles(40)
    behind.close()


async def test_a_password_that_became_wrong_ends_the_publisher_with_one_message(
    settings: Settings, line: Proxy, make_server: Callable[..., RealServer]
) -> None:
    """The broker came back with another password."""
    other = make_server("valkey", requirepass="new")

    async def publish_to_another() -> None:
        async with publishing(settings) as publisher:
            publisher.put(candles(1)[0])
            await until(lambda: publisher.published == 1)
            line.retarget(other.port)
            publisher.put(candles(2)[1])

    with pytest.raises(BrokerError, match="refuses the user or password"):
        await publish_to_another()


@contextlib.contextmanager
def writing_to_its_end(settings: Settings) -> "Iterator[Future[None]]":
    """A writer that is expected to end by itself."""
    writer = Writer(settings)
    with ThreadPoolExecutor(1) as pool:
        try:
            yield pool.submit(writer.run)
        finally:
            writer.stop()


def test_a_password_that_became_wrong_ends_the_writer_with_one_message(
    settings: Settings, line: Proxy, direct: Any, keys: Keys, make_server: Callable[..., RealServer]
) -> None:
    other = make_server("valkey", requirepass="new")
    publish(direct, keys, candles(3))
    with writing_to_its_end(settings) as end:
        wait_until(lambda: stored(settings) == [0, 1, 2])
        line.retarget(other.port)
        with pytest.raises(BrokerError, match="refuses the user or password"):
            end.result(ENDS_WITHIN_SECONDS)


def test_a_broker_that_came_back_evicting_ends_the_writer_with_one_message(
    settings: Settings, line: Proxy, direct: Any, keys: Keys, make_server: Callable[..., RealServer]
) -> None:
    other = make_server("valkey", maxmemory_policy="allkeys-lru")
    publish(direct, keys, candles(3))
    with writing_to_its_end(settings) as end:
        wait_until(lambda: stored(settings) == [0, 1, 2])
        line.retarget(other.port)
        with pytest.raises(BrokerError, match="set `maxmemory-policy noeviction`"):
            end.result(ENDS_WITHIN_SECONDS)


def test_a_broker_that_came_back_evicting_ends_the_producer_with_one_message(
    settings: Settings, line: Proxy, direct: Any, keys: Keys, make_server: Callable[..., RealServer], start: Start
) -> None:
    """The exchange cannot be reached: what is asked of the broker are only progress and heartbeats."""
    other = make_server("valkey", maxmemory_policy="allkeys-lru")
    environment = {
        "CANDLEWICK_BROKER_URL": settings.broker.url,
        "CANDLEWICK_BROKER_PREFIX": settings.broker.prefix,
        "CANDLEWICK_BROKER_TIMEOUT_SECONDS": "0.5",
    }
    producer = start("produce", "usdt_futures", "--simulator", "http://127.0.0.1:9", **environment)
    wait_until(lambda: bool(heartbeats(direct, keys)))
    line.retarget(other.port)
    assert producer.wait(ENDS_WITHIN_SECONDS) == 2
