"""The simulated exchange keeps Binance's rules, over real WebSockets and REST."""

import asyncio
import json
import time
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from producers.exchange.frames import OpenKline, parse_frame
from shared.candle import Candle, Series
from shared.interval import DAY_MS, Interval
from shared.market import Market
from tests.support.archives import lines
from tests.support.candles import JUNE_30, MINUTE
from tests.support.exchange import ask, exchange, klines, rest, socket_address, until


@pytest.mark.parametrize(
    ("path", "market", "channel"),
    [
        ("/spot/stream?streams=btcusdt@kline_1m/bnbusdt@kline_1m", Market.SPOT, "btcusdt@kline_1m"),
        ("/usdt_futures/market/stream?streams=btcusdt@kline_1m", Market.USDT_FUTURES, "btcusdt@kline_1m"),
        ("/coin_futures/stream?streams=btcusd_perp@kline_3m", Market.COIN_FUTURES, "btcusd_perp@kline_3m"),
    ],
)
async def test_combined_streams_carry_an_envelope_and_the_market_s_spelling(
    path: str, market: Market, channel: str
) -> None:
    async with exchange() as simulator, connect(socket_address(simulator, path)) as socket:
        text = await socket.recv()
        frame = json.loads(text)
        assert frame["stream"] == channel
        assert frame["data"]["e"] == "kline"
        assert (', "T"' in str(text)) == (market is Market.USDT_FUTURES)
        assert isinstance(parse_frame(str(text).encode(), market, 0), OpenKline | Candle)


async def test_raw_streams_carry_none() -> None:
    async with exchange() as simulator, connect(socket_address(simulator, "/spot/ws/btcusdt@kline_1s")) as socket:
        assert json.loads(await socket.recv())["k"]["i"] == "1s"


async def test_control_messages_are_answered_as_the_exchange_answers() -> None:
    async with exchange(updates=0) as simulator, connect(socket_address(simulator, "/spot/ws")) as socket:
        channels = ["btcusdt@kline_1m", "币安人生usdt@kline_1M"]
        assert await ask(socket, {"method": "SUBSCRIBE", "params": channels, "id": 1}) == {"result": None, "id": 1}
        assert await ask(socket, {"method": "LIST_SUBSCRIPTIONS", "id": 2}) == {"result": channels, "id": 2}
        assert (await ask(socket, {"method": "UNSUBSCRIBE", "params": channels[:1], "id": 3}))["result"] is None
        assert (await ask(socket, {"method": "DANCE", "params": [], "id": 4}))["error"]["code"] == 2
        await asyncio.sleep(1)
        assert (await ask(socket, {"method": "LIST_SUBSCRIPTIONS", "id": 5}))["result"] == channels[1:]
        assert (await ask(socket, ["no", "object"]))["error"]["code"] == 3


async def test_a_control_message_over_4096_bytes_is_ignored_without_a_word() -> None:
    async with exchange(updates=0) as simulator, connect(socket_address(simulator, "/spot/ws")) as socket:
        await socket.send(json.dumps({"method": "SUBSCRIBE", "params": ["x" * 4096], "id": 1}))
        assert (await ask(socket, {"method": "LIST_SUBSCRIPTIONS", "id": 2}))["id"] == 2


@pytest.mark.parametrize(("market", "allowed"), [("spot", 5), ("coin_futures", 10)])
async def test_too_many_messages_in_a_second_close_the_connection_with_1008(market: str, allowed: int) -> None:
    async with exchange(updates=0) as simulator, connect(socket_address(simulator, f"/{market}/ws")) as socket:
        for number in range(allowed + 1):
            await socket.send(json.dumps({"method": "LIST_SUBSCRIPTIONS", "id": number}))
        numbers = []
        with pytest.raises(ConnectionClosed) as caught:
            numbers.extend([json.loads(await socket.recv())["id"] for _ in range(allowed + 1)])
        assert caught.value.rcvd is not None
        assert caught.value.rcvd.code == 1008


async def test_more_than_1024_channels_are_refused() -> None:
    async with exchange(updates=0) as simulator, connect(socket_address(simulator, "/coin_futures/ws")) as socket:
        for first in range(0, 1000, 125):
            params = [f"s{n}usd@kline_1m" for n in range(first, first + 125)]
            assert (await ask(socket, {"method": "SUBSCRIBE", "params": params, "id": first}))["result"] is None
        params = [f"s{n}usd@kline_1m" for n in range(1000, 1025)]
        assert "too many" in (await ask(socket, {"method": "SUBSCRIBE", "params": params, "id": 9}))["error"]["msg"]


