"""Candles of all series arrive, whichever connections carry them."""

import logging
from typing import Any

import pytest
from websockets.asyncio.server import ServerConnection, serve

from shared.candle import Series
from shared.interval import Interval
from shared.market import Market
from tests.support.listening import SYMBOLS, exchange, gaps, listening, replace_connections, series, until


@pytest.mark.parametrize("market", list(Market))
async def test_candles_of_every_market_are_those_that_the_exchange_holds(market: Market) -> None:
    async with exchange() as simulator, listening(simulator.address, market) as (listener, got):
        symbols = simulator.source.symbols(market)
        await listener.add_series(
            Series(market, symbol, interval) for symbol in symbols for interval in (Interval.S1, Interval.M1)
        )
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
        await listener.add_series(series(Market.SPOT, "AUSDT", "BUSDT"))
        await until(lambda: {candle.series.symbol for candle in got} == {"AUSDT", "BUSDT"})
        await listener.add_series(series(Market.SPOT, "币安人生USDT"))
        await until(lambda: "币安人生USDT" in {candle.series.symbol for candle in got})
        await listener.remove_series(series(Market.SPOT, "AUSDT"))
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


@pytest.mark.parametrize("cause", ["announced shutdown", "old age", "lifetime"])
async def test_a_planned_change_of_connection_loses_no_candle(cause: str) -> None:
    """Make-before-break: the successor delivers before its predecessor closes."""
    lifetime: dict[str, Any] = {"lifetime_hours": 4 / 3600} if cause == "lifetime" else {}
    async with exchange(speed=10.0) as simulator, listening(simulator.address, **lifetime) as (listener, got):
        await listener.add_series(series(Market.SPOT, *SYMBOLS[:5]))
        await until(lambda: len(got) > 20)
        for change in range(2):
            if cause == "announced shutdown":
                await simulator.announce_shutdown()
            elif cause == "old age":
                replace_connections(listener)
            await until(lambda change=change: listener.counters.replaced.total() >= change + 1)  # type: ignore[misc]
            await until(lambda change=change: simulator.accepted >= change + 2)  # type: ignore[misc]
            await until(lambda: listener.connections == (1, 1))
            seen = len(got)
            await until(lambda seen=seen: len(got) > seen + 20)  # type: ignore[misc]
        for one in series(Market.SPOT, *SYMBOLS[:5]):
            assert gaps([candle for candle in got if candle.series == one]) == [1000], one
        assert listener.counters.replaced.total() >= 2


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
