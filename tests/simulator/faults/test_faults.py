"""Faults: their settings, the dice, and what becomes of frames and connections."""

import asyncio
import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from producers.exchange.frames import parse_frame
from shared.candle import Candle, Series
from shared.errors import SettingsError
from shared.interval import Interval
from shared.market import Market
from simulator.command import FAULT_NAMES
from simulator.faults.dice import FaultDice, FrameFaults
from simulator.faults.model import EVERYTHING, MEANS, Faults
from simulator.market.frames import enveloped, kline_event
from simulator.market.klines import SyntheticSource
from simulator.server.options import DEFAULT_SYMBOLS
from tests.support.candles import BTC, JUNE_30, MINUTE
from tests.support.exchange import ask, exchange, socket_address, until, until_closed

CHANNEL = "/spot/ws/btcusdt@kline_1m"
FREE: dict[str, Any] = {"speed": None, "updates": 0, "start_ms": JUNE_30}


async def frames(socket: ClientConnection, count: int) -> list[Any]:
    async with asyncio.timeout(20):
        return [json.loads(await socket.recv()) for _ in range(count)]


async def assert_silent(socket: ClientConnection) -> None:
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(socket.recv(), 0.2)


def test_everything_is_off_unless_it_is_switched_on() -> None:
    assert not any(value for name, value in Faults().model_dump().items() if not name.endswith("_seconds"))
    dice = FaultDice(1, Faults())
    assert not any(dice.hits(name) for name in EVERYTHING)
    assert dice.closing_delay_ms() == 0
    assert dice.clock_error_ms() == 0
    assert not dice.injected


def test_a_change_keeps_the_rest_and_none_restores_the_default() -> None:
    faults = Faults(drop=3, corrupt=0.5).changed({"corrupt": None, "late_close_seconds": None, "close": 2})
    assert faults == Faults(drop=3, close=2)


def test_all_is_everything_and_what_else_is_named_counts_after_it() -> None:
    faults = Faults().changed({"drop": 0, "all": 2})
    assert (faults.drop, faults.close, faults.corrupt) == (0, EVERYTHING["close"] / 2, EVERYTHING["corrupt"] * 2)
    assert set(EVERYTHING) == {name for name in Faults.model_fields if not name.endswith("_seconds")}
    assert faults.changed({"all": 0}) == faults.changed({"all": None}) == Faults()
    assert Faults().changed({"all": 100}).silent_on_connect == 1, "no more than always"
    assert set(MEANS) < set(EVERYTHING)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"drip": 1}, "fault 'drip' is not known: all, drop, close, "),
        ({"drip": None}, "fault 'drip' is not known: all, drop, close, "),
        ({"drop": -1}, "fault drop is -1: allowed is a number of real seconds, 0 for never"),
        ({"corrupt": 1.5}, "fault corrupt is 1.5: allowed is a probability from 0 to 1"),
        ({"corrupt": "x"}, "fault corrupt is 'x': allowed is a probability from 0 to 1"),
        ({"corrupt": True}, "fault corrupt is True: allowed is"),
        ({"close": float("nan")}, "fault close is nan: allowed is"),
        ({"holes": 1}, "fault holes is 1: allowed is a part of all klines from 0 to 0.9"),
        ({"all": "x"}, "fault all is 'x': allowed is a scale from 0 to 100"),
    ],
)
def test_a_mistake_is_one_line_that_says_what_is_allowed(changes: dict[str, object], message: str) -> None:
    with pytest.raises(SettingsError, match="^" + re.escape(message)) as caught:
        Faults().changed(changes)
    assert "\n" not in str(caught.value)


def test_every_fault_stands_in_the_document_and_in_the_help() -> None:
    text = (Path(__file__).parents[3] / "docs" / "simulator.md").read_text()
    for name in Faults.model_fields:
        assert f"| `{name}` |" in text, name
    assert FAULT_NAMES.split(", ") == list(Faults.model_fields)