async def test_an_address_of_over_8000_bytes_is_refused() -> None:
    async with exchange() as simulator:
        with pytest.raises(InvalidStatus, match="414"):
            await connect(socket_address(simulator, f"/spot/stream?streams={'x' * 8000}"))


async def test_the_address_that_the_exchange_left_acknowledges_and_is_silent() -> None:
    async with exchange() as simulator, connect(socket_address(simulator, "/usdt_futures/stream")) as socket:
        assert (await ask(socket, {"method": "SUBSCRIBE", "params": ["btcusdt@kline_1s"], "id": 1}))["result"] is None
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(socket.recv(), 0.5)


async def test_open_frames_come_at_the_number_asked_for_and_the_closing_one_late() -> None:
    path = "/spot/ws/btcusdt@kline_1m"
    async with exchange(speed=None, updates=4, start_ms=JUNE_30) as simulator:
        async with connect(socket_address(simulator, path)) as socket:
            frames = [json.loads(await socket.recv()) for _ in range(50)]
    for opens in range(JUNE_30 + MINUTE, JUNE_30 + 8 * MINUTE, MINUTE):
        mine = [frame for frame in frames if frame["k"]["t"] == opens]
        assert [frame["k"]["x"] for frame in mine] == [False] * 4 + [True]
        assert 20 <= mine[-1]["E"] - mine[-1]["k"]["T"] - 1 < 300


async def test_at_the_end_of_its_data_it_says_so_and_falls_silent() -> None:
    async with exchange(speed=None, updates=0, start_ms=JUNE_30, end_ms=JUNE_30 + 3 * MINUTE) as simulator:
        async with connect(socket_address(simulator, "/spot/ws/btcusdt@kline_1m")) as socket:
            opens = [json.loads(await socket.recv())["k"]["t"] for _ in range(3)]
            await asyncio.wait_for(simulator.feed.ended.wait(), 5)
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(socket.recv(), 0.2)
    assert opens == [JUNE_30, JUNE_30 + MINUTE, JUNE_30 + 2 * MINUTE]


async def test_it_does_not_end_while_nobody_listens_to_a_series_that_has_data(tmp_path: Path) -> None:
    """Two recorded series, one of three minutes and one of five; only the short one is listened to at first."""
    folder = tmp_path / "spot"
    folder.mkdir()
    for symbol, count in (("AUSDT", 3), ("BUSDT", 5)):
        series = Series(Market.SPOT, symbol, Interval.M1)
        text = "\n".join(lines(series, JUNE_30, JUNE_30 + count * MINUTE))
        (folder / f"{symbol}-1m-2024-06-30.csv").write_text(text)
    options: dict[str, Any] = {"klines": tmp_path, "speed": None, "updates": 0, "start_ms": JUNE_30, "linger": True}
    async with exchange(**options) as simulator:
        async with connect(socket_address(simulator, "/spot/ws/ausdt@kline_1m")) as socket:
            for _ in range(3):
                await socket.recv()
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(simulator.feed.ended.wait(), 0.2)
            async with connect(socket_address(simulator, "/spot/ws/busdt@kline_1m")) as other:
                opens = [json.loads(await other.recv())["k"]["t"] for _ in range(2)]
                await asyncio.wait_for(simulator.feed.ended.wait(), 5)
        ended_ms = simulator.clock.now_ms()
        await until(lambda: simulator.clock.now_ms() > ended_ms + 20)
    assert opens[-1] == JUNE_30 + 4 * MINUTE
    assert ended_ms >= JUNE_30 + 5 * MINUTE


async def test_time_waits_until_as_many_channels_are_subscribed_as_were_asked_for() -> None:
    async with exchange(wait_for=2, speed=1000.0) as simulator:
        async with connect(socket_address(simulator, "/spot/ws/btcusdt@kline_1s")):
            before = simulator.clock.now_ms()
            await asyncio.sleep(0.05)
            assert simulator.clock.now_ms() == before
            async with connect(socket_address(simulator, "/coin_futures/ws/btcusd_perp@kline_1s")) as socket:
                await socket.recv()
        assert simulator.clock.now_ms() > before


async def test_a_free_running_clock_waits_for_a_slow_reader_and_nothing_is_lost() -> None:
    path = "/spot/ws/btcusdt@kline_1s"
    async with exchange(speed=None, updates=0, start_ms=JUNE_30) as simulator:
        async with connect(socket_address(simulator, path)) as socket:
            opens = [json.loads(await socket.recv())["k"]["t"] for _ in range(10_000)]
    assert opens == list(range(JUNE_30, JUNE_30 + 10_000_000, 1000))


