"""The exchange's time, its list of symbols, the first kline."""

from collections.abc import Callable
from typing import Any

import pytest

from shared.errors import RestUnavailableError
from tests.support.rest import COIN, LATE, SPOT, Server, minute, row


async def test_the_exchanges_time_is_asked_for(server: Server, client: Callable[..., Any]) -> None:
    server.will({"serverTime": LATE})
    async with client() as rest:
        assert await rest.server_time_ms() == LATE
    assert server.asked == [("/usdt_futures/fapi/v1/time", {})]


@pytest.mark.parametrize("body", [None, [], {}, 5, {"serverTime": None}, {"serverTime": "1"}, {"serverTime": 0}])
async def test_an_answer_without_a_time_is_none(server: Server, client: Callable[..., Any], body: object) -> None:
    server.will(body)
    async with client() as rest:
        with pytest.raises(RestUnavailableError, match="serverTime"):
            await rest.server_time_ms()


async def test_symbols_are_read_and_a_body_without_them_is_no_empty_list(
    server: Server, client: Callable[..., Any]
) -> None:
    server.will({"symbols": [{"symbol": "BTCUSDT", "status": "TRADING"}]})
    async with client() as rest:
        assert [listing.symbol for listing in await rest.listings()] == ["BTCUSDT"]
        server.will({"rateLimits": []})
        with pytest.raises(RestUnavailableError, match="holds no symbols"):
            await rest.listings()


@pytest.mark.parametrize(
    ("body", "found"),
    [
        ([row(minute(3))], minute(3)),
        ([], None),
        ([[]], None),
        ([["soon"]], None),
        ([None], None),
        ({}, None),
        (None, None),
        ("", None),
    ],
)
async def test_the_first_kline_of_a_series_may_not_exist(
    server: Server, client: Callable[..., Any], body: object, found: int | None
) -> None:
    server.will(body)
    async with client(SPOT.market) as rest:
        assert await rest.first_open_ms(SPOT) == found
    assert server.asked[0][1]["startTime"] == "0"


async def test_coin_margined_futures_are_not_asked_for_a_first_kline(
    server: Server, client: Callable[..., Any]
) -> None:
    async with client(COIN.market) as rest:
        assert await rest.first_open_ms(COIN) is None
    assert server.asked == []
