"""Connections that are refused, lag, or cannot be made."""

import asyncio
import contextlib
import http
import logging
import time
from collections import Counter
from itertools import pairwise
from typing import Any

import pytest
from websockets.asyncio.server import ServerConnection, serve
from websockets.http11 import Request, Response

from producers.live.connections import AttemptBudget, CandleListener
from producers.live.line import Line
from shared.interval import Interval
from shared.market import Market
from shared.settings.sections import ExchangeSettings
from tests.support.listening import SYMBOLS, exchange, gaps, listening, replace_connections, series, until


async def test_subscribing_keeps_within_the_exchange_s_message_size_and_rate() -> None:
    """A thousand long names on one connection: the simulator ignores what is too long and closes at too many."""
    names = [f"{'LONGSYMBOL' * 5}{number}USDT" for number in range(800)]
    sent: list[tuple[float, int]] = []

    async def counting(connection: ServerConnection) -> None:
        async for message in connection:
            sent.append((time.monotonic(), len(message)))
            number = str(message).rpartition('"id":')[2].rstrip("}")
            await connection.send(f'{{"result":null,"id":{number}}}')

    async with serve(counting, "127.0.0.1", 0) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        settings: dict[str, Any] = {"simulator": f"http://127.0.0.1:{port}", "channels_per_connection": 1024}
        async with listening("", **settings) as (listener, _):
            await listener.add_series(series(Market.SPOT, *names))
            await until(lambda: len(sent) >= 12)
    assert max(size for _, size in sent) < 4096
    times = [when for when, _ in sent]
    distances = [after - before for before, after in pairwise(times)]
    assert min(distances) > 0.15, "5 a second is the limit; one that comes late must not bring the next one near"