@given(st.integers(0, 10**6), st.sampled_from(list(Market)), st.integers(0, 10**6))
def test_nobody_can_take_a_damaged_frame_for_another_candle(seed: int, market: Market, minute: int) -> None:
    series, opens = Series(market, "BTCUSDT", Interval.M1), JUNE_30 + minute * MINUTE
    kline = SyntheticSource(1, DEFAULT_SYMBOLS).kline(series, opens)
    assert kline is not None
    text = enveloped("btcusdt@kline_1m", kline_event(series, kline, opens + MINUTE + 9, closed=True))
    whole = parse_frame(text.encode(), market, 0)
    assert isinstance(whole, Candle)
    dice = FaultDice(seed, Faults())
    for damaged in (dice.corrupted(text), dice.truncated(text)):
        assert damaged != text
        parsed = parse_frame(damaged.encode(), market, 0)
        assert not isinstance(parsed, Candle) or parsed == whole


def test_the_same_seed_has_the_same_faults() -> None:
    faults = Faults(duplicate=0.2, out_of_order=0.2, corrupt=0.2, truncated=0.2)
    sent = []
    for seed in (1, 1, 2):
        passing = FrameFaults(FaultDice(seed, faults))
        sent.append([frame for number in range(100) for frame in passing.passed(f"frame {number}")])
    assert sent[0] == sent[1] != sent[2]


def test_a_frame_out_of_order_comes_after_one_to_three_others_and_is_never_lost() -> None:
    dice = FaultDice(1, Faults(out_of_order=0.3))
    passing = FrameFaults(dice)
    sent = [int(frame) for number in range(1000) for frame in passing.passed(str(number))]
    dice.faults = Faults()
    number = 1000
    while passing.on:
        sent += [int(frame) for frame in passing.passed(str(number))]
        number += 1
    assert sorted(sent) == list(range(number))
    assert sent != sorted(sent)
    for held in (one for at, one in enumerate(sent) if at and one < max(sent[:at])):
        later = [one for one in sent[: sent.index(held)] if one > held]
        assert 1 <= len(later) <= 6, "a few next frames, some of them held back themselves"
    assert dice.injected["out_of_order"] > 200


async def test_duplicate_frames_come_twice() -> None:
    async with exchange({"duplicate": 1}, **FREE) as simulator, connect(socket_address(simulator, CHANNEL)) as socket:
        got = await frames(socket, 6)
        assert got[::2] == got[1::2]
        assert got[0] != got[2]


async def test_out_of_order_frames_come_after_their_next_ones() -> None:
    faults = {"out_of_order": 0.5}
    async with exchange(faults, **FREE) as simulator, connect(socket_address(simulator, CHANNEL)) as socket:
        opens = [frame["k"]["t"] for frame in await frames(socket, 100)]
        assert opens != sorted(opens)
        assert sorted(opens)[:90] == list(range(JUNE_30, JUNE_30 + 90 * MINUTE, MINUTE))


@pytest.mark.parametrize("fault", ["corrupt", "truncated"])
async def test_damaged_frames_come_as_they_are_and_answers_are_whole(fault: str) -> None:
    async with exchange({fault: 1}, **FREE) as simulator, connect(socket_address(simulator, "/spot/ws")) as socket:
        channels = ["btcusdt@kline_1m", "币安人生usdt@kline_1s"]
        await socket.send(json.dumps({"method": "SUBSCRIBE", "params": channels, "id": 1}))
        assert json.loads(await socket.recv()) == {"result": None, "id": 1}
        for _ in range(50):
            candle = parse_frame(str(await socket.recv()).encode(), Market.SPOT, 0)
            if isinstance(candle, Candle):  # what was changed is nothing that a candle holds
                kline = simulator.source.kline(candle.series, candle.open_time_ms)
                assert kline is not None
                assert (candle.open, candle.close, candle.volume) == (kline.open, kline.close, kline.volume)
        assert simulator.dice.injected[fault] >= 50


