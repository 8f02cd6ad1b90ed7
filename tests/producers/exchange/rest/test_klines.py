"""Rows become candles, and an answer says what it covers."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import pytest

from producers.exchange.page import Page
from shared.candle import Series
from shared.errors import RestRefusedError
from shared.interval import DAY_MS, Interval
from shared.market import Market
from tests.support.candles import BTC, JUNE_30, MINUTE
from tests.support.rest import COIN, LATE, SPOT, Server, minute, page, row


@pytest.mark.parametrize("series", [SPOT, BTC, COIN])
async def test_klines_are_asked_for_as_each_market_wants_it(
    server: Server, client: Callable[..., Any], series: Series
) -> None:
    async with client(series.market) as rest:
        await rest.klines(series, page(series, 0, 5), LATE)
    ((path, question),) = server.asked
    assert path == f"/{series.market}{series.market.facts.rest_prefix}/klines"
    wanted = {"symbol": series.symbol, "interval": "1m", "startTime": str(JUNE_30), "limit": "5"}
    assert question == (wanted | {"endTime": str(minute(5) - 1)} if series is COIN else wanted)


async def test_rows_become_candles_with_every_value_in_its_place(server: Server, client: Callable[..., Any]) -> None:
    server.will([row(minute(0))])
    async with client() as rest:
        ((candle,), covered_to, is_doubtful, _) = await rest.klines(BTC, page(BTC, 0, 1), LATE)
    assert candle.series == BTC
    assert (candle.open_time_ms, candle.end_time_ms) == (minute(0), minute(1))
    assert (candle.open, candle.high, candle.low, candle.close) == ("1.0", "2.0", "0.5", "1.5")
    assert (candle.volume, candle.quote_volume, candle.trade_num) == ("10", "15.0", 3)
    assert (candle.taker_buy_base_asset_volume, candle.taker_buy_quote_asset_volume) == ("4", "6.0")
    assert (candle.source, candle.event_time_ms) == ("rest", LATE)
    assert (covered_to, is_doubtful) == (minute(1), False)


@pytest.mark.parametrize("series", [SPOT, BTC, COIN])
@pytest.mark.parametrize("ago_ms", [0, 1, MINUTE - 1])
async def test_the_last_row_is_never_taken_while_it_may_be_open(
    server: Server, client: Callable[..., Any], series: Series, ago_ms: int
) -> None:
    """Nothing in a row tells whether it is closed, so the exchange's time decides; to the millisecond."""
    server.will([row(minute(0)), row(minute(1)), row(minute(2))])
    async with client(series.market) as rest:
        answer = await rest.klines(series, page(series, 0, 3), minute(3) - 1 - ago_ms)
        assert [candle.open_time_ms for candle in answer.candles] == [minute(0), minute(1)]
        assert minute(2) <= answer.covered_to_ms < minute(3)
        assert not answer.is_doubtful
        answer = await rest.klines(series, page(series, 0, 3), minute(3))
        assert [candle.open_time_ms for candle in answer.candles] == [minute(0), minute(1), minute(2)]
        assert answer.covered_to_ms == minute(3)


async def test_an_answer_that_is_full_covers_as_far_as_its_last_row(server: Server, client: Callable[..., Any]) -> None:
    server.will([row(minute(0)), row(minute(7)), row(minute(9))])
    async with client() as rest:
        answer = await rest.klines(BTC, page(BTC, 0, 3), LATE)
        assert answer.covered_to_ms == minute(10)
        answer = await rest.klines(BTC, page(BTC, 0, 3), minute(8))
        assert [candle.open_time_ms for candle in answer.candles] == [minute(0), minute(7)]
        assert answer.covered_to_ms == minute(8)
        answer = await rest.klines(BTC, page(BTC, 0, 4), LATE)
        assert answer.covered_to_ms == minute(4)


async def test_an_answer_of_coin_margined_futures_covers_its_page_whatever_it_holds(
    server: Server, client: Callable[..., Any]
) -> None:
    async with client(COIN.market) as rest:
        for rows in ([], [row(minute(2))], [row(minute(at)) for at in range(3)]):
            server.will(rows)
            assert (await rest.klines(COIN, page(COIN, 0, 3), LATE)).covered_to_ms == minute(3)


async def test_rows_in_any_order_and_twice_are_sorted(server: Server, client: Callable[..., Any]) -> None:
    server.will([row(minute(at)) for at in (2, 0, 1, 0)])
    async with client() as rest:
        answer = await rest.klines(BTC, page(BTC, 0, 9), LATE)
    assert [candle.open_time_ms for candle in answer.candles] == [minute(0), minute(0), minute(1), minute(2)]