@pytest.mark.parametrize("bad", [["BTC-USDT"], ["A-AUSDT", "Z-ZUSDT"]])
async def test_one_bad_name_is_found_and_named_and_silences_no_other(
    bad: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    """The exchange refuses a whole SUBSCRIBE for one ill-formed stream."""
    market = Market.USDT_FUTURES
    async with (
        exchange() as simulated,
        listening(simulated.address, market) as (listener, got),
    ):
        with caplog.at_level(logging.WARNING):
            await listener.add_series(series(market, *SYMBOLS, *bad))
            await until(lambda: {candle.series.symbol for candle in got} == set(SYMBOLS))
            await until(lambda: listener.connections == (1, 1))
    named = [record.getMessage() for record in caplog.records if "refuses the channel" in record.getMessage()]
    assert [text.partition("the channel ")[2].partition("@")[0] for text in named] == [name.lower() for name in bad]
    assert "may no longer carry klines" not in caplog.text


async def test_an_exchange_that_refuses_every_channel_is_called_that(caplog: pytest.LogCaptureFixture) -> None:
    async with exchange() as simulated, listening(simulated.address) as (listener, _):
        with caplog.at_level(logging.WARNING):
            await listener.add_series(series(Market.SPOT, "A-BUSDT", "C-DUSDT"))
            await until(lambda: "the exchange refuses all of 2 channels" in caplog.text)


async def test_an_address_that_does_not_serve_gives_way_to_the_next_and_that_is_said_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """One is unreachable, one refuses (451), one acknowledges and is silent; behind them is one that serves."""
    market = Market.USDT_FUTURES

    async def blocked(connection: ServerConnection, _: Request) -> Response:
        return connection.respond(http.HTTPStatus.UNAVAILABLE_FOR_LEGAL_REASONS, "not from there")

    async def never(_: ServerConnection) -> None: ...

    async with exchange() as simulated, serve(never, "127.0.0.1", 0, process_request=blocked) as server:
        base = simulated.address.replace("http", "ws") + "/usdt_futures"
        port = next(iter(server.sockets)).getsockname()[1]
        addresses = ["ws://127.0.0.1:1", f"ws://127.0.0.1:{port}", base, f"{base}/market"]
        settings: dict[str, Any] = {"usdt_futures_websocket": addresses, "silence_timeout_seconds": 0.4}
        async with listening("", market, **settings) as (listener, got):
            with caplog.at_level(logging.WARNING):
                await listener.add_series(series(market, "BTCUSDT"))
                await until(lambda: bool(got))
    said = [record.getMessage() for record in caplog.records if "gives way" in record.getMessage()]
    assert [text.split()[2] for text in said] == addresses[:3]
    assert "HTTP 451" in said[1]


@pytest.mark.parametrize("address", ["ws://[::1", "ws://a..b", "ws://127.0.0.1:1/\x00"])
async def test_an_odd_address_is_a_reason_in_the_log_and_not_the_end(
    address: str, caplog: pytest.LogCaptureFixture
) -> None:
    odd = ExchangeSettings.model_construct(**ExchangeSettings().model_dump() | {"spot_websocket": address})
    async with CandleListener(Market.SPOT, odd, lambda _: None) as listener:
        with caplog.at_level(logging.WARNING):
            await listener.add_series(series(Market.SPOT, "AUSDT"))
            await until(lambda: "no klines from" in caplog.text)
        assert listener.connections == (0, 1)


async def test_an_internal_error_is_told_to_whoever_runs_the_listener(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ZeroDivisionError):
        async with listening("http://127.0.0.1:1") as (listener, _):
            monkeypatch.setattr(listener, "new_connection", lambda: 1 / 0)
            await listener.add_series(series(Market.SPOT, "AUSDT"))
            await asyncio.sleep(60)


async def test_a_quiet_series_misses_nothing_while_its_connection_is_doubted() -> None:
    """Klines come more rarely than the silence time-out: connections are tried, the doubted one is kept meanwhile."""
    settings: dict[str, Any] = {"silence_timeout_seconds": 0.25}
    async with (
        exchange(speed=60.0, updates=0) as simulator,
        listening(simulator.address, **settings) as (listener, got),
    ):
        await listener.add_series(series(Market.SPOT, "AUSDT", interval=Interval.M1))
        await until(lambda: len({candle.open_time_ms for candle in got}) >= 6, 30)
        assert gaps(got) == [60_000]
        assert simulator.accepted > 2


async def test_a_successor_that_has_just_delivered_is_closed_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """The end comes while the old connection's subscriptions are let go: the new one is nobody's yet."""
    is_between = asyncio.Event()

    async def keep(*_: Any) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            is_between.set()
            await asyncio.sleep(0.2)

    async with exchange(speed=10.0) as simulator:
        listener = CandleListener(Market.SPOT, ExchangeSettings(simulator=simulator.address), lambda _: None)
        async with asyncio.timeout(10), listener:
            await listener.add_series(series(Market.SPOT, *SYMBOLS[:3]))
            await until(lambda: listener.connections == (1, 1))
            monkeypatch.setattr(Line, "_keep_subscriptions", keep)
            replace_connections(listener)
            await is_between.wait()
        await until(lambda: not simulator.connections)


async def test_a_connection_that_lags_behind_its_successor_still_delivers_what_it_has() -> None:
    """Two connections; the first one's frames come half a second late, through a slow road."""
    roads: list[asyncio.Future[Any]] = []

    async def road(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection("127.0.0.1", port)
        delay = 0.0 if roads else 0.5

        async def carry(source: asyncio.StreamReader, target: asyncio.StreamWriter, seconds: float) -> None:
            loop = asyncio.get_running_loop()
            try:
                while data := await source.read(65536):
                    loop.call_later(seconds, target.write, data)
            finally:
                with contextlib.suppress(asyncio.CancelledError):
                    await asyncio.sleep(seconds)
                target.close()

        roads.append(asyncio.gather(carry(reader, back, 0), carry(there, writer, delay)))

    async with exchange(speed=10.0) as simulator, await asyncio.start_server(road, "127.0.0.1", 0) as server:
        port = int(simulator.address.rpartition(":")[2])
        slow = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        async with listening(slow) as (listener, got):
            await listener.add_series(series(Market.SPOT, *SYMBOLS[:5]))
            await until(lambda: len(got) > 30)
            replace_connections(listener)
            await until(lambda: simulator.accepted == 2)
            seen = len(got)
            await until(lambda: len(got) > seen + 200)
        for one in series(Market.SPOT, *SYMBOLS[:5]):
            assert gaps([candle for candle in got if candle.series == one]) == [1000], one
    await asyncio.gather(*roads, return_exceptions=True)


async def test_an_exchange_that_cannot_be_reached_is_one_line_and_more_tries(
    caplog: pytest.LogCaptureFixture, refused_port: int
) -> None:
    async with listening("", simulator=f"http://127.0.0.1:{refused_port}") as (listener, _):
        with caplog.at_level(logging.WARNING):
            await listener.add_series(series(Market.SPOT, "AUSDT"))
            await until(lambda: listener.counters.attempts >= 4)
    lines = [record.getMessage() for record in caplog.records if "no klines from" in record.getMessage()]
    assert len(lines) == 1
    assert "`make demo` needs no exchange" in lines[0]


async def test_attempts_never_exceed_the_budget_in_any_window() -> None:
    budget = AttemptBudget(attempts=3, seconds=0.3)
    taken: list[float] = []

    async def take() -> None:
        await budget.acquire()
        taken.append(time.monotonic())

    await asyncio.gather(*(take() for _ in range(8)))
    assert all(after - before > 0.29 for before, after in zip(taken, taken[3:], strict=False))


async def test_malformed_frames_are_counted_logged_and_never_fatal(caplog: pytest.LogCaptureFixture) -> None:
    async def garbage(connection: ServerConnection) -> None:
        await connection.recv()
        await connection.send('{"result":null,"id":1}')
        for frame in ("{", "[]", '{"e":"kline"}', b"\xff\x00", '{"e":"aggTrade"}'):
            await connection.send(frame)
        good = '{"e":"kline","E":5,"s":"A","k":{"t":0,"s":"A","i":"1s","o":"1","c":"1","h":"1","l":"1","v":"1",'
        good += '"n":1,"x":true,"q":"1","V":"1","Q":"1"}}'
        for frame in (good.replace('"A"', '"B"'), good.replace('"1s"', '"1m"'), good):
            await connection.send(frame)
        await connection.wait_closed()

    async with serve(garbage, "127.0.0.1", 0) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        async with listening("", simulator=f"http://127.0.0.1:{port}") as (listener, got):
            with caplog.at_level(logging.WARNING):
                await listener.add_series(series(Market.SPOT, "A"))
                await until(lambda: len(got) == 1)
            assert listener.counters.malformed == 4
            assert listener.counters.not_klines == 1
            assert listener.counters.not_asked == 2
            assert [(candle.series.symbol, candle.series.interval) for candle in got] == [("A", Interval.S1)]
    assert "a candle of spot B-1s, which was not asked for: not taken" in caplog.text
    assert Counter("malformed frame" in record.getMessage() for record in caplog.records)[True] == 4


async def test_closing_leaves_no_task_and_no_connection() -> None:
    async with exchange() as simulator:
        before = asyncio.all_tasks()
        async with listening(simulator.address) as (listener, got):
            await listener.add_series(series(Market.SPOT, *SYMBOLS))
            await until(lambda: bool(got))
            replace_connections(listener)
        assert _tasks_since(before) == set()
        seen = len(got)
        await until(lambda: not simulator.connections)
        assert len(got) == seen


async def test_closing_while_a_connection_is_being_made_leaves_none_behind() -> None:
    """Acknowledged and silent, so that the line is still waiting for the first kline when it is told to go."""
    async with exchange() as simulator:
        unrouted = f"ws{simulator.address.removeprefix('http')}/usdt_futures"
        settings: dict[str, Any] = {"usdt_futures_websocket": unrouted, "simulator": ""}
        before = asyncio.all_tasks()
        async with listening("", Market.USDT_FUTURES, **settings) as (listener, _):
            await listener.add_series(series(Market.USDT_FUTURES, "BTCUSDT", interval=Interval.M1))
            await until(lambda: len(simulator.connections) == 1)
            await listener.remove_series(series(Market.USDT_FUTURES, "BTCUSDT", interval=Interval.M1))
            assert _tasks_since(before) == set()
            await until(lambda: not simulator.connections)


def _tasks_since(before: set[asyncio.Task[Any]]) -> set[asyncio.Task[Any]]:
    """Tasks that began since, but for the exchange's own."""
    return {
        task
        for task in asyncio.all_tasks() - before
        if not any(name in repr(task.get_coro()) for name in ("RequestHandler", "ClientConnection", "Feed"))
        and "simulator" not in repr(task)
        and "Event.wait" not in repr(task.get_coro())
    }
