"""Series over connections, against the simulated exchange over real WebSockets."""

import asyncio
import contextlib
import logging
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from itertools import pairwise
from typing import Any

import pytest
from websockets.asyncio.server import ServerConnection, serve

from producers.live.listener import AttemptBudget, CandleListener
from shared.candle import Candle, Series
from shared.interval import Interval
from shared.market import Market
from shared.settings.model import ExchangeSettings
from simulator.server.simulator import Simulator, SimulatorOptions
from tests.conftest import JUNE_30

SYMBOLS = tuple(f"S{number}USDT" for number in range(25))


def series(market: Market, *symbols: str, interval: Interval = Interval.S1) -> list[Series]:
    return [Series(market, symbol, interval) for symbol in symbols]


@asynccontextmanager
async def listening(
    address: str, market: Market = Market.SPOT, **settings: Any
) -> AsyncIterator[tuple[CandleListener, list[Candle]]]:
    got: list[Candle] = []
    quick = {"retry_most_seconds": 0.2, "silence_timeout_seconds": 5.0}
    exchange = ExchangeSettings(**{"simulator": address, **quick, **settings})
    async with CandleListener(market, exchange, got.append) as listener:
        yield listener, got


async def until(condition: Callable[[], bool], seconds: float = 20.0) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.01)


def exchange(**options: Any) -> Simulator:
    return Simulator(SimulatorOptions(**{"speed": 20.0, "start_ms": JUNE_30, "updates": 3} | options))


def gaps(candles: list[Candle]) -> list[int]:
    """Distances between neighbouring open times of one series, repeats left out, in ms."""
    opens = sorted({candle.open_time_ms for candle in candles})
    return sorted({after - before for before, after in pairwise(opens)})


@pytest.mark.parametrize("market", list(Market))
async def test_candles_of_every_market_are_those_that_the_exchange_holds(market: Market) -> None:
    async with exchange() as simulator, listening(simulator.address, market) as (listener, got):
        symbols = simulator.source.symbols(market)
        await listener.add_symbols(symbols, [Interval.S1, Interval.M1])
        await until(lambda: len({candle.series for candle in got}) == 2 * len(symbols), 30)
        for candle in got:
            truth = simulator.source.kline(candle.series, candle.open_time_ms)
            assert truth is not None
            assert (candle.open, candle.close, candle.volume) == (truth.open, truth.close, truth.volume)
            assert candle.trade_num == truth.trades


async def test_series_spread_over_as_many_connections_as_the_limit_asks_for() -> None:
    async with exchange() as simulator, listening(simulator.address, channels_per_connection=10) as (listener, got):
        await listener.add_series(series(Market.SPOT, *SYMBOLS))
        await until(lambda: len({candle.series for candle in got}) == len(SYMBOLS))
        assert listener.connections == (3, 3)
        assert simulator.accepted == 3


async def test_adding_and_removing_symbols_leaves_the_others_on_their_connection() -> None:
    async with exchange() as simulator, listening(simulator.address) as (listener, got):
        await listener.add_symbols(["AUSDT", "BUSDT"], [Interval.S1])
        await until(lambda: {candle.series.symbol for candle in got} == {"AUSDT", "BUSDT"})
        await listener.add_symbols(["币安人生USDT"], [Interval.S1])
        await until(lambda: "币安人生USDT" in {candle.series.symbol for candle in got})
        await listener.remove_symbols(["AUSDT"])
        await until(lambda: [candle.series.symbol for candle in got[-6:]].count("AUSDT") == 0)
        seen = len(got)
        await until(lambda: len(got) > seen + 6)
        assert {candle.series.symbol for candle in got[seen:]} == {"BUSDT", "币安人生USDT"}
        assert simulator.accepted == 1
        assert gaps([candle for candle in got if candle.series.symbol == "BUSDT"]) == [1000]


async def test_a_lost_connection_is_replaced_and_every_series_goes_on() -> None:
    async with exchange() as simulator, listening(simulator.address) as (listener, got):
        await listener.add_series(series(Market.SPOT, *SYMBOLS[:5]))
        for attempt in range(3):
            seen = len(got)
            await until(lambda seen=seen: len({candle.series for candle in got[seen:]}) == 5)  # type: ignore[misc]
            simulator.drop_connections()
            await until(lambda attempt=attempt: simulator.accepted == attempt + 2)  # type: ignore[misc]
        seen = len(got)
        await until(lambda: len({candle.series for candle in got[seen:]}) == 5)


