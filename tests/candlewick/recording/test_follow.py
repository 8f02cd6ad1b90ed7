"""Following: every candle once and in order, through restarts, losses of the broker and repairs."""

import asyncio
import itertools
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from candlewick.recording.delivered import Beginning, Delivered, spans_of, spans_text
from candlewick.recording.follow import Follow, FollowedCandle
from candlewick.recording.recording import Recording
from shared.broker.keys import Keys
from shared.candle import Series
from shared.errors import BrokerError, CandlewickError
from shared.interval import Interval
from shared.market import Market
from shared.spans import Spans
from tests.support.candles import BTC, JUNE_30, MINUTE
from tests.support.recorded import Recorded, absent, began, minutes
from tests.support.servers import RealServer

ETH = Series(Market.USDT_FUTURES, "ETHUSDT", Interval.M1)
START = "2024-06-30"


def minute(candle: FollowedCandle) -> int:
    return (int(candle.candle_begin_time.timestamp() * 1000) - JUNE_30) // MINUTE


def take(follow: Follow, count: int) -> list[FollowedCandle]:
    return list(itertools.islice(follow, count))


def got(follow: Follow, count: int) -> list[int]:
    return [minute(candle) for candle in take(follow, count)]


@pytest.fixture
def follow(recording: Recording) -> Iterator[Callable[..., Follow]]:
    started: list[Follow] = []

    def begin(**arguments: Any) -> Follow:
        started.append(recording.follow("usdt_futures", **arguments))
        return started[-1]

    yield begin
    for each in started:
        each.close()


def test_history_goes_over_into_what_is_live_without_gap_or_repeat(
    recorded: Recorded, follow: Callable[..., Follow]
) -> None:
    recorded.store(minutes(5))
    recorded.publish(minutes(4, first=3))
    follower = follow(start=START)
    assert got(follower, 7) == list(range(7))
    recorded.publish(minutes(3, first=5))
    recorded.publish(minutes(1, first=8, source="rest"))
    assert got(follower, 2) == [7, 8]


def test_from_now_on_means_what_ends_from_now_on(recorded: Recorded, follow: Callable[..., Follow]) -> None:
    hour = Series(Market.USDT_FUTURES, "BTCUSDT", Interval.H1)
    recorded.store(minutes(90))
    follower = follow()
    recorded.publish(minutes(1, first=89))
    recorded.publish(minutes(1, first=90))
    recorded.publish(minutes(1, first=60, series=hour))
    candles = take(follower, 2)
    assert [(minute(candle), candle.interval) for candle in candles] == [(90, "1m"), (60, "1h")]


def test_where_nothing_is_recorded_yet_it_begins_now(recorded: Recorded, follow: Callable[..., Follow]) -> None:
    follower = follow()
    recorded.publish(minutes(1))
    new = time.time_ns() // 1_000_000 // MINUTE + 1 - JUNE_30 // MINUTE
    recorded.publish(minutes(1, first=new))
    assert got(follower, 1) == [new]


def test_a_repaired_candle_comes_late_and_once(recorded: Recorded, follow: Callable[..., Follow]) -> None:
    recorded.store([*minutes(3), *minutes(2, first=4)])
    follower = follow(start=START)
    assert got(follower, 5) == [0, 1, 2, 4, 5]
    recorded.publish([*minutes(1, first=3), *minutes(1, first=3), *minutes(1, first=6)])
    assert [(minute(candle), candle.late) for candle in take(follower, 2)] == [(3, True), (6, False)]


def test_series_come_in_the_order_of_close_times_and_new_ones_when_they_begin(
    recorded: Recorded, follow: Callable[..., Follow]
) -> None:
    recorded.store([*minutes(2), *minutes(2, series=ETH)])
    follower = follow(symbols="*USDT", start=START)
    assert [(candle.symbol[:3], minute(candle)) for candle in take(follower, 4)] == [
        *(("BTC", 0), ("ETH", 0), ("BTC", 1), ("ETH", 1)),
    ]
    new, other = (Series(Market.USDT_FUTURES, name, Interval.M1) for name in ("NEWUSDT", "NEWUSDC"))
    recorded.publish([*minutes(1, first=2, series=other), *minutes(1, first=2, series=new)])
    assert [candle.symbol for candle in take(follower, 1)] == ["NEWUSDT"]


def test_a_follower_outlives_an_emptied_broker_and_a_stream_that_is_trimmed_past_it(
    recorded: Recorded, follow: Callable[..., Follow]
) -> None:
    recorded.store(minutes(3))
    recorded.publish(minutes(1, first=3))
    follower = follow(start=START)
    assert got(follower, 4) == [0, 1, 2, 3]
    recorded.empty_broker()
    recorded.publish(minutes(2, first=4))
    assert got(follower, 2) == [4, 5]
    recorded.publish(minutes(2, first=6))
    recorded.store(minutes(6, first=3))
    recorded.trim_to_the_last()
    assert got(follower, 2) == [6, 7]


def test_by_name_it_goes_on_where_it_stopped_and_marks_what_may_have_come_before(
    recorded: Recorded, follow: Callable[..., Follow]
) -> None:
    recorded.store([*minutes(3), *minutes(1, first=4)])
    first = follow(start=START, name="one")
    assert got(first, 4) == [0, 1, 2, 4]
    recorded.publish(minutes(2, first=5))
    assert got(first, 2) == [5, 6]
    recorded.store(minutes(5, first=3))  # 3 is repaired while nobody follows
    second = follow(name="one")
    assert [(minute(candle), candle.late, candle.again) for candle in take(second, 3)] == [
        *((3, True, False), (5, False, True), (6, False, True)),
    ]
    recorded.publish(minutes(1, first=8))
    assert [(minute(candle), candle.again) for candle in take(second, 2)] == [(7, False), (8, False)]


