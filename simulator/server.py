"""The simulated exchange as a server: three markets on one port, each below a path of its own name.

    ws://HOST:PORT/spot/{ws,stream}                 http://HOST:PORT/spot/api/v3/…
    ws://HOST:PORT/usdt_futures/market/{ws,stream}  http://HOST:PORT/usdt_futures/fapi/v1/…
    ws://HOST:PORT/coin_futures/{ws,stream}         http://HOST:PORT/coin_futures/dapi/v1/…

``/usdt_futures/{ws,stream}``, the address that Binance left in April 2026, is there too: it accepts, acknowledges
and never sends a kline.
"""

import asyncio
import contextlib
import logging
import time
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from aiohttp import web

from shared.candle import Series
from shared.errors import CandlewickError
from shared.interval import utc
from shared.market import CONNECTION_ATTEMPTS, CONNECTION_ATTEMPTS_SECONDS, Market
from simulator.clock import Clock
from simulator.connection import ClientConnection
from simulator.feed import Feed
from simulator.klines import KlineSource, RecordedSource, SyntheticSource
from simulator.rest import Rest, Weights

log = logging.getLogger(__name__)

DEFAULT_SYMBOLS: dict[Market, tuple[str, ...]] = {
    Market.SPOT: ("BTCUSDT", "BNBUSDT", "ETHUSDT", "SOLUSDT"),
    Market.USDT_FUTURES: ("BTCUSDT", "ETHUSDT", "SOLUSDT", "1000PEPEUSDT", "币安人生USDT"),
    Market.COIN_FUTURES: ("BTCUSD_PERP", "ETHUSD_PERP"),
}

_MAX_URL_BYTES = 8000
_EARLIEST_LATENESS_MS, _LATENESS_SPREAD_MS = 20, 280


@dataclass(frozen=True, slots=True)
class SimulatorOptions:
    """How the exchange behaves.

    Attributes:
        host: address to listen on.
        port: 0 takes a free one.
        seed: of the synthetic market.
        klines: folder of recorded klines to serve instead.
        speed: simulated seconds a real second; None: as fast as listeners read.
        start_ms: the exchange's time at its start; None: now, or the first recorded kline.
        end_ms: end of the synthetic market; None: never.
        updates: open frames a kline; None: at each market's own cadence.
        wait_for: the clock starts when so many channels are subscribed.
        symbols: what exchangeInfo lists where klines are synthetic.
    """

    host: str = "127.0.0.1"
    port: int = 0
    seed: int = 1
    klines: Path | None = None
    speed: float | None = 1.0
    start_ms: int | None = None
    end_ms: int | None = None
    updates: int | None = None
    wait_for: int = 0
    symbols: dict[Market, tuple[str, ...]] = field(default_factory=lambda: dict(DEFAULT_SYMBOLS))