@pytest.mark.parametrize("cause", ["announced shutdown", "asked for", "lifetime"])
async def test_a_planned_change_of_connection_loses_no_candle(cause: str) -> None:
    """Make-before-break: the successor delivers before its predecessor closes."""
    lifetime: dict[str, Any] = {"lifetime_hours": 4 / 3600} if cause == "lifetime" else {}
    async with exchange(speed=10.0) as simulator, listening(simulator.address, **lifetime) as (listener, got):
        await listener.add_series(series(Market.SPOT, *SYMBOLS[:5]))
        await until(lambda: len(got) > 20)
        for change in range(2):
            if cause == "announced shutdown":
                await simulator.announce_shutdown()
            elif cause == "asked for":
                await listener.reconnect()
            await until(lambda change=change: listener.counters.replaced >= change + 1)  # type: ignore[misc]
            await until(lambda change=change: simulator.accepted >= change + 2)  # type: ignore[misc]
            await until(lambda: listener.connections == (1, 1))
            seen = len(got)
            await until(lambda seen=seen: len(got) > seen + 20)  # type: ignore[misc]
        for one in series(Market.SPOT, *SYMBOLS[:5]):
            assert gaps([candle for candle in got if candle.series == one]) == [1000], one
        assert listener.counters.replaced >= 2


async def test_an_address_that_acknowledges_and_stays_silent_is_named(caplog: pytest.LogCaptureFixture) -> None:
    async with exchange() as simulator:
        unrouted = f"ws{simulator.address.removeprefix('http')}/usdt_futures"
        settings = {"usdt_futures_websocket": unrouted, "simulator": "", "silence_timeout_seconds": 0.4}
        async with listening(simulator.address, Market.USDT_FUTURES, **settings) as (listener, got):
            with caplog.at_level(logging.WARNING):
                await listener.add_series(series(Market.USDT_FUTURES, "BTCUSDT", interval=Interval.M1))
                await until(lambda: "acknowledged and then silent for 0.4 s" in caplog.text)
            assert unrouted in caplog.text
            await until(lambda: simulator.accepted >= 2)
            assert not got
            assert listener.connections == (0, 1)


async def test_a_channel_that_stays_silent_among_others_is_named_once(caplog: pytest.LogCaptureFixture) -> None:
    class Silent:
        def __init__(self, inner: Any) -> None:
            self._inner = inner

        def __getattr__(self, name: str) -> Any:
            return getattr(self._inner, name)

        def has(self, one: Series) -> bool:
            return one.symbol != "DELISTED"

    simulator = exchange()
    simulator.source = Silent(simulator.source)
    settings: dict[str, Any] = {"silence_timeout_seconds": 0.5}
    async with simulator, listening(simulator.address, **settings) as (listener, got):
        with caplog.at_level(logging.WARNING):
            await listener.add_series(series(Market.SPOT, "AUSDT", "DELISTED"))
            await until(lambda: "delisted@kline_1s" in caplog.text)
        assert "1 of 2 channels were acknowledged and then silent for 0.5 s: delisted@kline_1s" in caplog.text
        assert {candle.series.symbol for candle in got} == {"AUSDT"}
        assert simulator.accepted == 1


async def test_a_connection_that_falls_silent_is_replaced() -> None:
    """A server that sends one frame a connection and then nothing."""
    connections = 0

    async def one_frame(connection: ServerConnection) -> None:
        nonlocal connections
        connections += 1
        await connection.recv()
        await connection.send('{"result":null,"id":1}')
        await connection.send('{"e":"kline","E":1,"s":"A","k":{"t":0,"s":"A","i":"1m","x":false}}')
        await connection.wait_closed()

    async with serve(one_frame, "127.0.0.1", 0) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        settings: dict[str, Any] = {"simulator": f"http://127.0.0.1:{port}", "silence_timeout_seconds": 0.3}
        async with listening("", **settings) as (listener, _):
            await listener.add_series(series(Market.SPOT, "AUSDT"))
            await until(lambda: connections >= 3)


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


