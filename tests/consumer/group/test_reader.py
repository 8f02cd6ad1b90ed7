"""The consumer group: nothing skipped, nothing acknowledged by itself, on Valkey and on Redis 7.0."""

import logging
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis

from consumer.group.reader import EntryReader
from consumer.group.retention import Retention, Trimmer, remove_dead
from shared.broker.entry import encode_entry
from shared.broker.keys import Keys
from shared.candle import Candle
from shared.market import Market
from tests.support.candles import BTC, JUNE_30, MINUTE, make_candle
from tests.support.waiting import wait_until

MARKET = Market.USDT_FUTURES
GROUP = "writers"


@pytest.fixture(params=["valkey", "redis"])
def server(request: pytest.FixtureRequest, make_server: Callable[..., Any]) -> Any:
    return make_server(request.param)


@pytest.fixture
def broker(server: Any) -> Iterator[Any]:
    client = redis.Redis.from_url(server.url)
    yield client
    client.close()


def candles(count: int, first: int = 0) -> list[Candle]:
    return [make_candle(open_time_ms=JUNE_30 + at * MINUTE) for at in range(first, first + count)]


def publish(client: Any, keys: Keys, candles: list[Candle]) -> list[bytes]:
    return [client.xadd(keys.candles(candle.series.market), encode_entry(candle)) for candle in candles]


def source_of(client: Any, keys: Keys, consumer: str = "one") -> EntryReader:
    source = EntryReader(client, keys, tuple(Market), GROUP, consumer)
    source.create_groups()
    return source


def read_all(source: EntryReader, count: int = 3) -> list[Candle]:
    got: list[Candle] = []
    for _ in range(100):
        entries = source.read(count, block_ms=1)
        got += [entry.item for entry in entries if isinstance(entry.item, Candle)]
        if not entries and source.is_recovered:
            return got
    raise AssertionError("it does not come to an end")


def test_what_was_published_before_the_group_existed_is_read(broker: Any, keys: Keys) -> None:
    publish(broker, keys, candles(7))
    assert read_all(source_of(broker, keys)) == candles(7)


def pending(broker: Any, keys: Keys) -> int:
    return int(broker.xpending(keys.candles(MARKET), GROUP)["pending"])


def test_entries_stay_pending_until_they_are_acknowledged(broker: Any, keys: Keys) -> None:
    publish(broker, keys, candles(2500))
    source = source_of(broker, keys)
    entries = source.read(2000, 1)
    while more := source.read(2000, 1):
        entries += more
    assert pending(broker, keys) == len(entries) == 2500
    source.acknowledge(entries)
    assert pending(broker, keys) == 0


def test_after_a_crash_a_consumer_reads_its_own_pending_entries_first_and_all_of_them(broker: Any, keys: Keys) -> None:
    publish(broker, keys, candles(20))
    assert len(read_all(source_of(broker, keys))) == 20
    publish(broker, keys, candles(5, first=20))
    again = source_of(broker, keys)
    assert read_all(again, count=6) == candles(25)


def test_recovering_in_the_middle_reads_again_what_was_not_acknowledged(broker: Any, keys: Keys) -> None:
    publish(broker, keys, candles(6))
    source = source_of(broker, keys)
    entries = [entry for _ in range(4) for entry in source.read(6, 1)]
    source.acknowledge(entries[:2])
    source.recover()
    assert read_all(source) == candles(4, first=2)


def test_entries_left_idle_by_another_consumer_are_claimed_and_only_those(broker: Any, keys: Keys) -> None:
    publish(broker, keys, candles(1200))
    dead = source_of(broker, keys, "dead")
    assert len(read_all(dead, count=5000)) == 1200
    living = source_of(broker, keys, "living")
    assert living.claim(60_000, 5000) == []
    claimed = living.claim(0, 600)
    assert len(claimed) < 1200, "a claim is bounded and the next goes on where it ended"
    claimed += living.claim(0, 5000)
    assert [entry.item for entry in claimed] == candles(1200)
    living.acknowledge(claimed)
    assert pending(broker, keys) == 0


def test_dead_consumers_are_removed_unless_something_is_pending_for_them(broker: Any, keys: Keys) -> None:
    publish(broker, keys, candles(2))
    busy, gone, living = (source_of(broker, keys, name) for name in ("busy", "gone", "living"))
    assert len(busy.read(1, 1)) == 1
    gone.acknowledge(gone.read(1, 1))
    assert living.read(1, 1) == []
    assert remove_dead(broker, keys, (MARKET,), GROUP, "living", 60_000) == []
    wait_until(lambda: "gone" in remove_dead(broker, keys, (MARKET,), GROUP, "living", 0))
    names = {consumer["name"] for consumer in broker.xinfo_consumers(keys.candles(MARKET), GROUP)}
    assert names == {b"busy", b"living"}
    assert gone.read(1, 1) == [], "one that is alive after all goes on"


