"""What goes wrong with REST calls, over real HTTP."""

import asyncio
import json

import httpx
import pytest

from shared.candle import Series
from shared.interval import Interval
from shared.market import Market
from simulator.market.klines import SyntheticSource
from simulator.server.options import DEFAULT_SYMBOLS
from tests.support.candles import JUNE_30, MINUTE
from tests.support.exchange import exchange, klines, rest, until

PING = {"spot": "/spot/api/v3/ping", "um": "/usdt_futures/fapi/v1/ping", "cm": "/coin_futures/dapi/v1/ping"}


@pytest.mark.parametrize("status", [429, 418])
async def test_a_pool_is_closed_for_a_while_and_for_both_futures_markets(status: int) -> None:
    faults = {f"rest_{status}": 1.0, "rest_ban_seconds": 100.0}
    async with exchange(faults) as simulator, rest(simulator) as client:
        first = await client.get(PING["um"])
        simulator.change_faults({"all": 0})
        second = await client.get(PING["cm"])
        assert [first.status_code, second.status_code] == [status, status]
        assert first.headers["Retry-After"] == "100"
        assert 98 <= int(second.headers["Retry-After"]) <= 100
        assert simulator.pools["futures"].calls_on_the_wire == 1
        assert simulator.dice.injected[f"rest_{status}"] == 1
        assert (await client.get(PING["spot"])).status_code == 200
        simulator.pools["futures"].close(status, 0)
        assert (await client.get(PING["cm"])).status_code == 200


async def test_server_errors_of_each_kind() -> None:
    async with exchange({"rest_5xx": 1}) as simulator, rest(simulator) as client:
        assert {(await client.get(PING["spot"])).status_code for _ in range(30)} == {500, 502, 503}


async def test_somebody_who_is_not_served_is_told_so() -> None:
    async with exchange({"rest_refused": 1}) as simulator, rest(simulator) as client:
        answers = [await client.get(PING["spot"]) for _ in range(30)]
        assert {answer.status_code for answer in answers} == {451, 403}
        assert answers[0].json()["code"] == 0


async def test_an_odd_row_opens_off_the_grid_and_takes_no_row_s_place_but_the_last_s() -> None:
    async with exchange({"rest_odd_row": 1}, start_ms=JUNE_30) as simulator, rest(simulator) as client:
        path, begin = "/spot/api/v3", JUNE_30 - 60 * MINUTE
        rows = await klines(client, path, symbol="BTCUSDT", startTime=begin, limit=100)
        odd = [row[0] for row in rows if row[0] % MINUTE]
        assert len(odd) == 1
        assert (odd[0] - 14_789) % MINUTE == 0
        simulator.change_faults({"all": 0})
        true = await klines(client, path, symbol="BTCUSDT", startTime=begin, limit=100)
        assert [row[0] for row in rows if row[0] % MINUTE == 0] == [row[0] for row in true]


async def test_a_call_that_is_never_answered_ends_when_the_client_gives_up() -> None:
    async with exchange({"rest_timeout": 1}) as simulator, rest(simulator) as client:
        with pytest.raises(httpx.ReadTimeout):
            await client.get(PING["spot"], timeout=0.1)
        simulator.change_faults({"rest_timeout": 0})
        assert (await client.get(PING["spot"])).status_code == 200


async def test_a_call_that_is_never_answered_is_cut_in_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("simulator.server.gate._NO_ANSWER_SECONDS", 0.1)
    async with exchange({"rest_timeout": 1}) as simulator, rest(simulator) as client:
        with pytest.raises(httpx.RemoteProtocolError):
            await client.get(PING["spot"])


async def test_a_slow_answer_is_a_whole_one() -> None:
    faults = {"rest_slow": 1, "rest_slow_seconds": 0.2}
    async with exchange(faults) as simulator, rest(simulator) as client:
        loop = asyncio.get_running_loop()
        began = loop.time()
        answers = await asyncio.gather(*(client.get(PING["spot"]) for _ in range(10)))
        assert {answer.status_code for answer in answers} == {200}
        assert loop.time() - began > 0.05


async def test_garbage_is_half_a_text_or_a_page() -> None:
    async with exchange({"rest_garbage": 1}) as simulator, rest(simulator) as client:
        kinds = set()
        for _ in range(20):
            answer = await client.get("/spot/api/v3/klines?symbol=BTCUSDT&interval=1m&limit=3")
            assert answer.status_code == 200
            assert "X-MBX-USED-WEIGHT-1M" in answer.headers
            with pytest.raises(json.JSONDecodeError):
                answer.json()
            kinds.add(answer.headers["Content-Type"].partition(";")[0])
        assert kinds == {"application/json", "text/html"}


@pytest.mark.parametrize("holes", [0.3, 0.9])
async def test_a_page_holds_as_many_rows_as_were_asked_for_past_all_holes(holes: float) -> None:
    async with exchange({"holes": holes}, start_ms=JUNE_30, speed=0.001) as simulator, rest(simulator) as client:
        source = SyntheticSource(1, DEFAULT_SYMBOLS, holes=holes)
        spot, coin = (
            Series(market, symbol, Interval.M1)
            for market, symbol in ((Market.SPOT, "BTCUSDT"), (Market.COIN_FUTURES, "BTCUSD_PERP"))
        )
        start = JUNE_30 - 6_000 * MINUTE

        def there(series: Series) -> list[int]:
            return [one for one in range(start, JUNE_30 + 1, MINUTE) if source.kline(series, one)]

        assert [row[0] for row in await klines(client, limit=300)] == there(spot)[-300:]
        assert [row[0] for row in await klines(client, limit=300, startTime=start)] == there(spot)[:300]
        rows = await klines(client, "/coin_futures/dapi/v1", symbol="BTCUSD_PERP", limit=300, startTime=start)
        assert [row[0] for row in rows] == there(coin)[-300:]


async def test_faults_change_while_it_runs_and_holes_with_them() -> None:
    async with exchange(start_ms=JUNE_30, speed=0.001) as simulator, rest(simulator) as client:
        before = await klines(client, limit=100)
        answer = await client.patch("/control/faults", json={"holes": 0.5})
        assert answer.json()["holes"] == 0.5
        holed = await klines(client, limit=100)
        assert holed[0][0] < before[0][0], "further back for as many rows"
        await client.patch("/control/faults", json={"holes": None})
        assert [row[0] for row in await klines(client, limit=100)] == [row[0] for row in before]
        await until(lambda: not simulator.dice.injected)