async def test_the_last_row_is_open_and_nothing_marks_it() -> None:
    async with exchange(speed=0.001) as simulator, rest(simulator) as client:
        rows = await klines(client, limit=3)
        now = (await client.get("/spot/api/v3/time")).json()["serverTime"]
        assert [len(row) for row in rows] == [12, 12, 12]
        assert rows[-1][0] <= now <= rows[-1][6]
        whole = simulator.source.kline(Series(Market.SPOT, "BTCUSDT", Interval.M1), rows[-1][0])
        assert whole is not None
        assert float(rows[-1][5]) < float(whole.volume)


async def test_a_start_is_answered_oldest_first_but_coin_m_returns_what_is_nearest_the_end() -> None:
    start, end = JUNE_30 - 100 * MINUTE, JUNE_30 - 50 * MINUTE
    query: dict[str, Any] = {"startTime": start, "endTime": end, "limit": 10}
    async with exchange() as simulator, rest(simulator) as client:
        rows = await klines(client, **query)
        assert [row[0] for row in rows] == list(range(start, start + 10 * MINUTE, MINUTE))
        rows = await klines(client, "/coin_futures/dapi/v1", **query, symbol="BTCUSD_PERP")
        assert [row[0] for row in rows] == list(range(end - 9 * MINUTE, end + 1, MINUTE))


async def test_coin_m_allows_200_days() -> None:
    async with exchange() as simulator, rest(simulator) as client:
        query = {"startTime": JUNE_30 - 201 * DAY_MS, "endTime": JUNE_30, "symbol": "BTCUSD_PERP"}
        assert (await klines(client, "/coin_futures/dapi/v1", **query))["code"] == -4088


@pytest.mark.parametrize(("market", "most"), [("/spot/api/v3", 1000), ("/usdt_futures/fapi/v1", 1500)])
async def test_limits_default_to_500_and_end_at_the_market_s_most(market: str, most: int) -> None:
    async with exchange() as simulator, rest(simulator) as client:
        assert len(await klines(client, market)) == 500
        assert len(await klines(client, market, limit=5000)) == most


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ({"symbol": ""}, -1102),
        ({"interval": "7m"}, -1120),
        ({"symbol": "../x"}, -1121),
        ({"limit": "x"}, -1130),
        ({"startTime": "x"}, -1100),
    ],
)
async def test_a_wrong_question_has_the_exchange_s_error(query: dict[str, str], code: int) -> None:
    async with exchange() as simulator, rest(simulator) as client:
        assert (await klines(client, **query))["code"] == code


async def test_weight_is_told_and_too_much_of_it_is_429_and_then_418() -> None:
    async with exchange() as simulator, rest(simulator) as client:
        answers = [
            await client.get("/usdt_futures/fapi/v1/klines?symbol=BTCUSDT&interval=1m&limit=1"),
            await client.get("/coin_futures/dapi/v1/klines?symbol=BTCUSD_PERP&interval=1m&limit=500"),
        ]
        assert [answer.headers["X-MBX-USED-WEIGHT-1M"] for answer in answers] == ["1", "6"], "one pool"
        simulator.weights[Market.COIN_FUTURES].used = 2400
        statuses = [(await client.get("/coin_futures/dapi/v1/ping")) for _ in range(12)]
        assert [answer.status_code for answer in statuses] == [429] * 10 + [418] * 2
        assert int(statuses[0].headers["Retry-After"]) <= 60
        assert (await client.get("/spot/api/v3/ping")).status_code == 200


@pytest.mark.parametrize(
    ("path", "status"),
    [("/spot/api/v3", "status"), ("/usdt_futures/fapi/v1", "status"), ("/coin_futures/dapi/v1", "contractStatus")],
)
async def test_exchange_info_has_each_market_s_own_status_field(path: str, status: str) -> None:
    async with exchange() as simulator, rest(simulator) as client:
        symbols = (await client.get(f"{path}/exchangeInfo")).json()["symbols"]
        assert symbols
        assert {symbol[status] for symbol in symbols} == {"TRADING"}


async def test_a_speed_is_kept_to() -> None:
    async with exchange(speed=50.0) as simulator:
        earliest, simulated, latest = time.monotonic(), simulator.clock.now_ms(), time.monotonic()
        await asyncio.sleep(0.3)
        least, then, most = time.monotonic() - latest, simulator.clock.now_ms(), time.monotonic() - earliest
        assert least * 50 - 1 <= (then - simulated) / 1000 <= most * 50 + 1
