"""The control endpoint, over real HTTP."""

import json

import pytest
from websockets.asyncio.client import connect

from simulator.faults.model import Faults
from tests.support.candles import JUNE_30
from tests.support.exchange import ask, exchange, rest, socket_address, until, until_closed


async def test_it_shows_what_the_exchange_does() -> None:
    async with exchange({"duplicate": 1.0}, updates=0, speed=100.0) as simulator, rest(simulator) as client:
        async with connect(socket_address(simulator, "/spot/ws/btcusdt@kline_1s")) as socket:
            await socket.recv()
            await client.get("/spot/api/v3/exchangeInfo")
            state = (await client.get("/control")).json()
    assert state["time_ms"] > JUNE_30
    assert state["speed"] == 100
    assert (state["connections"], state["accepted"]) == (1, 1)
    assert state["closed"] >= 1
    assert state["faults"] == Faults(duplicate=1.0).model_dump()
    assert state["injected"]["duplicate"] >= 1
    nothing = {"calls_while_banned": 0, "calls_on_the_wire": 0, "closed_seconds": 0}
    assert state["weights"] == {
        "spot": {"used": 20, "requests": 1, "klines": 0, "weight": 20, **nothing},
        "futures": {"used": 0, "requests": 0, "klines": 0, "weight": 0, **nothing},
    }
    assert state["symbols"] == {"spot": 4, "usdt_futures": 5, "coin_futures": 2}


async def test_faults_are_switched_on_and_off() -> None:
    async with exchange({"drop": 60}) as simulator, rest(simulator) as client:
        answer = await client.patch("/control/faults", json={"corrupt": 0.5, "drop": None})
        assert answer.json() == Faults(corrupt=0.5).model_dump()
        assert simulator.dice.frames
        assert (await client.patch("/control/faults", json={"all": 1, "holes": 0})).json()["holes"] == 0
        assert (await client.patch("/control/faults", json={"all": 0})).json() == Faults().model_dump()
        assert not simulator.dice.frames


@pytest.mark.parametrize(
    ("method", "path", "body", "message"),
    [
        ("PATCH", "faults", {"drip": 1}, "fault 'drip' is not known: all, drop"),
        ("PATCH", "faults", {"drop": "3"}, "fault drop is '3': allowed is a number of real seconds"),
        ("PATCH", "faults", [], "the body is not a JSON object"),
        ("PATCH", "faults", "{", "the body is not JSON: "),
        ("POST", "symbols", {"market": "sport"}, "market is 'sport': allowed is spot, usdt_futures, coin_futures"),
        ("POST", "symbols", {"market": "spot", "list": "A"}, "list is 'A': allowed is a list of symbols"),
        ("POST", "symbols", {"market": "spot", "lost": ["A"]}, "'lost' is not known: market, list, delist"),
        ("POST", "symbols", {"market": "spot", "list": ["../x"]}, "symbol '../x' is not allowed"),
        ("POST", "symbols", {"market": "spot", "list": ["NEW", "BTCUSDT"]}, "BTCUSDT cannot be listed at 2024-06-30"),
        ("POST", "symbols", {"market": "spot", "delist": ["OLD"]}, "OLD cannot be delisted at 2024-06-30"),
        ("POST", "mishap", {"name": "corrupt"}, "name is 'corrupt': allowed is drop, close, shutdown, silent"),
        ("POST", "rest", {"pool": "options", "status": 429, "seconds": 1}, "pool is 'options': allowed is spot, fut"),
        ("POST", "rest", {"pool": "spot", "status": 500, "seconds": 1}, "status is 500: allowed is 429, 418"),
        ("POST", "rest", {"pool": "spot", "status": 429}, "seconds is None: allowed is a number, 0 or more"),
    ],
)
async def test_a_mistake_is_400_and_one_line_and_changes_nothing(
    method: str, path: str, body: object, message: str
) -> None:
    async with exchange() as simulator, rest(simulator) as client:
        content = body if isinstance(body, str) else json.dumps(body)
        answer = await client.request(method, f"/control/{path}", content=content)
        assert answer.status_code == 400
        assert answer.json()["error"].startswith(message)
        assert simulator.dice.faults == Faults()
        assert (await client.get("/control")).json()["symbols"]["spot"] == 4


@pytest.mark.parametrize(("path", "code"), [("drop", 1006), ("shutdown", 1001)])
async def test_all_connections_end_at_once(path: str, code: int) -> None:
    async with exchange(updates=0) as simulator, rest(simulator) as client:
        streams = "/spot/stream?streams=btcusdt@kline_1M"
        async with (
            connect(socket_address(simulator, streams)) as one,
            connect(socket_address(simulator, streams)) as two,
        ):
            for socket in (one, two):
                await ask(socket, {"method": "LIST_SUBSCRIPTIONS", "id": 1})
            assert (await client.post(f"/control/{path}")).json() == {"connections": 2}
            for socket in (one, two):
                got, closed = await until_closed(socket)
                assert closed == code
                assert [frame["stream"] for frame in got] == (["!serverShutdown"] if path == "shutdown" else [])
        await until(lambda: not simulator.connections)


async def test_one_mishap_happens_at_once_if_there_is_something_that_it_can_happen_to() -> None:
    async with exchange(updates=0) as simulator, rest(simulator) as client:
        assert (await client.post("/control/mishap", json={"name": "drop"})).json() == {"happened": False}
        async with connect(socket_address(simulator, "/spot/ws/btcusdt@kline_1M")) as socket:
            await ask(socket, {"method": "LIST_SUBSCRIPTIONS", "id": 1})
            assert (await client.post("/control/mishap", json={"name": "drop"})).json() == {"happened": True}
            assert await until_closed(socket) == ([], 1006)
        assert simulator.dice.injected == {"drop": 1}


@pytest.mark.parametrize(("pool", "path"), [("spot", "/spot/api/v3/ping"), ("futures", "/coin_futures/dapi/v1/ping")])
async def test_a_pool_is_closed_at_once(pool: str, path: str) -> None:
    async with exchange() as simulator, rest(simulator) as client:
        body = {"pool": pool, "status": 418, "seconds": 50}
        assert 49 < (await client.post("/control/rest", json=body)).json()["closed_seconds"] <= 50
        answer = await client.get(path)
        assert (answer.status_code, answer.headers["Retry-After"]) == (418, "50")
        assert (await client.get(path)).status_code == 418, "the first one learnt of it, this one was on the wire"
        assert (await client.post("/control/rest", json=body | {"seconds": 0})).json()["calls_on_the_wire"] == 1
        assert (await client.get(path)).status_code == 200


async def test_no_fault_touches_it() -> None:
    faults = {"rest_5xx": 1.0, "rest_garbage": 1.0, "rest_429": 1.0}
    async with exchange(faults) as simulator, rest(simulator) as client:
        assert (await client.get("/control")).json()["injected"] == {}
