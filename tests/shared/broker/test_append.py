"""Many entries in one go: packed as Redis reads them, and each answered."""

import os
import signal
from collections.abc import Callable
from contextlib import closing
from typing import Any

import hiredis
import pytest
import redis
from hypothesis import given
from hypothesis import strategies as st

from shared.broker.append import append_entries, pack_entries
from shared.broker.client import async_client
from shared.broker.entry import encode_entry
from shared.broker.keys import Keys
from shared.candle import Candle, Series
from shared.interval import Interval
from shared.market import Market
from shared.series_fact import FactKind, SeriesFact
from shared.settings.load import load_settings
from shared.settings.model import Settings
from tests.support.candles import BTC, JUNE_30, MINUTE, make_candle
from tests.support.publishing import published

DECIMALS = st.from_regex(r"\A[0-9]{1,30}(\.[0-9]{1,30})?\Z")
SYMBOLS = st.sampled_from(["BTCUSDT", "币安人生USDT", "BTCUSD_240628", "1000000MOGUSDT"])


@st.composite
def items(draw: st.DrawFn) -> Candle | SeriesFact:
    series = Series(draw(st.sampled_from(Market)), draw(SYMBOLS), draw(st.sampled_from(Interval)))
    times = st.integers(0, 4_102_444_800_000)
    if draw(st.booleans()):
        return SeriesFact(series, FactKind.ABSENT, draw(times), draw(times), draw(times), draw(st.text(max_size=20)))
    opened = series.interval.floor(draw(times))
    prices = [draw(DECIMALS) for _ in range(6)]
    source = draw(st.sampled_from(["rest", "websocket", "é"]))
    values: list[Any] = [*prices, draw(st.integers(0, 2**53)), draw(DECIMALS), draw(DECIMALS), source, draw(times)]
    return Candle(*(series, opened, *values, draw(times)))


@given(st.lists(items(), max_size=4))
def test_what_is_packed_is_what_hiredis_packs(some: list[Candle | SeriesFact]) -> None:
    expected = [("XADD", "some:{spot}", "*", *sum(encode_entry(item).items(), ())) for item in some]
    assert pack_entries("some:{spot}", some) == b"".join(map(hiredis.pack_command, expected))


async def test_each_item_is_answered_for_and_a_refusal_is_an_answer(
    make_settings: Callable[..., Settings], client: Any, keys: Keys
) -> None:
    stream = keys.candles(BTC.market)
    some: list[Candle | SeriesFact] = [make_candle(), SeriesFact(BTC, FactKind.ABSENT, JUNE_30, JUNE_30, 1)]
    connected = async_client(make_settings())
    appended = await append_entries(connected, stream, some, 5, replicas=1)
    assert list(appended.answers) == [number for number, _ in client.xrange(stream)]
    assert appended.replicas == 0
    client.delete(stream)
    client.set(stream, "of another type")
    appended = await append_entries(connected, stream, some, 5)
    assert all(str(answer).startswith("WRONGTYPE") for answer in appended.answers)
    assert len(appended.answers) == 2
    await connected.aclose()


async def test_answers_that_come_too_late_are_nobody_elses(make_server: Callable[..., Any], prefix: str) -> None:
    server, stream = make_server(), Keys(prefix).candles(BTC.market)
    settings = load_settings(flags={"broker": {"url": server.url, "prefix": prefix}})
    candles = [make_candle(open_time_ms=JUNE_30 + number * MINUTE) for number in range(9)]
    connected = async_client(settings)
    await append_entries(connected, stream, candles[:1], 5)
    os.kill(server.pid, signal.SIGSTOP)
    with pytest.raises(TimeoutError):
        await append_entries(connected, stream, candles[1:4], 0.1)
    os.kill(server.pid, signal.SIGCONT)
    appended = await append_entries(connected, stream, candles[4:], 5)
    found: Any = await connected.xrange(stream)
    assert [*appended.answers] == [number for number, _ in found[-5:]]
    await connected.aclose()
    with closing(redis.Redis.from_url(server.url)) as client:
        assert set(published(client, Keys(prefix))) == set(candles)
