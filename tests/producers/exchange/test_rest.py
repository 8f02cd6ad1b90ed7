"""REST calls against a small server of the test's own: what is taken, what is refused, what costs weight."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import pytest
from aiohttp import web

from producers.exchange.page import Page, next_page
from producers.exchange.rest import RestClient, RestRefusedError, RestUnavailableError
from producers.exchange.weight import WeightBudget
from shared.candle import Series
from shared.interval import DAY_MS, Interval
from shared.market import Market
from shared.settings.model import ExchangeSettings
from tests.conftest import BTC, JUNE_30, MINUTE

SPOT = Series(Market.SPOT, "BTCUSDT", Interval.M1)
COIN = Series(Market.COIN_FUTURES, "BTCUSD_PERP", Interval.M1)
LATE = JUNE_30 + DAY_MS


def minute(number: int) -> int:
    return JUNE_30 + number * MINUTE


def row(open_ms: int, **changes: Any) -> list[Any]:
    values: dict[str, Any] = {"open": open_ms, "o": "1.0", "h": "2.0", "l": "0.5", "c": "1.5", "v": "10", "T": 0}
    values |= {"q": "15.0", "n": 3, "V": "4", "Q": "6.0", "ignore": "0"}
    return list((values | {"T": open_ms + MINUTE - 1} | changes).values())


def page(series: Series, begin: int, end: int) -> Page:
    return next_page(series, minute(begin), minute(end))


class Server:
    """Answers with what it was told; remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, dict[str, str]]] = []
        self.address = ""
        self.answer: Callable[[web.Request], Awaitable[web.StreamResponse]] | web.Response | Any = []
        self.status, self.headers = 200, dict[str, str]()

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.asked.append((request.path, dict(request.query)))
        if callable(self.answer):
            found: web.StreamResponse = await self.answer(request)
            return found
        body = self.answer if isinstance(self.answer, bytes) else json.dumps(self.answer).encode()
        return web.Response(body=body, status=self.status, headers=self.headers, content_type="application/json")

    def will(self, answer: Any, status: int = 200, **headers: str) -> None:
        self.answer, self.status = answer, status
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    server, app = Server(), web.Application()
    app.router.add_get("/{path:.*}", server.handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    server.address = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield server
    await runner.cleanup()


@pytest.fixture
def client(server: Server, tmp_path: Path) -> Callable[..., Any]:
    """A client of one market, as one process has it."""

    @asynccontextmanager
    async def make(market: Market = BTC.market, **settings: Any) -> AsyncIterator[RestClient]:
        values = {"simulator": server.address, "weight_folder": str(tmp_path), "rest_timeout_seconds": 5.0} | settings
        exchange = ExchangeSettings(**values)
        client = RestClient(market, exchange, WeightBudget(market, exchange))
        try:
            yield client
        finally:
            await client.close()

    return make


# Klines


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
        ((candle,), covered_to, is_doubtful) = await rest.klines(BTC, page(BTC, 0, 1), LATE)
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
        assert [one.open_time_ms for one in answer.candles] == [minute(0), minute(1)]
        assert minute(2) <= answer.covered_to_ms < minute(3)
        assert not answer.is_doubtful
        answer = await rest.klines(series, page(series, 0, 3), minute(3))
        assert [one.open_time_ms for one in answer.candles] == [minute(0), minute(1), minute(2)]
        assert answer.covered_to_ms == minute(3)


async def test_an_answer_that_is_full_covers_as_far_as_its_last_row(server: Server, client: Callable[..., Any]) -> None:
    server.will([row(minute(0)), row(minute(7)), row(minute(9))])
    async with client() as rest:
        answer = await rest.klines(BTC, page(BTC, 0, 3), LATE)
        assert answer.covered_to_ms == minute(10)
        answer = await rest.klines(BTC, page(BTC, 0, 3), minute(8))
        assert [one.open_time_ms for one in answer.candles] == [minute(0), minute(7)]
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
    assert [one.open_time_ms for one in answer.candles] == [minute(0), minute(0), minute(1), minute(2)]


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
async def test_a_row_that_is_no_candle_makes_the_answer_doubtful_and_the_others_are_kept(
    server: Server, client: Callable[..., Any], bad: object
) -> None:
    server.will([row(minute(0)), bad, row(minute(2))])
    async with client() as rest:
        answer = await rest.klines(BTC, page(BTC, 0, 5), LATE)
        assert rest.counters.refused_rows == 1
    assert [one.open_time_ms for one in answer.candles] == [minute(0), minute(2)]
    assert answer.is_doubtful


async def test_an_answer_of_nothing_but_bad_rows_covers_nothing(server: Server, client: Callable[..., Any]) -> None:
    server.will([[], [], []])
    async with client() as rest:
        answer = await rest.klines(BTC, page(BTC, 0, 3), LATE)
    assert (list(answer.candles), answer.covered_to_ms, answer.is_doubtful) == ([], minute(0), True)


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
            assert [one.open_time_ms for one in answer.candles] == [one[0] for one in rows]
            assert [one.end_time_ms for one in answer.candles] == [one[6] + 1 for one in rows]
            assert [one.close for one in answer.candles] == [one[4] for one in rows]


# Time, symbols, the first kline


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
        assert [one.symbol for one in await rest.listings()] == ["BTCUSDT"]
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


# What goes wrong


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


# Weight


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


async def test_a_bad_row_is_named_in_the_log(
    server: Server, client: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    server.will([row(minute(0), c="NaN")])
    with caplog.at_level(logging.WARNING):
        async with client() as rest:
            await rest.klines(BTC, page(BTC, 0, 5), LATE)
    assert "row no. 1 that is no candle, of usdt_futures BTCUSDT-1m" in caplog.text
