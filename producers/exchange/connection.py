"""One WebSocket connection to the exchange: opened, subscribed, read, watched, closed.

A ``Connection`` lives once. ``open`` connects and starts to read; ``subscribe`` and ``unsubscribe`` return when the
exchange has acknowledged; ``delivered`` completes with the first kline, because an acknowledgement proves nothing.
``ended`` completes, with the reason, when the connection can no longer be relied on: lost, silent, too old, announced
to close, or asked to by its line. Unless it is lost, it still reads until ``close``, so that a successor can take over
before this one goes.
"""

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from enum import StrEnum

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import WebSocketException

from producers.exchange.channels import Method, channel, pack_channels
from producers.exchange.coalescing import CoalescingConnection
from producers.exchange.event_time import EventTime
from producers.exchange.frames import (
    Control,
    Malformed,
    NotKline,
    OpenKline,
    Shutdown,
    closed_candle,
    is_open_kline,
    parse_pieces,
    peek_channel,
    peek_event_time_ms,
)
from producers.exchange.proxy import proxy_for
from producers.exchange.requests import ControlRequests
from shared.candle import Candle
from shared.errors import ConnectionFailedError
from shared.market import Market
from shared.process.once import is_worth_a_line
from shared.process.tasks import Tasks, cancel
from shared.settings.sections import ExchangeSettings
from shared.text import counted

log = logging.getLogger(__name__)

_MAX_FRAME_BYTES = 2**20


class End(StrEnum):
    """Why a connection is to be replaced."""

    LOST = "connection lost"
    SILENT = "silent"
    OLD = "near the end of its lifetime"
    SHUTDOWN = "the exchange announced its end"
    ASKED = "asked for"


@dataclass(slots=True)
class Counters:
    """What a process's connections have seen since it started."""

    frames: int = 0
    candles: int = 0
    malformed: int = 0
    not_klines: int = 0
    not_asked: int = 0
    attempts: int = 0
    replaced: Counter[str] = field(default_factory=Counter)  # connections, by why
    silent_channels: int = 0
    newest: Candle | None = None