class Simulator:
    """A running exchange; use it as an asynchronous context manager.

    Raises:
        CandlewickError: when the address cannot be listened on, or the recorded klines cannot be read.
    """

    def __init__(self, options: SimulatorOptions) -> None:
        self.source: KlineSource
        start_ms = options.start_ms
        if options.klines is not None:
            recorded = RecordedSource(options.klines)
            self.source = recorded
            start_ms = recorded.first_ms if start_ms is None else start_ms
        else:
            self.source = SyntheticSource(options.seed, dict(options.symbols), options.end_ms)
        self.clock = Clock(time.time_ns() // 1_000_000 if start_ms is None else start_ms, options.speed)
        if options.end_ms is not None and options.end_ms <= self.clock.now_ms():
            raise CandlewickError(f"the market ends at {utc(options.end_ms)}, before it starts")
        self.feed = Feed(self.source, self.clock, options.updates, _lateness_ms, options.wait_for)
        self.connections: set[ClientConnection] = set()
        self.accepted = 0
        futures = Weights(Market.USDT_FUTURES.facts.weight_per_minute)
        self.weights = {
            Market.SPOT: Weights(Market.SPOT.facts.weight_per_minute),
            Market.USDT_FUTURES: futures,
            Market.COIN_FUTURES: futures,
        }
        self._options = options
        self._attempts: deque[float] = deque(maxlen=CONNECTION_ATTEMPTS)
        self._runner: web.AppRunner | None = None
        self._feeding: asyncio.Task[None] | None = None
        self.address = ""

    async def __aenter__(self) -> Self:
        self._runner = web.AppRunner(self._application(), access_log=None, shutdown_timeout=1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, self._options.host, self._options.port)
        try:
            await site.start()
        except OSError as error:
            await self._runner.cleanup()
            raise CandlewickError(
                f"cannot listen on {self._options.host}:{self._options.port}: {error.strerror or error}"
            ) from None
        port = self._runner.addresses[0][1]
        self.address = f"http://{self._options.host}:{port}"
        if self._options.wait_for == 0 and not self.clock.is_free:
            self.clock.start()
        self._feeding = asyncio.create_task(self.feed.run())
        self._feeding.add_done_callback(_report_failure)
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._feeding is not None:
            self._feeding.cancel()
            await asyncio.gather(self._feeding, return_exceptions=True)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(1):
                await asyncio.gather(*(one.close() for one in tuple(self.connections)), return_exceptions=True)
        self.drop_connections()
        if self._runner is not None:
            await self._runner.cleanup()

    def drop_connections(self) -> int:
        """Cut every connection without a closing handshake; how many."""
        for connection in tuple(self.connections):
            connection.drop()
        return len(self.connections)

    async def announce_shutdown(self) -> None:
        """Send ``serverShutdown`` on every connection."""
        for connection in tuple(self.connections):
            await connection.announce_shutdown(self.clock.now_ms())

    def _application(self) -> web.Application:
        application = web.Application()
        for market in Market:
            base = f"/{market}"
            rest = Rest(market, self.source, self.clock, self.weights[market])
            application.add_routes(rest.routes(base))
            for path in ("/ws", "/ws/{channel}", "/stream"):
                routed = market is not Market.USDT_FUTURES
                application.router.add_get(base + path, self._websocket(market, routed=routed))
                if not routed:
                    application.router.add_get(f"{base}/market{path}", self._websocket(market, routed=True))
        return application

    def _websocket(self, market: Market, *, routed: bool):  # type: ignore[no-untyped-def] # noqa: ANN202 # aiohttp's handler
        async def handle(request: web.Request) -> web.StreamResponse:
            if len(request.raw_path.encode()) > _MAX_URL_BYTES:
                return web.Response(status=414, text="URI Too Long")
            if not self._admit():
                return web.Response(status=429, text="Too many connection attempts")
            websocket = web.WebSocketResponse(autoping=False, compress=False, max_msg_size=2**16)
            await websocket.prepare(request)
            combined = request.path.endswith("/stream")
            named = request.query.get("streams", "") if combined else request.match_info.get("channel", "")
            connection = ClientConnection(
                websocket, market, combined=combined, routed=routed, feed=self.feed, source=self.source
            )
            self.connections.add(connection)
            self.accepted += 1
            try:
                await connection.run([name for name in named.split("/") if name])
            finally:
                self.connections.discard(connection)
            return websocket

        return handle

    def _admit(self) -> bool:
        now = time.monotonic()
        if len(self._attempts) == self._attempts.maxlen and now - self._attempts[0] < CONNECTION_ATTEMPTS_SECONDS:
            return False
        self._attempts.append(now)
        return True


def _report_failure(feeding: "asyncio.Task[None]") -> None:
    if not feeding.cancelled() and feeding.exception() is not None:
        log.critical("the feed failed", exc_info=feeding.exception())


def _lateness_ms(series: Series, open_ms: int) -> int:
    """How long after a kline's end its closing frame comes: varied, but the same each time."""
    number = sum(map(ord, series.symbol))
    return _EARLIEST_LATENESS_MS + (number * 31 + open_ms // 1000 * 17) % _LATENESS_SPREAD_MS
