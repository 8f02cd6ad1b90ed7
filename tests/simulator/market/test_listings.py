"""Symbols come and go: exchangeInfo, klines and channels say the same."""

import gzip
import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.asyncio.client import connect

from shared.candle import Series
from shared.errors import CandlewickError, SettingsError
from shared.interval import DAY_MS, Interval
from shared.market import Market
from simulator.command import parse_faults, parse_listing
from simulator.market.klines import SyntheticSource
from simulator.market.listings import FIRST_ONBOARD_MS, ListingChange
from simulator.market.recorded_info import read_exchange_info
from tests.support.candles import JUNE_30, MINUTE
from tests.support.exchange import exchange, klines, rest, socket_address, until

NOW = JUNE_30 + 10 * MINUTE + 1000
STILL: dict[str, Any] = {"start_ms": NOW, "speed": 0.001}
PATHS = {
    Market.SPOT: "/spot/api/v3",
    Market.USDT_FUTURES: "/usdt_futures/fapi/v1",
    Market.COIN_FUTURES: "/coin_futures/dapi/v1",
}
STATUS = {Market.SPOT: "status", Market.USDT_FUTURES: "status", Market.COIN_FUTURES: "contractStatus"}
GONE = {Market.SPOT: "BREAK", Market.USDT_FUTURES: "SETTLING", Market.COIN_FUTURES: "DELIVERED"}


async def symbols(client: httpx.AsyncClient, market: Market) -> dict[str, Any]:
    body = (await client.get(f"{PATHS[market]}/exchangeInfo")).json()
    assert body["serverTime"] == pytest.approx(NOW, abs=1000)
    return {info["symbol"]: info for info in body["symbols"]}


@pytest.mark.parametrize("market", list(Market))
async def test_a_new_symbol_trades_and_has_no_past(market: Market) -> None:
    async with exchange(**STILL) as simulator, rest(simulator) as client:
        await client.post("/control/symbols", json={"market": market, "list": ["NEW"]})
        info = await symbols(client, market)
        assert info["NEW"][STATUS[market]] == "TRADING"
        assert "NEW" in simulator.source.symbols(market)
        if market is not Market.SPOT:
            assert info["NEW"]["onboardDate"] == pytest.approx(NOW, abs=1000)
            assert {one["onboardDate"] for name, one in info.items() if name != "NEW"} == {FIRST_ONBOARD_MS}
        rows = await klines(client, PATHS[market], symbol="NEW")
        assert [row[0] for row in rows] == [Interval.M1.floor(NOW)]
        rows = await klines(client, PATHS[market], symbol="NEW", interval="1h", startTime=JUNE_30 - DAY_MS)
        assert [row[0] for row in rows] == [JUNE_30]


@pytest.mark.parametrize("market", list(Market))
async def test_a_delisted_symbol_keeps_its_past_and_another_status(market: Market) -> None:
    async with exchange(**STILL) as simulator, rest(simulator) as client:
        gone = simulator.source.symbols(market)[0]
        before = await klines(client, PATHS[market], symbol=gone)
        answer = await client.post("/control/symbols", json={"market": market, "delist": [gone]})
        assert (await symbols(client, market))[gone][STATUS[market]] == GONE[market]
        assert answer.json()["symbols"][market] == len(simulator.source.symbols(market))
        assert gone not in simulator.source.symbols(market)
        after = await klines(client, PATHS[market], symbol=gone)
        assert [row[0] for row in after] == [row[0] for row in before], "the last one contains the delisting"


@pytest.mark.parametrize("market", list(Market))
async def test_a_listing_looks_as_odd_as_faults_make_it(market: Market) -> None:
    """Shown before it trades, with a date that is wrong or missing; and its klines are refused for a while."""
    async with exchange(**STILL) as simulator, rest(simulator) as client:
        simulator.change_faults({"listing_early": 1, "listing_refused": 1, "listing_wrong_date": 1})
        await client.post("/control/symbols", json={"market": market, "list": ["NEW"]})
        info = (await symbols(client, market))["NEW"]
        assert info[STATUS[market]] == "PENDING_TRADING"
        assert "NEW" not in simulator.source.symbols(market)
        if market is not Market.SPOT:
            assert info["onboardDate"] != pytest.approx(NOW, abs=1000)
        answer = await client.get(f"{PATHS[market]}/klines", params={"symbol": "NEW", "interval": "1m"})
        assert (answer.status_code, answer.json()["code"]) == (400, -1122)
        assert {"listing_early", "listing_refused", "listing_wrong_date"} <= simulator.dice.injected.keys()


