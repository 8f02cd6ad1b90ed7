"""What is no answer may come later; refusals, bans and weights."""

import asyncio
import logging
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
from aiohttp import web

from shared.candle import Series
from shared.errors import RestRefusedError, RestUnavailableError
from shared.interval import Interval
from shared.market import Market
from tests.support.candles import BTC
from tests.support.rest import COIN, LATE, SPOT, Server, minute, page, row


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"code": -1001, "msg": "Internal error"}, 500),
        ({"code": -1008, "msg": "Server is currently overloaded"}, 503),
        (b"<html>Bad Gateway</html>", 502),
        (b"<html>Request blocked</html>", 403),
        ({"code": -1000, "msg": "blocked"}, 403),
        (b"", 200),
        (b"<html>Maintenance</html>", 200),
        (b'[[1719705600000,"1.0","2.0"', 200),
        (b"\xff\xfe", 200),
        ({"code": -1003, "msg": "Way too many requests"}, 200),
        ({}, 400),
        ([], 404),
        ({"code": "often", "msg": None}, 400),
        ({"code": None}, 400),
        ({"code": [1]}, 400),
        (b"", 304),
    ],
)
async def test_what_is_no_answer_may_come_later(
    server: Server, client: Callable[..., Any], body: Any, status: int
) -> None:
    server.will(body, status)
    async with client() as rest:
        with pytest.raises(RestUnavailableError):
            await rest.klines(BTC, page(BTC, 0, 5), LATE)
        assert rest.counters.requests == 1
        server.will([row(minute(0))])
        assert len((await rest.klines(BTC, page(BTC, 0, 5), LATE)).candles) == 1


@pytest.mark.parametrize(
    ("code", "text"), [(-1121, "Invalid symbol."), (-4088, "Maximum time interval is 200 days."), (-1100, "Illegal")]
)
async def test_a_question_that_the_exchange_refuses_is_another_error_with_its_own_words(
    server: Server, client: Callable[..., Any], code: int, text: str
) -> None:
    server.will({"code": code, "msg": text}, 400)
    async with client() as rest:
        with pytest.raises(RestRefusedError, match=text) as error:
            await rest.klines(BTC, page(BTC, 0, 5), LATE)
        assert error.value.code == code
        assert rest.counters.failures == 0


async def test_an_answer_that_does_not_come_in_time_is_not_waited_for(
    server: Server, client: Callable[..., Any]
) -> None:
    async def never(_: web.Request) -> web.StreamResponse:
        await asyncio.Event().wait()
        raise AssertionError

    server.will(never)
    async with client(rest_timeout_seconds=0.05) as rest:
        with pytest.raises(RestUnavailableError, match="Timeout"):
            await rest.klines(BTC, page(BTC, 0, 5), LATE)
        assert rest.counters.failures == 1


async def test_a_connection_that_breaks_in_the_middle_of_an_answer_may_come_later(
    server: Server, client: Callable[..., Any]
) -> None:
    async def breaks(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": "1000"})
        await response.prepare(request)
        await response.write(b"[[17197")
        assert request.transport is not None
        request.transport.abort()
        return response

    server.will(breaks)
    async with client() as rest:
        with pytest.raises(RestUnavailableError):
            await rest.klines(BTC, page(BTC, 0, 5), LATE)


async def test_an_exchange_that_is_not_there_may_come_later(server: Server, client: Callable[..., Any]) -> None:
    del server
    async with client(simulator="http://127.0.0.1:1") as rest:
        with pytest.raises(RestUnavailableError, match=r"127\.0\.0\.1:1"):
            await rest.server_time_ms()


@pytest.mark.parametrize("status", [429, 418])
async def test_retry_after_is_obeyed_by_every_process_of_the_host(
    server: Server, client: Callable[..., Any], status: int
) -> None:
    server.will({"code": -1003, "msg": "Too many requests"}, status, Retry_After="123")
    async with client() as rest, client(COIN.market) as other, client(SPOT.market) as spot:
        with pytest.raises(RestUnavailableError, match=f"answers {status}: nothing is asked for 123 s") as error:
            await rest.klines(BTC, page(BTC, 0, 5), LATE)
        assert error.value.seconds == 123
        server.will([])
        for each in (rest, other):
            with pytest.raises(RestUnavailableError, match=f"answers {status}: nothing is asked for 12[23] s") as error:
                await each.server_time_ms()
            assert 120 < error.value.seconds <= 123
        assert len(server.asked) == 1
        await spot.klines(SPOT, page(SPOT, 0, 5), LATE)
        report = await other.budget.report()
        assert (report.status, 120 < report.closed_seconds <= 123) == (status, True)


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ({}, 60),
        ({"Retry_After": "soon"}, 60),
        ({"Retry_After": "-5"}, 60),
        ({"Retry_After": "Wed, 21 Oct 2026 07:28:00 GMT"}, 60),
        ({"Retry_After": "0"}, 1),
        ({"Retry_After": "9" * 400}, 4 * 86_400),
    ],
)
async def test_a_refusal_without_a_usable_time_closes_for_a_minute(
    server: Server, client: Callable[..., Any], header: dict[str, str], seconds: int
) -> None:
    server.will(b"slow down", 429, **header)
    async with client() as rest:
        with pytest.raises(RestUnavailableError):
            await rest.server_time_ms()
        closed = (await rest.budget.report()).closed_seconds
        assert seconds - 1 <= closed <= seconds