async def test_a_closing_frame_that_never_comes() -> None:
    faults = {"no_close": 1.0}
    async with exchange(faults, **FREE | {"updates": 2}) as simulator:
        async with connect(socket_address(simulator, CHANNEL)) as socket:
            got = await frames(socket, 20)
        assert not any(frame["k"]["x"] for frame in got)
        assert len({frame["k"]["t"] for frame in got}) == 10
        assert simulator.feed.closed == 0


async def test_a_closing_frame_that_is_late_keeps_no_later_kline_waiting() -> None:
    faults = {"late_close": 1.0, "late_close_seconds": 300}
    async with exchange(faults, **FREE | {"updates": 1}) as simulator:
        async with connect(socket_address(simulator, CHANNEL)) as socket:
            got = await frames(socket, 100)
    closing = [frame for frame in got if frame["k"]["x"]]
    lateness = [frame["E"] - frame["k"]["T"] for frame in closing]
    assert min(lateness) < 60_000 < max(lateness) < 301_000
    events = [frame["E"] for frame in got]
    assert events == sorted(events)
    opens = [frame["k"]["t"] for frame in got if not frame["k"]["x"]]
    assert opens == list(range(JUNE_30, JUNE_30 + len(opens) * MINUTE, MINUTE))
    whole = [simulator.source.kline(BTC._replace(market=Market.SPOT), frame["k"]["t"]) for frame in closing]
    assert [frame["k"]["c"] for frame in closing] == [kline.close for kline in whole if kline], "complete all the same"


async def test_the_time_in_a_frame_may_be_wrong_either_way() -> None:
    faults = {"wrong_time": 1.0, "wrong_time_seconds": 3600.0}
    async with exchange(faults, **FREE) as simulator, connect(socket_address(simulator, CHANNEL)) as socket:
        errors = [frame["E"] - frame["k"]["T"] for frame in await frames(socket, 40)]
    assert min(errors) < -60_000
    assert max(errors) > 60_000
    assert max(map(abs, errors)) < 3_601_000


async def test_a_hole_is_nowhere() -> None:
    async with exchange({"holes": 0.5}, **FREE) as simulator, connect(socket_address(simulator, CHANNEL)) as socket:
        opens = [frame["k"]["t"] for frame in await frames(socket, 50)]
        source = SyntheticSource(1, DEFAULT_SYMBOLS, holes=0.5)
        series = BTC._replace(market=Market.SPOT)
        there = [open_ms for open_ms in source.opens(series, JUNE_30, opens[-1]) if source.kline(series, open_ms)]
        assert opens == there


@pytest.mark.parametrize(("fault", "code"), [("drop", 1006), ("close", 1001), ("shutdown", 1001)])
async def test_connections_break_now_and_then(fault: str, code: int) -> None:
    async with exchange({fault: 0.05}) as simulator:
        for _ in range(3):
            async with connect(socket_address(simulator, "/spot/stream?streams=btcusdt@kline_1s")) as socket:
                got, closed = await until_closed(socket)
            assert closed == code
            assert ("!serverShutdown" in [frame["stream"] for frame in got]) == (fault == "shutdown")
        assert simulator.dice.injected[fault] >= 3


async def test_a_connection_falls_silent_and_answers_nothing_more() -> None:
    async with exchange() as simulator, connect(socket_address(simulator, "/spot/ws/btcusdt@kline_1s")) as socket:
        await socket.recv()
        simulator.change_faults({"silent_connection": 0.01})
        await until(lambda: simulator.dice.injected["silent_connection"] == 1)
        await socket.send(json.dumps({"method": "LIST_SUBSCRIPTIONS", "id": 1}))
        await socket.ping()
        async with asyncio.timeout(20):
            while True:  # what was on its way
                try:
                    await asyncio.wait_for(socket.recv(), 0.2)
                except TimeoutError:
                    break
        assert len(simulator.connections) == 1
        assert simulator.dice.injected["silent_connection"] == 1, "a silent one is not silenced again"