async def test_the_channel_of_a_delisted_symbol_ends_with_the_kline_that_contains_it() -> None:
    change = ListingChange(Market.SPOT, "BTCUSDT", JUNE_30 + 2 * MINUTE + 1, listed=False)
    options: dict[str, Any] = {"speed": None, "updates": 1, "start_ms": JUNE_30, "listings": [change]}
    async with exchange(**options) as simulator:
        async with connect(
            socket_address(simulator, "/spot/stream?streams=btcusdt@kline_1m/bnbusdt@kline_1m")
        ) as socket:
            got = [json.loads(await socket.recv()) for _ in range(40)]
    opens = [(frame["data"]["k"]["t"] - JUNE_30) // MINUTE for frame in got if frame["stream"].startswith("btc")]
    assert opens == [0, 0, 1, 1, 2, 2]


async def test_a_channel_of_a_symbol_that_is_yet_to_be_listed_begins_with_it() -> None:
    change = ListingChange(Market.SPOT, "NEWUSDT", JUNE_30 + 3 * MINUTE + 1, listed=True)
    options: dict[str, Any] = {"speed": None, "updates": 0, "start_ms": JUNE_30, "listings": [change]}
    async with exchange(**options) as simulator:
        assert "NEWUSDT" not in simulator.source.symbols(Market.SPOT)
        async with connect(socket_address(simulator, "/spot/ws/newusdt@kline_1m")) as socket:
            opens = [json.loads(await socket.recv())["k"]["t"] for _ in range(3)]
        assert "NEWUSDT" in simulator.source.symbols(Market.SPOT)
    assert opens == [JUNE_30 + at * MINUTE for at in (3, 4, 5)]


async def test_a_symbol_that_comes_back_has_nothing_in_between_and_its_channel_goes_on() -> None:
    async with exchange(speed=60.0, updates=0, start_ms=JUNE_30) as simulator, rest(simulator) as client:
        async with connect(socket_address(simulator, "/spot/ws/btcusdt@kline_1s")) as socket:
            body: dict[str, Any] = {"market": "spot"}
            await socket.recv()
            await client.post("/control/symbols", json=body | {"delist": ["BTCUSDT"]})
            gone = simulator.clock.now_ms()
            await until(lambda: simulator.clock.now_ms() > gone + 20_000)
            await client.post("/control/symbols", json=body | {"list": ["BTCUSDT"]})
            back = simulator.clock.now_ms()
            opens = [json.loads(await socket.recv())["k"]["t"]]
            while opens[-1] < back:
                opens.append(json.loads(await socket.recv())["k"]["t"])
        rows = await klines(client, interval="1s", startTime=JUNE_30, limit=1000)
        latest = await klines(client, interval="1s", limit=len(rows))
    times = [row[0] for row in rows]
    assert opens == [open_ms for open_ms in times if opens[0] <= open_ms <= opens[-1]]
    assert max(after - before for before, after in pairwise(times)) >= 19_000
    assert {row[0] for row in latest} >= {one for one in times if one > back}, "backwards past the break"
    series = Series(Market.SPOT, "BTCUSDT", Interval.S1)
    opens_again = simulator.source.opens(series, JUNE_30, times[-1])
    assert list(opens_again) == [opens_again[at] for at in range(len(times))] == times
    assert opens_again[-1] == times[-1]


async def test_symbols_come_and_go_at_random_and_each_market_keeps_one() -> None:
    async with exchange({"listing": 0.02, "delisting": 0.005}) as simulator, rest(simulator) as client:
        await until(lambda: simulator.dice.injected["listing"] >= 5 and simulator.dice.injected["delisting"] >= 12)
        simulator.change_faults({"all": 0})
        assert all(simulator.source.symbols(market) for market in Market)
        for market in Market:
            before = set(simulator.source.symbols(market))  # one that was to come a moment ago may come yet
            info = (await client.get(f"{PATHS[market]}/exchangeInfo")).json()["symbols"]
            traded = {one["symbol"] for one in info if one[STATUS[market]] == "TRADING"}
            assert traded in (before, set(simulator.source.symbols(market)))
        names = {one["symbol"] for one in info}
        assert names - {"BTCUSD_PERP", "ETHUSD_PERP"} <= {f"NEW{number}USD_PERP" for number in range(1, 1000)}


async def test_a_symbol_that_nobody_listed_is_served_all_the_same() -> None:
    async with exchange(**STILL) as simulator, rest(simulator) as client:
        assert len(await klines(client, symbol="NEVERLISTED", limit=7)) == 7


def write_info(folder: Path, name: str = "spot.json") -> Path:
    statuses = {"AUSDT": "TRADING", "BUSDT": "BREAK", "CUSDT": "PENDING_TRADING"}
    infos = [{"symbol": symbol, "status": status, "note": "kept"} for symbol, status in statuses.items()]
    raw = json.dumps({"timezone": "UTC", "serverTime": 1, "symbols": infos}).encode()
    (folder / name).write_bytes(gzip.compress(raw) if name.endswith(".gz") else raw)
    return folder


@pytest.mark.parametrize("name", ["spot.json", "spot.json.gz"])
async def test_recorded_exchange_info_is_served_with_the_exchange_s_time(tmp_path: Path, name: str) -> None:
    async with exchange(exchange_info=write_info(tmp_path, name), **STILL) as simulator, rest(simulator) as client:
        info = await symbols(client, Market.SPOT)
        assert {name: one["status"] for name, one in info.items()} == {
            "AUSDT": "TRADING",
            "BUSDT": "BREAK",
            "CUSDT": "PENDING_TRADING",
        }
        assert {one["note"] for one in info.values()} == {"kept"}
        assert simulator.source.symbols(Market.SPOT) == ("AUSDT",)
        assert len(simulator.source.symbols(Market.USDT_FUTURES)) == 5, "a market without a file is as it was"
        assert len(await klines(client, symbol="BUSDT", limit=5)) == 5, "its past"
        assert await klines(client, symbol="CUSDT", limit=5) == []
        await client.post("/control/symbols", json={"market": "spot", "list": ["BUSDT"], "delist": ["AUSDT"]})
        info = await symbols(client, Market.SPOT)
        assert (info["AUSDT"]["status"], info["BUSDT"]["status"]) == ("BREAK", "TRADING")


async def test_real_exchange_info_is_served_whole(real_data: Path) -> None:
    folder = real_data / "exchange_info"
    async with exchange(exchange_info=folder, **STILL) as simulator, rest(simulator) as client:
        for market, count in ((Market.SPOT, 1695), (Market.USDT_FUTURES, 122), (Market.COIN_FUTURES, 36)):
            recorded = {info["symbol"]: info for info in read_exchange_info(folder)[market]["symbols"]}
            assert len(recorded) == count
            assert await symbols(client, market) == recorded
        assert len(simulator.source.symbols(Market.SPOT)) == 1262


async def test_exchange_info_is_made_once_for_each_change(monkeypatch: pytest.MonkeyPatch) -> None:
    async with exchange(**STILL) as simulator:
        simulator.listings.body(Market.SPOT)
        made: list[Market] = []
        inner = simulator.listings._symbols

        def counted(market: Market, now: int) -> Any:
            made.append(market)
            return inner(market, now)

        monkeypatch.setattr(simulator.listings, "_symbols", counted)
        for _ in range(3):
            simulator.listings.body(Market.SPOT)
        assert made == []
        simulator.change_listings([ListingChange(Market.SPOT, "NEW", NOW, listed=True)])
        for _ in range(3):
            simulator.listings.body(Market.SPOT)
        assert made == [Market.SPOT]


@pytest.mark.parametrize("content", [b"", b"[]", b'{"symbols": [{}]}', b'{"symbols": 3}'])
def test_exchange_info_that_cannot_be_read_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "spot.json").write_bytes(content)
    with pytest.raises(SettingsError, match=r"spot\.json cannot be read as an exchangeInfo body"):
        read_exchange_info(tmp_path)