@pytest.mark.parametrize(
    "bad",
    [
        None,
        5,
        "row",
        {},
        [],
        row(minute(1))[:10],
        row(minute(1) + 1),
        row(-MINUTE),
        row(minute(1), open=None),
        row(minute(1), open=str(minute(1))),
        row(minute(1), c=None),
        row(minute(1), c=1.5),
        row(minute(1), c="NaN"),
        row(minute(1), c="-1"),
        row(minute(1), c="1e5"),
        row(minute(1), n="3"),
        row(minute(1), n=-1),
        row(minute(1), V=[]),
    ],
)
async def test_a_row_that_is_no_candle_is_told_apart_and_the_others_are_kept(
    server: Server, client: Callable[..., Any], bad: object
) -> None:
    server.will([row(minute(0)), bad, row(minute(2))])
    async with client() as rest:
        answer = await rest.klines(BTC, page(BTC, 0, 5), LATE)
        assert rest.counters.rows_refused == 1
    assert [candle.open_time_ms for candle in answer.candles] == [minute(0), minute(2)]
    if isinstance(bad, list) and bad and type(bad[0]) is int and bad[0] >= 0:
        assert [odd.open_time_ms for odd in answer.odd] == [bad[0]]
        assert not answer.is_doubtful
    else:
        assert answer.odd == []
        assert answer.is_doubtful, "nobody knows which candle it stands for"


@pytest.mark.parametrize("limit", [1, 3])
async def test_a_page_of_nothing_but_rows_that_tell_no_time_is_doubted_and_passed(
    server: Server, client: Callable[..., Any], limit: int
) -> None:
    server.will([[]] * limit)
    async with client() as rest:
        answer = await rest.klines(SPOT, page(SPOT, 0, limit), LATE)
    assert (list(answer.candles), answer.covered_to_ms, answer.is_doubtful) == ([], minute(1), True)


@pytest.mark.parametrize("limit", [1, 3])
async def test_a_page_of_nothing_but_rows_off_the_grid_is_passed_without_a_doubt(
    server: Server, client: Callable[..., Any], limit: int
) -> None:
    """In February 2018 the exchange's minutes opened 14.789 s off the grid for 1,201 rows."""
    server.will([row(minute(number) + 14_789) for number in range(limit)])
    async with client() as rest:
        answer = await rest.klines(SPOT, page(SPOT, 0, limit), LATE)
    assert (list(answer.candles), answer.covered_to_ms, answer.is_doubtful) == ([], minute(limit), False)
    assert [odd.open_time_ms for odd in answer.odd] == [minute(number) + 14_789 for number in range(limit)]
    assert "is not on the grid of 1m" in answer.odd[0].reason


async def test_an_odd_row_whose_time_is_far_ahead_speaks_for_one_candle_at_most(
    server: Server, client: Callable[..., Any]
) -> None:
    rows = [row(minute(number)) for number in range(1000)]
    rows[500] = row(minute(6000) + 1)
    server.will(rows)
    async with client() as rest:
        answer = await rest.klines(SPOT, page(SPOT, 0, 1000), LATE + 6000 * MINUTE)
    assert answer.covered_to_ms == minute(1001)
    assert len(answer.candles) == 999


@pytest.mark.parametrize(("interval", "reaches"), [(Interval.D3, DAY_MS), (Interval.MONTH, 31 * DAY_MS)])
async def test_an_odd_row_of_a_long_interval_passes_no_candle_by(
    server: Server, client: Callable[..., Any], interval: Interval, reaches: int
) -> None:
    """3d candles may open on any day."""
    series = Series(Market.SPOT, "BTCUSDT", interval)
    july = JUNE_30 + DAY_MS
    server.will([row(july + 5000)])
    async with client() as rest:
        answer = await rest.klines(series, Page(july, None, 1, LATE), LATE + 400 * DAY_MS)
    assert answer.covered_to_ms == july + reaches


@pytest.mark.parametrize("market", list(Market))
async def test_recorded_answers_of_the_real_exchange_are_read_whole(
    server: Server, client: Callable[..., Any], real_data: Path, market: Market
) -> None:
    for record in json.loads((real_data / "rest" / f"{market}.json").read_bytes()):
        question, rows = dict(parse_qsl(record["query"])), record["data"]
        series = Series(market, question["symbol"], Interval(question["interval"]))
        server.will(rows, 200 if isinstance(rows, list) else 400)
        async with client(market) as rest:
            if isinstance(rows, dict):
                with pytest.raises(RestRefusedError, match="Maximum time interval is 200 days"):
                    await rest.klines(series, Page(0, None, 1000, 1), LATE)
                continue
            answer = await rest.klines(series, Page(rows[0][0], None, 1500, LATE), LATE)
            assert not answer.is_doubtful
            assert [candle.open_time_ms for candle in answer.candles] == [row[0] for row in rows]
            assert [candle.end_time_ms for candle in answer.candles] == [row[6] + 1 for row in rows]
            assert [candle.close for candle in answer.candles] == [row[4] for row in rows]