async def test_the_exchanges_own_count_is_shared(server: Server, client: Callable[..., Any]) -> None:
    server.will([], X_MBX_USED_WEIGHT_1M="321")
    async with client() as rest, client(COIN.market) as other:
        await rest.klines(BTC, page(BTC, 0, 5), LATE)
        assert (await other.budget.report()).used == 321


@pytest.mark.parametrize("count", ["", "many", "-1", "1.5", "\xb2"])
async def test_a_count_that_is_none_is_ignored(server: Server, client: Callable[..., Any], count: str) -> None:
    async def answers(request: web.Request) -> web.StreamResponse:
        assert request.transport is not None
        content = f"HTTP/1.1 200 OK\r\nX-MBX-USED-WEIGHT-1M: {count}\r\nContent-Length: 2\r\n\r\n[]"
        request.transport.write(content.encode("latin-1"))
        request.transport.close()
        return web.Response()

    server.will(answers)
    async with client() as rest:
        await rest.klines(BTC, page(BTC, 0, 5), LATE)
        assert (await rest.budget.report()).used == 0


@pytest.mark.parametrize(
    ("market", "weights"), [(Market.SPOT, [2, 2, 1, 20]), (BTC.market, [1, 2, 1, 1]), (COIN.market, [1, 2, 1, 1])]
)
async def test_every_call_is_charged_with_its_weight(
    server: Server, client: Callable[..., Any], market: Market, weights: list[int]
) -> None:
    series, spent = Series(market, "BTCUSDT", Interval.M1), [0]
    async with client(market) as rest:
        for length in (9, 400):
            await rest.klines(series, page(series, 0, length), LATE)
            spent.append(rest.counters.weight)
        server.will({"serverTime": 1})
        await rest.server_time_ms()
        spent.append(rest.counters.weight)
        server.will({"symbols": []})
        await rest.listings()
        spent.append(rest.counters.weight)
    assert [after - before for before, after in pairwise(spent)] == weights


@pytest.mark.parametrize("status", [451, 403, 503, None])
async def test_an_address_that_does_not_serve_gives_way_to_the_next(
    server: Server, client: Callable[..., Any], caplog: pytest.LogCaptureFixture, status: int | None
) -> None:
    """Refused, blocked, broken or unreachable; the next question goes elsewhere, and one line says so."""
    first = server.address if status else "http://127.0.0.1:1"
    settings = {"simulator": "", "usdt_futures_rest": f"{first}/first, {server.address}/second"}
    with caplog.at_level(logging.WARNING):
        async with client(**settings) as rest:
            if status:
                server.will({"code": 0, "msg": "Service unavailable from a restricted location"}, status)
            with pytest.raises(RestUnavailableError):
                await rest.server_time_ms()
            server.will({"serverTime": LATE})
            assert await rest.server_time_ms() == LATE
    assert server.asked[-1][0] == "/second/fapi/v1/time"
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == 1
    assert said[0].startswith(f"usdt_futures REST: {first}/first gives way to {server.address}/second: ")


async def test_a_bad_row_is_named_in_the_log(
    server: Server, client: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    server.will([row(minute(0), c="NaN")])
    with caplog.at_level(logging.WARNING):
        async with client() as rest:
            await rest.klines(BTC, page(BTC, 0, 5), LATE)
    assert "usdt_futures BTCUSDT-1m: 1 row is no candle: prices and volumes are not plain decimals" in caplog.text