def test_a_folder_without_exchange_info_says_how_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"holds no exchangeInfo: files are named MARKET\.json"):
        read_exchange_info(tmp_path)


async def test_what_is_recorded_can_be_compared_with_a_source_of_one_s_own() -> None:
    async with exchange({"holes": 0.3}) as simulator:
        own = SyntheticSource(1, dict.fromkeys(Market, ()), holes=0.3)
        series = Series(Market.SPOT, "BTCUSDT", Interval.M1)
        for at in range(100):
            assert simulator.source.kline(series, JUNE_30 + at * MINUTE) == own.kline(series, JUNE_30 + at * MINUTE)


def test_flags_name_faults_and_listings() -> None:
    assert parse_faults(["drop=3", "corrupt=0.01", "all", "x=y"]) == {"drop": 3, "corrupt": 0.01, "all": 1, "x": "y"}
    assert parse_listing("spot:newusdt@2024-06-30T00:10") == (Market.SPOT, "NEWUSDT", JUNE_30 + 10 * MINUTE)


@pytest.mark.parametrize("text", ["spot", "spot:A", "A@2024-06-30", "spot:A@", "sport:A@2024-06-30", "spot:A@noon"])
def test_a_listing_that_cannot_be_read_is_a_mistake_of_the_user(text: str) -> None:
    with pytest.raises(CandlewickError, match=r"of the form|is not known"):
        parse_listing(text)


def test_a_fault_without_a_value_is_a_mistake_of_the_user() -> None:
    with pytest.raises(CandlewickError, match="fault 'drop' is not of the form NAME=VALUE, or all"):
        parse_faults(["drop"])