async def test_a_refused_subscription_is_named_and_the_others_go_on(caplog: pytest.LogCaptureFixture) -> None:
    """The first message is refused, whatever it asks for; the second is accepted."""

    async def refuse_first(connection: ServerConnection) -> None:
        await connection.recv()
        await connection.send('{"error":{"code":2,"msg":"Invalid request"},"id":1}')
        await connection.recv()
        await connection.send('{"result":null,"id":2}')
        await connection.send('{"e":"kline","E":1,"s":"A","k":{"t":0,"s":"A","i":"1m","x":false}}')
        await connection.wait_closed()

    async with serve(refuse_first, "127.0.0.1", 0) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        settings: dict[str, Any] = {"simulator": f"http://127.0.0.1:{port}"}
        async with listening("", **settings) as (listener, _):
            with caplog.at_level(logging.WARNING):
                await listener.add_series(series(Market.SPOT, *(f"{'LONG' * 10}{n}USDT" for n in range(100))))
                await until(lambda: listener.connections == (1, 1))
    assert "channels refused: Invalid request (code 2): longlong" in caplog.text


@pytest.mark.parametrize("address", ["ws://[::1", "ws://a..b", "ws://127.0.0.1:1/\x00"])
async def test_an_odd_address_is_a_reason_in_the_log_and_not_the_end(
    address: str, caplog: pytest.LogCaptureFixture
) -> None:
    odd = ExchangeSettings.model_construct(**ExchangeSettings().model_dump() | {"spot_websocket": address})
    async with CandleListener(Market.SPOT, odd, lambda _: None) as listener:
        with caplog.at_level(logging.WARNING):
            await listener.add_series(series(Market.SPOT, "AUSDT"))
            await until(lambda: "no klines from" in caplog.text)
        assert not listener.failed.done()


async def test_a_fault_of_ours_is_told_to_whoever_runs_the_listener(monkeypatch: pytest.MonkeyPatch) -> None:
    async with listening("http://127.0.0.1:1") as (listener, _):
        monkeypatch.setattr(listener, "new_socket", lambda: 1 / 0)
        await listener.add_series(series(Market.SPOT, "AUSDT"))
        await until(listener.failed.done)
        assert isinstance(listener.failed.exception(), ZeroDivisionError)


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
            await listener.reconnect()
            await until(lambda: simulator.accepted == 2)
            seen = len(got)
            await until(lambda: len(got) > seen + 200)
        for one in series(Market.SPOT, *SYMBOLS[:5]):
            assert gaps([candle for candle in got if candle.series == one]) == [1000], one
    await asyncio.gather(*roads, return_exceptions=True)


async def test_an_exchange_that_cannot_be_reached_is_one_line_and_more_tries(
    caplog: pytest.LogCaptureFixture, unused_tcp_port: int
) -> None:
    async with listening("", simulator=f"http://127.0.0.1:{unused_tcp_port}") as (listener, _):
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
        good = '{"e":"kline","E":5,"s":"A","k":{"t":0,"s":"A","i":"1m","o":"1","c":"1","h":"1","l":"1","v":"1",'
        await connection.send(good + '"n":1,"x":true,"q":"1","V":"1","Q":"1"}}')
        await connection.wait_closed()

    async with serve(garbage, "127.0.0.1", 0) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        async with listening("", simulator=f"http://127.0.0.1:{port}") as (listener, got):
            with caplog.at_level(logging.WARNING):
                await listener.add_series(series(Market.SPOT, "A"))
                await until(lambda: len(got) == 1)
            assert listener.counters.malformed == 4
            assert listener.counters.not_klines == 1
    assert Counter("malformed frame" in record.getMessage() for record in caplog.records)[True] == 4


async def test_closing_leaves_no_task_and_no_connection() -> None:
    async with exchange() as simulator:
        before = asyncio.all_tasks()
        async with listening(simulator.address) as (listener, got):
            await listener.add_series(series(Market.SPOT, *SYMBOLS))
            await until(lambda: bool(got))
            await listener.reconnect()
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
            await listener.remove_symbols(["BTCUSDT"])
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