async def streams(socket: Any, wanted: set[str]) -> set[str]:
    """Streams that were heard until all that are wanted were, and a hundred frames more."""
    heard: set[str] = set()
    while not wanted <= heard:
        heard.add((await frames(socket, 1))[0]["stream"])
    return heard | {frame["stream"] for frame in await frames(socket, 100)}


async def test_a_channel_falls_silent_until_its_connection_ends() -> None:
    names = [f"s{number}usdt@kline_1s" for number in range(30)]
    async with exchange(updates=1) as simulator:
        address = socket_address(simulator, f"/spot/stream?streams={'/'.join(names)}")
        async with connect(address) as socket:
            await frames(socket, 4)
            (connection,) = simulator.connections
            simulator.change_faults({"silent_channel": 0.02})
            await until(lambda: len(connection.speaking_channels) < 30)
            simulator.change_faults({"silent_channel": 0})
            speaking = set(connection.speaking_channels)
            assert 0 < len(speaking) == 30 - simulator.dice.injected["silent_channel"]
            await ask(socket, {"method": "UNSUBSCRIBE", "params": names, "id": 1})
            await ask(socket, {"method": "SUBSCRIBE", "params": names, "id": 2})
            assert await streams(socket, speaking) == speaking
        async with connect(address) as socket:
            assert await streams(socket, set(names)) == set(names)


async def test_a_new_connection_acknowledges_and_stays_silent() -> None:
    async with exchange({"silent_on_connect": 1}) as simulator:
        async with connect(socket_address(simulator, "/spot/ws/btcusdt@kline_1s")) as socket:
            assert (await ask(socket, {"method": "SUBSCRIBE", "params": ["bnbusdt@kline_1s"], "id": 1}))["id"] == 1
            await assert_silent(socket)
        simulator.change_faults({"silent_on_connect": 0})
        async with connect(socket_address(simulator, "/spot/ws/btcusdt@kline_1s")) as socket:
            await frames(socket, 1)


async def test_a_connection_attempt_is_refused() -> None:
    async with exchange({"connect_refused": 1}) as simulator:
        with pytest.raises(InvalidStatus, match=r"HTTP 4(51|03)"):
            async with connect(socket_address(simulator, "/spot/ws/btcusdt@kline_1s")):
                pass
        assert simulator.dice.injected["connect_refused"] == 1


async def test_everything_at_once_leaves_the_exchange_alive() -> None:
    """A reader that connects anew each time still sees the market."""
    async with exchange() as simulator:
        simulator.change_faults({"all": 20, "silent_on_connect": 0.2, "connect_refused": 0.2, "delisting": 0})
        seen: set[int] = set()
        async with asyncio.timeout(60):
            while len(seen) < 5 or simulator.dice.injected.total() < 60:
                try:
                    async with connect(socket_address(simulator, "/spot/ws/btcusdt@kline_1s")) as socket:
                        while True:
                            text = str(await asyncio.wait_for(socket.recv(), 0.1))
                            if isinstance(frame := parse_frame(text.encode(), Market.SPOT, 0), Candle):
                                seen.add(frame.open_time_ms)
                except (ConnectionClosed, InvalidStatus, TimeoutError):
                    continue
        assert len(simulator._tasks.running) == 2


async def test_candles_that_nobody_asked_for_or_of_the_future_come_among_the_true_ones() -> None:
    lies = {"foreign": 0.5, "future": 0.5}
    async with exchange(lies, **FREE) as simulator, connect(socket_address(simulator, CHANNEL)) as socket:
        got = await frames(socket, 60)
    assert {frame["s"] for frame in got} == {BTC.symbol, f"NOBODYS{BTC.symbol}"}
    assert {frame["k"]["t"] - JUNE_30 > 390 * 1440 * MINUTE for frame in got} == {True, False}
    assert all(frame["k"]["x"] for frame in got if frame["s"] != BTC.symbol)