def test_who_follows_last_has_the_name_and_the_one_before_is_told(
    recorded: Recorded, follow: Callable[..., Follow]
) -> None:
    recorded.store(minutes(3))
    first = follow(start=START, name="one")
    assert got(first, 1) == [0]
    second = follow(name="one")
    assert got(second, 3) == [0, 1, 2]
    with pytest.raises(CandlewickError, match="somebody else follows as 'one' now"):
        got(first, 3)


def test_a_name_is_kept_by_its_follower_while_the_broker_loses_it(
    recorded: Recorded, follow: Callable[..., Follow], client: Any, keys: Keys
) -> None:
    recorded.store(minutes(3))
    first = follow(start=START, name="one")
    assert got(first, 3) == [0, 1, 2]
    client.delete(keys.follower(Market.USDT_FUTURES, "one"))
    recorded.publish(minutes(2, first=3))
    assert got(first, 2) == [3, 4]
    recorded.publish(minutes(1, first=5))
    assert got(first, 1) == [5]
    second = follow(name="one")
    assert [(minute(candle), candle.again) for candle in take(second, 1)] == [(5, True)]


def test_a_slow_one_holds_nobody_up_and_misses_nothing(recorded: Recorded, follow: Callable[..., Follow]) -> None:
    recorded.store(minutes(1))
    follower = follow(start=START)
    assert got(follower, 1) == [0]
    for first in range(1, 400, 50):
        recorded.publish(minutes(50, first=first))
        recorded.acknowledge(recorded.read_group())
        recorded.store(minutes(50, first=first))
        recorded.trim_to_the_last()
    assert got(follower, 400) == list(range(1, 401))


async def test_it_is_an_asynchronous_iterator_too(recorded: Recorded, follow: Callable[..., Follow]) -> None:
    recorded.store(minutes(3))
    found = []
    async for candle in follow(start=START):
        found.append(minute(candle))
        if len(found) == 3:
            await asyncio.to_thread(recorded.publish, minutes(1, first=3))
        if len(found) == 4:
            break
    assert found == [0, 1, 2, 3]


def test_closing_it_ends_it_from_another_thread(recorded: Recorded, follow: Callable[..., Follow]) -> None:
    recorded.store(minutes(1))
    follower = follow(start=START)
    assert got(follower, 1) == [0]
    threading.Timer(0.1, follower.close).start()
    assert list(follower) == []


def test_a_broker_that_is_away_is_waited_for(
    make_server: Callable[..., RealServer], make_settings: Callable[..., Any], keys: Keys
) -> None:
    import redis

    server = make_server("valkey", appendonly="yes")
    client = redis.Redis.from_url(server.url)
    recorded = Recorded(make_settings(broker={"url": server.url, "prefix": keys.prefix}), client, keys)
    recorded.store(minutes(2))
    with Recording(recorded.settings) as recording, recording.follow("usdt_futures", start=START, name="x") as follower:
        assert got(follower, 2) == [0, 1]
        server.kill()
        threading.Timer(0.5, server.start).start()
        threading.Timer(1.5, recorded.publish, [minutes(2, first=2)]).start()
        assert got(follower, 2) == [2, 3]
    client.close()
    recorded.close()


def test_what_cannot_be_followed_is_named(recorded: Recorded, recording: Recording, refused_port: int) -> None:
    recorded.store(minutes(1))
    with pytest.raises(CandlewickError, match="name one market: spot, usdt_futures"):
        recording.follow(["spot", "usdt_futures"])  # type: ignore[arg-type]
    with pytest.raises(CandlewickError, match="name 'a b' is not of 1 to 64 letters"):
        recording.follow("spot", name="a b")
    with Recording(recorded.settings, stored_only=True) as stored, pytest.raises(BrokerError, match="without a broker"):
        stored.follow("spot")
    address = {"broker": recorded.settings.broker.model_copy(update={"url": f"redis://127.0.0.1:{refused_port}"})}
    with (
        Recording(recorded.settings.model_copy(update=address)) as away,
        pytest.raises(BrokerError, match="not answer"),
    ):
        away.follow("spot")


@given(st.lists(st.integers(0, 12), max_size=40), st.integers(0, 3))
def test_the_account_gives_each_candle_once_and_knows_what_is_late(opens: list[int], begin: int) -> None:
    account = Delivered(Beginning(begin * MINUTE, is_open=True))
    seen: list[int] = []
    for at in opens:
        is_late = account.take(BTC, at * MINUTE, (at + 1) * MINUTE)
        assert is_late == (None if at in seen or at < begin else any(other > at for other in seen))
        seen += [at] if is_late is not None else []
    left = {
        at for span in account.wanted(BTC, 13 * MINUTE) for at in range(span.begin_ms // MINUTE, span.end_ms // MINUTE)
    }
    assert left == set(range(begin, 13)) - set(seen)
    spans = Spans((at * MINUTE, (at + 1) * MINUTE) for at in seen)
    assert spans_of(spans_text(spans)) == spans
    assert Beginning.parse(str(account.beginning)) == account.beginning


def test_absent_candles_are_not_looked_for_again(recorded: Recorded, follow: Callable[..., Follow]) -> None:
    recorded.store([began(), *minutes(2), absent(2), *minutes(2, first=3)])
    assert got(follow(start=START, name="x"), 4) == [0, 1, 3, 4]
    recorded.publish(minutes(1, first=5))
    assert [minute(candle) for candle in take(follow(name="x"), 5) if not candle.again] == [5]
