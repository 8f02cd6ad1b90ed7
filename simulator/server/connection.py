"""One client's WebSocket connection, with the exchange's rules: pings, message rate, silent limits.

As at the exchange: a control message over 4096 bytes is ignored without a word, too many messages a second close the
connection with 1008, a connection without pong is closed, and more than 1024 channels are refused.

The faults of a connection happen here too: its kline frames pass ``FrameFaults``, and it can be told to fall silent.
"""

import asyncio
import contextlib
import logging
import re
import time
from collections import deque
from typing import Any

import orjson
from aiohttp import WSCloseCode, WSMessage, WSMsgType, web

from shared.candle import Series
from shared.interval import Interval
from shared.market import MAX_CHANNELS_PER_CONNECTION, MAX_CONTROL_BYTES, Market
from shared.process.tasks import Tasks
from simulator.faults.dice import FaultDice, FrameFaults
from simulator.market.frames import enveloped, shutdown_event
from simulator.market.klines import KlineSource
from simulator.server.feed import Feed

log = logging.getLogger(__name__)

_QUEUE = 20_000
_FLUSH_SECONDS = 1.0
_WELL_FORMED = re.compile(r"\w+@\w+")  # of one stream that is not, the exchange refuses the whole message


class ClientConnection:
    """A connection's subscriptions and its outgoing messages.

    Args:
        websocket: prepared for its request.
        market: whose channels it may subscribe to.
        combined: whether events are sent in the combined stream's envelope.
        routed: False imitates an address that accepts everything and sends no kline.
        feed: where klines come from.
        source: which symbols there are.
        dice: which of its frames go wrong.
    """

    def __init__(
        self,
        websocket: web.WebSocketResponse,
        market: Market,
        *,
        combined: bool,
        routed: bool,
        feed: Feed,
        source: KlineSource,
        dice: FaultDice,
    ) -> None:
        self.combined = combined
        self._websocket = websocket
        self._market = market
        self._routed = routed
        self._feed = feed
        self._source = source
        self._faults = FrameFaults(dice)
        self._channels: dict[str, Series] = {}
        self._muted: set[str] = set()
        self._outgoing: asyncio.Queue[str] = asyncio.Queue(_QUEUE)
        self._recent: deque[float] = deque(maxlen=market.facts.client_messages_per_second)
        self._ponged = time.monotonic()
        self._silent = False

    async def run(self, channels: list[str]) -> None:
        """Serve the connection until it closes. ``channels`` are those named in its address."""
        self._subscribe(channels)
        async with Tasks() as helpers:
            helpers.start(self._send())
            helpers.start(self._ping())
            try:
                async for message in self._websocket:
                    await self._take(message)
            finally:
                self.silence()
                await helpers.cancel()

    async def push(self, text: str, *, wait: bool) -> None:
        """Send one kline frame when its turn comes; see ``Subscriber``."""
        if self._faults.on:
            for frame in self._faults.passed(text):
                await self._queue(frame, wait=wait)
        else:
            await self._queue(text, wait=wait)

    async def _queue(self, text: str, *, wait: bool) -> None:
        if self._silent:
            return
        if wait:
            await self._outgoing.put(text)
            return
        try:
            self._outgoing.put_nowait(text)
        except asyncio.QueueFull:
            log.warning("a client reads too slowly: closing its connection")
            self.drop()

    @property
    def is_silent(self) -> bool:
        """Whether it sends nothing any more."""
        return self._silent

    @property
    def speaking_channels(self) -> list[str]:
        """The channels whose klines it sends."""
        return [name for name in self._channels if self._speaks(name)]

    def _speaks(self, name: str) -> bool:
        return self._routed and not self._silent and name not in self._muted

    def silence_channel(self, name: str) -> None:
        """Send no more of one channel, whatever is subscribed to, until the connection ends."""
        self._muted.add(name)
        self._feed.unsubscribe(self._channels[name], self)

    def silence(self) -> None:
        """Stay open and send nothing more at all: no frame, no answer, no ping, no pong."""
        self._silent = True
        for series in self._channels.values():
            self._feed.unsubscribe(series, self)
        while not self._outgoing.empty():
            self._outgoing.get_nowait()  # whoever waits for room is let go
            self._outgoing.task_done()

    async def announce_shutdown(self, event_time_ms: int) -> None:
        """Send ``serverShutdown``."""
        event = shutdown_event(event_time_ms)
        await self._queue(enveloped("!serverShutdown", event) if self.combined else event, wait=False)

    async def shut_down(self, event_time_ms: int, lead_seconds: float) -> None:
        """Announce the end, give so many seconds of notice, then close."""
        await self.announce_shutdown(event_time_ms)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(lead_seconds + _FLUSH_SECONDS):
                await asyncio.sleep(lead_seconds)
                await self._outgoing.join()
        await self.close()

    async def close(self) -> None:
        """Close the connection as a server does that goes away."""
        with contextlib.suppress(ConnectionError):
            await self._websocket.close(code=WSCloseCode.GOING_AWAY)

    def drop(self) -> None:
        """Cut the connection without a closing handshake."""
        transport = self._websocket._req.transport if self._websocket._req else None  # noqa: SLF001 # no public way
        if transport is not None:
            transport.abort()

    async def _send(self) -> None:
        with contextlib.suppress(ConnectionError):
            while True:
                await self._websocket.send_str(await self._outgoing.get())
                self._outgoing.task_done()

    async def _ping(self) -> None:
        facts = self._market.facts
        with contextlib.suppress(ConnectionError):
            while True:
                await asyncio.sleep(facts.ping_seconds)
                if self._silent:
                    return
                if time.monotonic() - self._ponged > facts.pong_deadline_seconds:
                    await self._websocket.close(code=WSCloseCode.POLICY_VIOLATION, message=b"Pong timeout")
                    return
                await self._websocket.ping(str(time.time_ns() // 1_000_000).encode())

    async def _take(self, message: WSMessage) -> None:
        if message.type is WSMsgType.PONG:
            self._ponged = time.monotonic()
            return
        if message.type is WSMsgType.PING and not self._silent:
            await self._websocket.pong(message.data)
        now = time.monotonic()
        if len(self._recent) == self._recent.maxlen and now - self._recent[0] < 1:
            await self._websocket.close(code=WSCloseCode.POLICY_VIOLATION, message=b"Too many requests")
            return
        self._recent.append(now)
        if message.type in (WSMsgType.TEXT, WSMsgType.BINARY):
            raw = message.data.encode() if isinstance(message.data, str) else message.data
            if len(raw) < MAX_CONTROL_BYTES:
                await self._queue(orjson.dumps(self._answer(raw)).decode(), wait=False)

    def _answer(self, raw: bytes) -> dict[str, Any]:
        try:
            request = orjson.loads(raw)
            method, number = request["method"], request.get("id")
            params = request.get("params", [])
        except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError):
            return _error(None, 3, "Invalid JSON: expected an object with method, params and id")
        if method == "LIST_SUBSCRIPTIONS":
            return {"result": list(self._channels), "id": number}
        if not isinstance(params, list) or not all(isinstance(name, str) for name in params):
            return _error(number, 2, "Invalid request: params is a list of strings")
        if method == "SUBSCRIBE":
            too_many = len({*self._channels, *params}) > MAX_CHANNELS_PER_CONNECTION
            if too_many or not all(_WELL_FORMED.fullmatch(name) for name in params):
                what = "too many subscriptions" if too_many else "invalid stream"
                return _error(number, 2, f"Invalid request: {what}")
            self._subscribe(params)
        elif method == "UNSUBSCRIBE":
            for name in params:
                series = self._channels.pop(name, None)
                if series is not None:
                    self._feed.unsubscribe(series, self)
        else:
            return _error(number, 2, f"Invalid request: unknown variant {method}")
        return {"result": None, "id": number}

    def _subscribe(self, names: list[str]) -> None:
        """Take channels in; an unknown one is acknowledged and silent, as at the exchange."""
        for name in names:
            series = parse_channel(self._market, name)
            if series is not None and self._source.has(series) and name not in self._channels:
                self._channels[name] = series
                if self._speaks(name):
                    self._feed.subscribe(name, series, self)


def parse_channel(market: Market, name: str) -> Series | None:
    """The series of a channel such as ``btcusdt@kline_1m``; None for any other."""
    symbol, separator, interval = name.partition("@kline_")
    if not separator or symbol != symbol.lower():
        return None
    try:
        return Series(market, symbol.upper(), Interval(interval))
    except ValueError:
        return None


def _error(number: Any, code: int, text: str) -> dict[str, Any]:
    return {"error": {"code": code, "msg": text}, "id": number}
