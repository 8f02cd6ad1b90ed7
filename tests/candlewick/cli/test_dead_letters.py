"""``candlewick dead-letters``: looked at, put back, dropped."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from consumer.group.dead_letters import dead_letters, requeue
from consumer.group.reader import EntryReader
from shared.broker.entry import Entry, encode_entry
from shared.broker.keys import Keys
from shared.market import Market
from tests.support.candles import BTC, JUNE_30, make_candle
from tests.support.commands import Run
from tests.support.servers import RealServer

MARKET = Market.USDT_FUTURES
KEYS = Keys("candlewick")


@pytest.fixture
def broker(make_server: Callable[..., RealServer]) -> RealServer:
    """A broker with three dead letters, of a symbol that wanted to leave its folder."""
    server = make_server()
    for number in range(3):
        hostile = encode_entry(make_candle(BTC, JUNE_30 + number * 60_000)) | {"symbol": "../../x\x1b[2J"}
        server_client(server).xadd(KEYS.candles(MARKET), hostile)
    assert read(server) == []
    return server


def server_client(server: RealServer) -> Any:
    import redis

    return redis.Redis.from_url(server.url)


def read(server: RealServer) -> list[Entry]:
    source = EntryReader(server_client(server), KEYS, [MARKET], "writers", "test-1")
    source.create_groups()
    source.read(100, 1)
    return source.read(100, 1)


def ids(candlewick: Run, server: RealServer) -> list[str]:
    done = candlewick("dead-letters", "list", "usdt_futures", "--json", "--broker", server.url)
    return [letter["id"] for letter in json.loads(done.stdout)]


def test_letters_are_put_back_or_dropped_and_nothing_is_lost_between(candlewick: Run, broker: RealServer) -> None:
    shown = candlewick("dead-letters", "list", "--broker", broker.url)
    assert shown.stdout.endswith("3 dead letters\n")
    assert "is not allowed: letters in uppercase" in shown.stdout
    assert "\x1b" not in shown.stdout, "a letter cannot move a terminal's cursor"
    first, second, third = ids(candlewick, broker)
    one = candlewick("dead-letters", "show", "usdt_futures", first, "--broker", broker.url)
    assert "open_time_ms" in one.stdout
    assert "61624.90" in one.stdout

    put_back = candlewick("dead-letters", "requeue", "usdt_futures", first, "--broker", broker.url)
    assert put_back.stdout == "put back 1 entry\n"
    assert ids(candlewick, broker) == [second, third]
    assert read(broker) == [], "it is no candle still"
    assert len(ids(candlewick, broker)) == 3
    dropped = candlewick("dead-letters", "drop", "usdt_futures", "--all", "--broker", broker.url)
    assert dropped.stdout == "dropped 3 dead letters\n"
    assert ids(candlewick, broker) == []


def test_a_letter_is_put_back_once_whoever_asks(broker: RealServer) -> None:
    client = server_client(broker)
    letter, *_ = dead_letters(client, KEYS, MARKET)
    before = client.xlen(KEYS.candles(MARKET))
    assert requeue(client, KEYS, letter)
    assert not requeue(client, KEYS, letter)
    assert client.xlen(KEYS.candles(MARKET)) == before + 1


def test_an_entry_too_large_to_be_kept_whole_is_kept_in_part_and_cannot_be_put_back(
    candlewick: Run, broker: RealServer
) -> None:
    """Else a flood of them would fill the broker a second time."""
    client = server_client(broker)
    client.xadd(KEYS.candles(MARKET), encode_entry(make_candle()) | {"close": "9" * 900_000})
    client.xadd(KEYS.candles(MARKET), {f"field {number}": "1" for number in range(1000)})
    assert read(broker) == []
    *_, deep, wide = dead_letters(client, KEYS, MARKET)
    assert (deep.is_cut, wide.is_cut) == (True, True)
    assert client.memory_usage(KEYS.dead_letters(MARKET)) < 50_000
    done = candlewick("dead-letters", "requeue", "usdt_futures", deep.id, "--broker", broker.url)
    assert done.returncode == 2
    assert "was too large to be kept whole: drop it" in done.stderr
    shown = candlewick("dead-letters", "show", "usdt_futures", deep.id, "--broker", broker.url)
    assert "a part: it was too large" in shown.stdout
    put_back = candlewick("dead-letters", "requeue", "usdt_futures", "--all", "--broker", broker.url)
    assert put_back.stdout == "put back 3 entries\n"
    assert ids(candlewick, broker) == [deep.id, wide.id]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("show", "usdt_futures", "1-1"), "usdt_futures has no dead letter 1-1"),
        (("drop", "usdt_futures"), "name dead letters by their ids, or all of them with --all"),
        (("requeue", "fx", "--all"), "market 'fx' is not known"),
    ],
)
def test_a_mistake_is_one_line(candlewick: Run, broker: RealServer, arguments: tuple[str, ...], message: str) -> None:
    done = candlewick("dead-letters", *arguments, "--broker", broker.url)
    assert done.returncode == 2
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1
