"""The simulated exchange as a server: three markets on one port, each below a path of its own name.

    ws://HOST:PORT/spot/{ws,stream}                 http://HOST:PORT/spot/api/v3/…
    ws://HOST:PORT/usdt_futures/market/{ws,stream}  http://HOST:PORT/usdt_futures/fapi/v1/…
    ws://HOST:PORT/coin_futures/{ws,stream}         http://HOST:PORT/coin_futures/dapi/v1/…

``/usdt_futures/{ws,stream}``, the address that Binance left in April 2026, is there too: it accepts, acknowledges
and never sends a kline. ``/control`` is for whoever runs the exchange.
"""

import asyncio
import contextlib
import logging
import time
from collections import deque
from types import TracebackType
from typing import Self

from aiohttp import web

from shared.errors import CandlewickError
from shared.market import CONNECTION_ATTEMPTS, CONNECTION_ATTEMPTS_SECONDS, Market
from shared.process.tasks import Tasks
from simulator.server.connection import ClientConnection
from simulator.server.control import Control
from simulator.server.exchange import Exchange
from simulator.server.gate import Gate, refused
from simulator.server.mishaps import Mishaps
from simulator.server.options import DEFAULT_SYMBOLS, SimulatorOptions
from simulator.server.rest import Rest

__all__ = ["DEFAULT_SYMBOLS", "Simulator", "SimulatorOptions"]

log = logging.getLogger(__name__)

_MAX_URL_BYTES = 8000


class Simulator(Exchange):
    """A running exchange; use it as an asynchronous context manager.

    Raises:
        CandlewickError: when the address cannot be listened on, or what is recorded cannot be read.
    """

    def __init__(self, options: SimulatorOptions) -> None:
        super().__init__(options)
        self._attempts: deque[float] = deque(maxlen=CONNECTION_ATTEMPTS)
        self._runner: web.AppRunner | None = None
        self._mishaps = Mishaps(self)
        self._tasks = Tasks()
        self.address = ""

    async def __aenter__(self) -> Self:
        self._runner = web.AppRunner(self._application(), access_log=None, shutdown_timeout=1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, self.options.host, self.options.port)
        try:
            await site.start()
        except OSError as error:
            await self._runner.cleanup()
            raise CandlewickError(
                f"cannot listen on {self.options.host}:{self.options.port}: {error.strerror or error}"
            ) from None
        port = self._runner.addresses[0][1]
        self.address = f"http://{self.options.host}:{port}"
        if self.options.wait_for == 0 and not self.clock.is_free:
            self.clock.start()
        await self._tasks.__aenter__()
        self._tasks.start(self.feed.run())
        self._tasks.start(self._mishaps.run())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._tasks.cancel()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(1):
                await asyncio.gather(
                    *(connection.close() for connection in tuple(self.connections)), return_exceptions=True
                )
        self.drop_connections()
        if self._runner is not None:
            await self._runner.cleanup()
        await self._tasks.__aexit__(kind, error, traceback)

    def _application(self) -> web.Application:
        application = web.Application()
        application.add_routes(Control(self, self._mishaps).routes())
        for market in Market:
            base = f"/{market}"
            gate = Gate(self.weights[market], self.dice)
            rest = Rest(market, self.source, self.clock, self.listings, gate)
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
            if self.dice.hits("connect_refused"):
                return refused(self.dice)
            websocket = web.WebSocketResponse(autoping=False, compress=False, max_msg_size=2**16)
            try:
                await websocket.prepare(request)
            except ConnectionResetError:  # its client has gone meanwhile
                return websocket
            combined = request.path.endswith("/stream")
            named = request.query.get("streams", "") if combined else request.match_info.get("channel", "")
            connection = ClientConnection(
                websocket,
                market,
                combined=combined,
                routed=routed and not self.dice.hits("silent_on_connect"),
                feed=self.feed,
                source=self.source,
                dice=self.dice,
            )
            self.connections.append(connection)
            self.accepted += 1
            try:
                await connection.run([name for name in named.split("/") if name])
            finally:
                self.connections.remove(connection)
            return websocket

        return handle

    def _admit(self) -> bool:
        now = time.monotonic()
        if len(self._attempts) == self._attempts.maxlen and now - self._attempts[0] < CONNECTION_ATTEMPTS_SECONDS:
            return False
        self._attempts.append(now)
        return True