def test_a_broker_without_scripts_keeps_the_names_of_the_dead(broker: Any, keys: Keys) -> None:
    source_of(broker, keys, "gone").read(1, 1)
    broker.acl_setuser("plain", enabled=True, nopass=True, keys=["*"], commands=["+@all", "-@scripting"])
    connection = broker.connection_pool.connection_kwargs
    plain = redis.Redis(host=connection["host"], port=connection["port"], username="plain")
    source_of(plain, keys, "living")
    assert remove_dead(plain, keys, (MARKET,), GROUP, "living", 0) == []
    plain.close()
    broker.acl_deluser("plain")


def test_an_entry_that_is_no_candle_goes_to_the_dead_letters_with_its_reason(
    broker: Any, keys: Keys, caplog: pytest.LogCaptureFixture
) -> None:
    publish(broker, keys, candles(1))
    hostile = encode_entry(make_candle()) | {"symbol": "../../x"}
    number = broker.xadd(keys.candles(MARKET), hostile)
    broker.xadd(keys.candles(MARKET), {b"\xff": b"\x00" * 100})
    publish(broker, keys, candles(1, first=1))
    source = source_of(broker, keys)
    with caplog.at_level(logging.ERROR):
        assert read_all(source) == candles(2)
    letters = [fields for _, fields in broker.xrange(keys.dead_letters(MARKET))]
    assert letters[0][b"reason"].startswith(b"symbol '../../x' is not allowed")
    assert letters[0][b"id"] == number
    assert letters[0][b"entry:symbol"] == b"../../x"
    assert letters[1][b"entry:\xff"] == b"\x00" * 100
    assert source.dead_letters == 2
    assert pending(broker, keys) == 2
    assert "goes to the dead letters" in caplog.text


def test_a_pending_entry_that_somebody_deleted_is_named_and_let_go(
    broker: Any, keys: Keys, caplog: pytest.LogCaptureFixture
) -> None:
    numbers = publish(broker, keys, candles(3))
    assert len(read_all(source_of(broker, keys))) == 3
    broker.xdel(keys.candles(MARKET), numbers[1])
    again = source_of(broker, keys)
    with caplog.at_level(logging.ERROR):
        assert [candle.open_time_ms for candle in read_all(again)] == [JUNE_30, JUNE_30 + 2 * MINUTE]
    assert again.lost == 1
    assert pending(broker, keys) == 2
    assert f"entry {numbers[1].decode()}" in caplog.text


@pytest.mark.parametrize("disaster", ["group destroyed", "stream deleted", "server flushed"])
def test_a_group_that_is_gone_is_made_again_from_the_beginning(broker: Any, keys: Keys, disaster: str) -> None:
    source = source_of(broker, keys)
    publish(broker, keys, candles(2))
    source.acknowledge([entry for _ in range(3) for entry in source.read(5, 1)])
    if disaster == "group destroyed":
        broker.xgroup_destroy(keys.candles(MARKET), GROUP)
    elif disaster == "stream deleted":
        broker.delete(keys.candles(MARKET))
    else:
        broker.flushall()
    publish(broker, keys, candles(2, first=5))
    got = read_all(source)
    assert got[-2:] == candles(2, first=5)
    assert len(got) == (4 if disaster == "group destroyed" else 2)


def trim(broker: Any, keys: Keys, minutes: float, max_entries: int = 0) -> int:
    return Trimmer(broker, keys, (MARKET,), Retention(int(minutes * MINUTE), max_entries)).trim()


def test_trimming_by_age_never_takes_what_a_group_still_needs(broker: Any, keys: Keys) -> None:
    """3,000 entries, a minute apart, some acknowledged, some pending, some unread by a second group."""
    stream = keys.candles(MARKET)
    publish(broker, keys, candles(3000))
    source = source_of(broker, keys)
    assert trim(broker, keys, 10) == 0, "nobody has read anything"
    entries = [entry for _ in range(10) for entry in source.read(3000, 1)]
    assert trim(broker, keys, 10) == 0, "everything is pending"
    source.acknowledge(entries[:2000])
    trim(broker, keys, 10)
    assert 1000 <= broker.xlen(stream) < 1100
    assert broker.xrange(stream, count=1)[0][0] <= entries[2000].id
    broker.xgroup_create(stream, "second", id="0")
    source.acknowledge(entries)
    assert trim(broker, keys, 10) == 0, "the second group has read nothing"
    broker.xgroup_destroy(stream, "second")
    trim(broker, keys, 10)
    assert 11 <= broker.xlen(stream) < 111, "ten minutes, and the rest of a node"
    trim(broker, keys, 0)
    assert broker.xrevrange(stream, count=1)[0][0] == entries[-1].id, "the last that was given stays"


def test_entries_younger_than_the_retention_stay(broker: Any, keys: Keys) -> None:
    publish(broker, keys, candles(500))
    source = source_of(broker, keys)
    source.acknowledge([entry for _ in range(4) for entry in source.read(1000, 1)])
    assert trim(broker, keys, 500) == 0
    assert broker.xlen(keys.candles(MARKET)) == 500


