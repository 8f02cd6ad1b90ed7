"""The proxy that breaks connections, in front of a real Valkey."""

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from chaos.proxy import Proxy, proxy
from tests.support.servers import RealServer
from tests.support.waiting import wait_until

BIG = b"x" * 200_000
AWAY = (redis.ConnectionError, redis.TimeoutError, OSError)


@contextlib.contextmanager
def connected(port: int, timeout_seconds: float = 5.0) -> Iterator[Any]:
    client = redis.Redis(
        port=port, retry=Retry(NoBackoff(), 0), socket_timeout=timeout_seconds, socket_connect_timeout=timeout_seconds
    )
    yield client
    client.close()


def test_everything_passes_both_ways_while_nothing_is_wrong(make_server: Callable[..., RealServer]) -> None:
    server = make_server()
    with proxy(server.port) as running, connected(running.port) as client, connected(running.port) as other:
        client.set("key", BIG)
        assert other.get("key") == BIG
        assert running.counts["connections"] == 2
        assert not running.counts["cut"]


def test_a_unix_socket_may_be_behind_it(make_server: Callable[..., RealServer], short_tmp: Path) -> None:
    make_server("valkey", unixsocket=str(short_tmp / "socket"))
    with proxy(short_tmp / "socket") as running, connected(running.port) as client:
        assert client.ping()


def test_a_reply_ends_in_the_middle_and_the_command_was_carried_out(make_server: Callable[..., RealServer]) -> None:
    server = make_server()
    with proxy(server.port) as running, connected(running.port) as client, connected(server.port) as direct:
        direct.set("key", BIG)
        client.ping()
        running.cut(after_bytes=5)
        with pytest.raises(AWAY):
            client.eval("redis.call('INCR', 'done') return redis.call('GET', 'key')", 0)
        assert direct.get("done") == b"1"
        assert client.get("done") == b"1", "a new connection is not cut"
        wait_until(lambda: running.counts["connections cut"] == 1)
        assert running.counts["cut"] == 1


def test_a_cut_at_once_meets_every_connection(make_server: Callable[..., RealServer]) -> None:
    server = make_server()
    with proxy(server.port) as running, contextlib.ExitStack() as stack:
        clients = [stack.enter_context(connected(running.port)) for _ in range(3)]
        for client in clients:
            client.ping()
        running.cut()
        wait_until(lambda: running.counts["connections cut"] == 3)
        for client in clients:
            client.close()
            assert client.ping()


def test_a_cut_without_any_connection_is_not_counted(make_server: Callable[..., RealServer]) -> None:
    with proxy(make_server().port) as running:
        running.cut()
        running.delay(0.0)
        wait_until(lambda: running.counts["delay"] == 1)
        assert running.counts["cut"] == 0


def test_who_is_refused_is_told_so_and_let_in_afterwards(make_server: Callable[..., RealServer]) -> None:
    server = make_server()
    with proxy(server.port) as running, connected(running.port) as known, connected(running.port) as new:
        known.ping()
        running.refuse()
        wait_until(lambda: running.counts["refuse"] == 1)
        with pytest.raises(redis.ConnectionError, match="refused"):
            new.ping()
        assert known.ping(), "who is in stays in"
        running.heal()
        wait_until(lambda: _answers(new))


def test_a_black_hole_accepts_and_answers_nothing(make_server: Callable[..., RealServer]) -> None:
    server = make_server()
    with (
        proxy(server.port) as running,
        connected(running.port, 0.2) as client,
        connected(running.port, 0.2) as new,
        connected(running.port, 5) as patient,
    ):
        client.ping()
        running.freeze()
        wait_until(lambda: running.counts["freeze"] == 1)
        for each in (client, new):
            with pytest.raises(redis.TimeoutError):
                each.ping()
        running.heal()
        assert patient.ping()


def test_a_delay_holds_each_answer_and_a_throttle_spreads_it(make_server: Callable[..., RealServer]) -> None:
    server = make_server()
    with proxy(server.port) as running, connected(running.port) as client, connected(server.port) as direct:
        direct.set("key", BIG[:1000])
        client.ping()
        running.delay(0.1)
        wait_until(lambda: running.counts["delay"] == 1)
        assert _seconds(client.ping) >= 0.2, "there and back"
        running.heal()
        running.throttle(4000)
        wait_until(lambda: running.counts["throttle"] == 1)
        assert _seconds(lambda: client.get("key")) >= 0.25


def test_the_address_can_lead_to_another_server(make_server: Callable[..., RealServer]) -> None:
    first, second = make_server(), make_server()
    with proxy(first.port) as running, connected(running.port) as client, connected(second.port) as direct:
        client.ping()
        direct.set("key", "second")
        running.retarget(second.port)
        wait_until(lambda: running.counts["retarget"] == 1)
        client.close()
        assert client.get("key") == b"second"


def test_a_target_that_is_away_ends_the_connection(make_server: Callable[..., RealServer]) -> None:
    server = make_server()
    with proxy(server.port) as running, connected(running.port) as client:
        server.kill()
        with pytest.raises(redis.ConnectionError):
            client.ping()
        server.start()
        assert client.ping()


async def test_it_runs_in_the_loop_of_whoever_uses_it_too(make_server: Callable[..., RealServer]) -> None:
    running = Proxy(make_server().port)
    await running.start()
    async with redis.asyncio.Redis(port=running.port, socket_timeout=5) as client:
        assert await client.ping()
        running.cut()
        while not running.counts["connections cut"]:
            await asyncio.sleep(0.01)
        await client.connection_pool.disconnect()
        assert await client.ping()
    await running.close()


def _answers(client: Any) -> bool:
    try:
        return bool(client.ping())
    except AWAY:
        return False


def _seconds(act: Callable[[], object]) -> float:
    began = time.monotonic()
    act()
    return time.monotonic() - began