class Connection:
    """One connection, to a base address, and what it is subscribed to.

    ``on_candle`` is called with each closed candle as it arrives; it must not block and must not raise. ``counters``
    and ``events`` are shared with the process's other connections.
    """

    def __init__(
        self,
        market: Market,
        base: str,
        settings: ExchangeSettings,
        on_candle: Callable[[Candle], object],
        counters: Counters,
        events: EventTime,
    ) -> None:
        self.base = base
        self.address = f"{base}/stream"
        self.subscribed: set[str] = set()  # channels that the exchange has acknowledged
        self.delivered: asyncio.Future[None] = asyncio.Future()
        self.ended: asyncio.Future[End] = asyncio.Future()
        self.lost_because = ""  # until it is lost
        self.heard_at = 0.0  # when the last kline came, by the monotonic clock, to the second
        self._market = market
        self._settings = settings
        self._on_candle = on_candle
        self._counters = counters
        self._events = events
        self._websocket: ClientConnection | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._requests = ControlRequests(market.facts.client_messages_per_second, settings.acknowledge_timeout_seconds)
        self._unseen: dict[str, float] = {}
        self._refused: set[str] = set()
        self._asked: set[str] = set()  # channels in which candles may come: asked for at any time
        self._klines = 0
        self._last_frame = b""

    async def open(self, tasks: Tasks) -> None:
        """Connect and begin to read, in tasks of this owner; ConnectionFailedError when that fails, or not in time."""
        self._counters.attempts += 1
        try:
            self._websocket = await connect(
                self.address,
                open_timeout=self._settings.open_timeout_seconds,
                close_timeout=1,
                ping_interval=None,  # silence is what is watched; a ping would count as a client message
                max_size=_MAX_FRAME_BYTES,
                max_queue=1024,
                compression=None,
                create_connection=CoalescingConnection,
                proxy=proxy_for(self._settings, self.address),
            )
        except TimeoutError:
            raise ConnectionFailedError(f"no answer in {self._settings.open_timeout_seconds:g} s") from None
        except (OSError, ValueError, ImportError, WebSocketException) as error:  # the latter for odd proxies
            raise ConnectionFailedError(str(error) or type(error).__name__) from None
        self._tasks = [tasks.start(self._read(self._websocket)), tasks.start(self._watch())]

    async def subscribe(self, channels: Iterable[str]) -> None:
        """Subscribe to more channels; returns when all are acknowledged.

        What the exchange refuses together is asked for in halves, so that one bad name silences no other. A channel
        that it refuses alone is named in the log and not asked for again on this connection. ConnectionFailedError says
        that the exchange does not answer in time or refuses all there is, or that the connection is lost.
        """
        for group in pack_channels(sorted(set(channels) - self.subscribed - self._refused)):
            await self._subscribe(group)
        if self._refused and not self.subscribed:
            raise ConnectionFailedError(f"the exchange refuses all of {counted(len(self._refused), 'channel')}")

    async def _subscribe(self, group: tuple[str, ...]) -> None:
        """Subscribe to channels that fit one message, or to those of them that the exchange does not refuse."""
        self._unseen.update(dict.fromkeys(group, time.monotonic()))  # a kline may be there before the answer is
        self._asked.update(group)
        error = await self._ask("SUBSCRIBE", group)
        waiting = [name for name in group if self._unseen.pop(name, None) is not None]
        if error is None:
            self.subscribed.update(group)
            self._unseen.update(dict.fromkeys(waiting, time.monotonic()))
        elif len(group) == 1:
            self._refused.update(group)
            log.error("%s: the exchange refuses the channel %s: %s", self.address, group[0], error)
        else:
            middle = len(group) // 2
            await self._subscribe(group[:middle])
            await self._subscribe(group[middle:])

    async def unsubscribe(self, channels: Iterable[str]) -> None:
        """Let go of channels; returns when that is acknowledged. Raises as ``subscribe`` does."""
        for group in pack_channels(sorted(set(channels) & self.subscribed)):
            await self._ask("UNSUBSCRIBE", group)
            self.subscribed.difference_update(group)
            for name in group:
                self._unseen.pop(name, None)

    def take_silent_channels(self) -> list[str]:
        """Channels that have been acknowledged for the silence time-out and have not shown a kline; each once."""
        since = time.monotonic() - self._settings.silence_timeout_seconds
        silent = sorted(name for name, subscribed_at in self._unseen.items() if subscribed_at <= since)
        for name in silent:
            del self._unseen[name]
        return silent

    def ask_end(self, end: End) -> None:
        """Ask for this connection to be replaced."""
        if not self.ended.done():
            self.ended.set_result(end)

    @property
    def is_open(self) -> bool:
        """Whether frames still come in."""
        return self._websocket is not None and not self.lost_because

    @property
    def is_delivering(self) -> bool:
        """Whether klines come in."""
        return self.is_open and self.delivered.done()

    @property
    def is_silent(self) -> bool:
        """Whether it is to be replaced because nothing came for too long."""
        return self.ended.done() and self.ended.result() is End.SILENT

    @property
    def answered(self) -> set[str]:
        """Channels of which the exchange has said whether it delivers them."""
        return self.subscribed | self._refused

    async def close(self) -> None:
        """Close, take in what is still on its way, and stop reading. Harmless when closed already."""
        try:
            if self._websocket is not None:
                await self._websocket.close()
                await asyncio.wait(self._tasks[:1], timeout=1)  # the reader ends when it has read everything
        finally:
            await cancel(self._tasks)
            self.ask_end(End.LOST)

    async def _ask(self, method: Method, channels: tuple[str, ...]) -> str | None:
        websocket = self._websocket
        if websocket is None:
            raise ConnectionFailedError("not open")
        try:
            return await self._requests.ask(lambda message: websocket.send(message, text=True), method, channels)
        except (OSError, WebSocketException) as error:
            raise ConnectionFailedError(f"lost while subscribing: {error}") from None

    async def _read(self, websocket: ClientConnection) -> None:
        """Take in frames until the connection is lost. The hot path: most frames are open klines and end here."""
        receive, counters, market = websocket.recv, self._counters, self._market
        try:
            while True:
                frame = await receive(decode=False)
                counters.frames += 1
                candle = None
                if not is_open_kline(frame):
                    now_ms = time.time_ns() // 1_000_000
                    candle = closed_candle(frame, market, now_ms)
                    if candle is None:
                        self._take(parse_pieces(frame, market, now_ms), frame)
                        continue
                self._klines += 1
                self._last_frame = frame
                if self._unseen or self._klines == 1:
                    self._see(frame)
                if candle is not None:
                    self._take_candle(candle)
        except (OSError, WebSocketException) as error:
            self._lose(str(error) or type(error).__name__)
        except Exception as error:
            log.exception("%s: an internal error while a frame was taken in", self.address)
            self._lose(repr(error))

    def _take(self, outcome: object, frame: bytes) -> None:
        counters = self._counters
        match outcome:
            case Candle() | OpenKline():  # in a spelling that only decoding could tell
                self._klines += 1
                self._see(frame)
                if isinstance(outcome, Candle):
                    self._take_candle(outcome)
            case Control(error=error):
                if not self._requests.answer(outcome):
                    counters.not_klines += 1
                    if is_worth_a_line(counters.not_klines):
                        log.warning("%s: answer to no question of ours: %s", self.address, error or "accepted")
            case Shutdown():
                self.ask_end(End.SHUTDOWN)
            case NotKline():
                counters.not_klines += 1
            case Malformed(reason=reason, excerpt=excerpt):
                counters.malformed += 1
                if is_worth_a_line(counters.malformed):
                    log.warning("malformed frame no. %d: %s: %r", counters.malformed, reason, excerpt)

    def _take_candle(self, candle: Candle) -> None:
        """Pass a candle on, unless nobody asked for it here."""
        counters = self._counters
        if channel(candle.series) not in self._asked:
            counters.not_asked += 1
            if is_worth_a_line(counters.not_asked):
                log.warning("%s: a candle of %s, which was not asked for: not taken", self.address, candle.series)
            return
        counters.candles += 1
        counters.newest = candle
        self._on_candle(candle)
        self._events.note(candle.event_time_ms)

    def _see(self, frame: bytes) -> None:
        """A kline has come: the connection delivers, and so does the frame's channel."""
        if not self.delivered.done():
            self.delivered.set_result(None)
        if not self._events.first_ms:
            self._events.note(peek_event_time_ms(frame) or 0)
        name = peek_channel(frame)
        if name is not None:
            self._unseen.pop(name, None)

    def _lose(self, reason: str) -> None:
        self.lost_because = reason
        self._requests.fail(reason)
        self.ask_end(End.LOST)

    async def _watch(self) -> None:
        """End a connection that has become silent or old; note the newest event time. Reads only the local clock."""
        silence = self._settings.silence_timeout_seconds
        began = self.heard_at = time.monotonic()
        klines = self._klines
        while not self.ended.done():
            await asyncio.sleep(min(silence / 4, 1.0))
            now = time.monotonic()
            if self._klines != klines:
                klines, self.heard_at = self._klines, now
                self._events.note(peek_event_time_ms(self._last_frame) or 0)
            if now - self.heard_at > silence:
                self.ask_end(End.SILENT)
            elif now - began > self._settings.lifetime_hours * 3600:
                self.ask_end(End.OLD)