@pytest.mark.parametrize("clock_ms", [1, 4_000_000_000_000])
def test_the_broker_s_clock_decides_nothing(broker: Any, keys: Keys, clock_ms: int) -> None:
    """Ids of 1970, or of a day in a hundred years: entries are as old as their candles say."""
    for number, candle in enumerate(candles(300)):
        broker.xadd(keys.candles(MARKET), encode_entry(candle), id=f"{clock_ms + number}-0")
    source = source_of(broker, keys)
    source.acknowledge([entry for _ in range(4) for entry in source.read(1000, 1)])
    assert trim(broker, keys, 300) == 0
    assert trim(broker, keys, 100) > 0
    assert 101 <= broker.xlen(keys.candles(MARKET)) < 201


def test_a_producer_whose_clock_is_ahead_trims_nothing_of_others(broker: Any, keys: Keys) -> None:
    now_ms = time.time_ns() // 1_000_000
    for received_ms in (*[now_ms - 60_000] * 200, now_ms + 400 * 24 * 60 * MINUTE):
        broker.xadd(keys.candles(MARKET), encode_entry(make_candle(receive_time_ms=received_ms)))
    source = source_of(broker, keys)
    source.acknowledge([entry for _ in range(4) for entry in source.read(1000, 1)])
    assert trim(broker, keys, 10) == 0


def test_a_stream_that_grows_beyond_its_bound_loses_what_is_stored_and_it_is_told_once(
    broker: Any, keys: Keys, caplog: pytest.LogCaptureFixture
) -> None:
    publish(broker, keys, candles(500))
    broker.xadd(keys.candles(MARKET), {"no": "candle"})
    source = source_of(broker, keys)
    source.acknowledge([entry for _ in range(4) for entry in source.read(400, 1)][:400])
    trimmer = Trimmer(broker, keys, (MARKET,), Retention(1000 * MINUTE, 150))
    trimmer.trim()
    trimmer.trim()
    assert 150 <= broker.xlen(keys.candles(MARKET)) < 251
    assert [record.getMessage() for record in caplog.records if "150 entries" in record.getMessage()] == [
        f"the stream of {MARKET} holds more than 150 entries: what is stored goes before its retention is over"
    ]


def test_one_call_trims_more_than_can_come_before_the_next(broker: Any, keys: Keys) -> None:
    """A whole market at 1s is 48,000 entries in the 30 s between two calls; a broker stops at 10,000 by itself."""
    stream, fields = keys.candles(MARKET), encode_entry(make_candle(receive_time_ms=JUNE_30))
    broker.xgroup_create(stream, "writers", id="0", mkstream=True)
    for _ in range(3):
        pipeline = broker.pipeline(transaction=False)
        for _ in range(4000):
            pipeline.xadd(stream, fields)
        pipeline.execute()
    broker.xadd(stream, encode_entry(make_candle(receive_time_ms=JUNE_30 + 60 * MINUTE)))
    broker.xgroup_setid(stream, "writers", "$")
    assert trim(broker, keys, 10) > 11_000


def test_a_stream_that_nobody_reads_is_not_trimmed(broker: Any, keys: Keys) -> None:
    publish(broker, keys, candles(2))
    assert trim(broker, keys, 0) == 0


def test_the_series_of_an_entry_is_its_stream_s_market(broker: Any, keys: Keys) -> None:
    publish(broker, keys, candles(1))
    entry = next(entry for _ in range(5) for entry in source_of(broker, keys).read(5, 1))
    assert (entry.market, entry.item.series) == (MARKET, BTC)


def test_a_claimed_entry_that_somebody_deleted_is_named_too(broker: Any, keys: Keys) -> None:
    numbers = publish(broker, keys, candles(3))
    read_all(source_of(broker, keys, "dead"))
    broker.xdel(keys.candles(MARKET), numbers[1])
    living = source_of(broker, keys, "living")
    assert len(living.claim(0, 100)) == 2
    assert living.lost == 1


def test_a_full_broker_can_still_be_drained(broker: Any, keys: Keys, caplog: pytest.LogCaptureFixture) -> None:
    """At its memory limit XADD and XGROUP CREATE are refused: a writer that starts then still reads what is there."""
    broker.xgroup_create(keys.candles(MARKET), GROUP, id="0", mkstream=True)
    for market in Market:
        if market is not MARKET:
            broker.xgroup_create(keys.candles(market), GROUP, id="0", mkstream=True)
    publish(broker, keys, candles(1))
    broker.xadd(keys.candles(MARKET), {"no": "candle"})
    publish(broker, keys, candles(1, first=1))
    broker.config_set("maxmemory", "1mb")
    source = source_of(broker, keys)
    entries = source.read(10, 1)
    assert [entry.item for entry in entries] == candles(2)
    source.acknowledge(entries)
    assert pending(broker, keys) == 1
    assert "and stays pending: the broker takes no dead letter" in caplog.text
    broker.config_set("maxmemory", "0")
    assert source.claim(0, 10) == []
    assert (pending(broker, keys), source.dead_letters) == (0, 1)
