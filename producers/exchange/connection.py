"""One WebSocket connection to the exchange: opened, subscribed, read, watched, closed.

A ``Socket`` lives once. ``open`` connects and starts to read; ``subscribe`` and ``unsubscribe`` return when the
exchange has acknowledged; ``delivering`` is set by the first kline, because an acknowledgement proves nothing.
``ended`` completes, with the reason, when the connection can no longer be relied on: lost, silent, too old, or
announced to close. In the last three cases it still reads until ``close``, so that a successor can take over
before this one goes.
"""

import asyncio
import itertools
import logging
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import WebSocketException

from producers.exchange.channels import Method, control_message, pack_channels
from producers.exchange.frames import (
    Control,
    Malformed,
    NotKline,
    OpenKline,
    Shutdown,
    is_open_kline,
    parse_frame,
    peek_channel,
    peek_event_time_ms,
)
from shared.candle import Candle
from shared.market import Market
from shared.settings.model import ExchangeSettings

log = logging.getLogger(__name__)

_MAX_FRAME_BYTES = 2**20
_ODD_LOGGED = 10


class End(StrEnum):
    """Why a connection is to be replaced."""

    LOST = "connection lost"
    SILENT = "silent"
    OLD = "near the end of its lifetime"
    SHUTDOWN = "the exchange announced its end"
    ASKED = "asked for"


class ConnectionFailedError(Exception):
    """A connection could not be opened, subscribed or kept; the text says why, for the log."""


@dataclass(slots=True)
class Counters:
    """What a process's connections have seen since it started, the newest event time, and the first one."""

    frames: int = 0
    candles: int = 0
    malformed: int = 0
    not_klines: int = 0
    attempts: int = 0
    replaced: int = 0
    silent_channels: int = 0
    event_time_ms: int = 0
    heard_since_ms: int = 0
    newest: Candle | None = None


class Socket:
    """One connection and what it is subscribed to.

    Args:
        address: base address; ``/stream`` is added.
        market: whose frames these are.
        settings: time-outs.
        on_candle: called with each closed candle as it arrives; must not block and must not raise.
        counters: counted into, shared with the process's other connections.
    """

    def __init__(
        self,
        address: str,
        market: Market,
        settings: ExchangeSettings,
        on_candle: Callable[[Candle], object],
        counters: Counters,
    ) -> None:
        self.address = f"{address}/stream"
        self.subscribed: set[str] = set()
        self.delivering = asyncio.Event()
        self.ended: asyncio.Future[End] = asyncio.get_running_loop().create_future()
        self._market = market
        self._settings = settings
        self._on_candle = on_candle
        self._counters = counters
        self._websocket: ClientConnection | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._answers: dict[int, asyncio.Future[Control]] = {}
        self._numbers = itertools.count(1)
        self._message_gap = 1.25 / market.facts.client_messages_per_second
        self._pace = asyncio.Lock()
        self._next_message = 0.0
        self._unseen: dict[str, float] = {}
        self._refused: set[str] = set()
        self._klines = 0
        self._last_frame = b""
        self._lost_because = ""

    async def open(self) -> None:
        """Connect and begin to read.

        Raises:
            ConnectionFailedError: when that fails or takes longer than ``open_timeout_seconds``.
        """
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
                proxy=None if self._settings.simulator else True,
            )
        except TimeoutError:
            raise ConnectionFailedError(f"no answer in {self._settings.open_timeout_seconds:g} s") from None
        except (OSError, ValueError, ImportError, WebSocketException) as error:  # the latter for odd proxies
            raise ConnectionFailedError(str(error) or type(error).__name__) from None
        self._tasks = [asyncio.create_task(self._read()), asyncio.create_task(self._watch())]

    async def subscribe(self, channels: Iterable[str]) -> None:
        """Subscribe to more channels; returns when all are acknowledged.

        Channels that the exchange refuses are named in the log and not asked for again on this connection.

        Raises:
            ConnectionFailedError: when the exchange does not answer in time, or the connection is lost.
        """
        for group in pack_channels(sorted(set(channels) - self.subscribed - self._refused)):
            self._unseen.update(dict.fromkeys(group, time.monotonic()))  # a kline may be there before the answer is
            error = await self._request("SUBSCRIBE", group)
            waiting = [name for name in group if self._unseen.pop(name, None) is not None]
            if error is not None:
                self._refused.update(group)
                log.error("%s: SUBSCRIBE of %d channels refused: %s: %s …", self.address, len(group), error, group[0])
                continue
            self.subscribed.update(group)
            self._unseen.update(dict.fromkeys(waiting, time.monotonic()))

    async def unsubscribe(self, channels: Iterable[str]) -> None:
        """Let go of channels; returns when that is acknowledged. Raises as ``subscribe`` does."""
        for group in pack_channels(sorted(set(channels) & self.subscribed)):
            await self._request("UNSUBSCRIBE", group)
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
        return self._websocket is not None and not self._lost_because

    async def close(self) -> None:
        """Close, take in what is still on its way, and stop reading. Harmless when closed already."""
        if self._websocket is not None:
            await self._websocket.close()
            await asyncio.wait(self._tasks[:1], timeout=1)  # the reader ends when it has read everything
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self.ask_end(End.LOST)

    async def _request(self, method: Method, channels: tuple[str, ...]) -> str | None:
        """Send one control message; None when it was accepted, else the exchange's reason."""
        if self._websocket is None:
            raise ConnectionFailedError("not open")
        number = next(self._numbers)
        answer = self._answers[number] = asyncio.get_running_loop().create_future()
        try:
            async with self._pace:
                await asyncio.sleep(self._next_message - time.monotonic())
                self._next_message = time.monotonic() + self._message_gap
                await self._websocket.send(control_message(method, channels, number), text=True)
            control: Control = await asyncio.wait_for(answer, self._settings.acknowledge_timeout_seconds)
        except TimeoutError:
            raise ConnectionFailedError(
                f"{method} of {len(channels)} channels not answered in {self._settings.acknowledge_timeout_seconds:g} s"
            ) from None
        except (OSError, WebSocketException) as error:
            raise ConnectionFailedError(f"lost while subscribing: {error}") from None
        finally:
            self._answers.pop(number, None)
            answer.cancel()  # whoever loses the connection now need not tell us
        return control.error

    async def _read(self) -> None:
        """Take in frames until the connection is lost. The hot path: most frames are open klines and end here."""
        assert self._websocket is not None  # noqa: S101 # set by open, which starts this task
        receive, counters, market = self._websocket.recv, self._counters, self._market
        try:
            while True:
                frame = await receive(decode=False)
                counters.frames += 1
                if is_open_kline(frame):
                    self._klines += 1
                    self._last_frame = frame
                    if self._unseen or self._klines == 1:
                        self._seen(frame)
                else:
                    self._take(parse_frame(frame, market, time.time_ns() // 1_000_000), frame)
        except (OSError, WebSocketException) as error:
            self._lose(str(error) or type(error).__name__)
        except Exception as error:
            log.exception("%s: a frame could not be taken in", self.address)
            self._lose(repr(error))

    def _take(self, outcome: object, frame: bytes) -> None:
        counters = self._counters
        match outcome:
            case Candle():
                self._klines += 1
                self._seen(frame)
                counters.candles += 1
                counters.newest = outcome
                counters.event_time_ms = max(counters.event_time_ms, outcome.event_time_ms)
                self._on_candle(outcome)
            case OpenKline():
                self._klines += 1  # in a spelling that only decoding could tell
                self._seen(frame)
            case Control(id=int(number)) if number in self._answers:
                if not self._answers[number].done():
                    self._answers[number].set_result(outcome)
            case Control(error=error):
                counters.not_klines += 1
                _warn(counters.not_klines, "%s: answer to no question of ours: %s", self.address, error or "accepted")
            case Shutdown():
                self.ask_end(End.SHUTDOWN)
            case NotKline():
                counters.not_klines += 1
            case Malformed(reason=reason, excerpt=excerpt):
                counters.malformed += 1
                _warn(counters.malformed, "malformed frame no. %d: %s: %r", counters.malformed, reason, excerpt)

    def _seen(self, frame: bytes) -> None:
        self.delivering.set()
        self._counters.heard_since_ms = self._counters.heard_since_ms or peek_event_time_ms(frame) or 0
        name = peek_channel(frame)
        if name is not None:
            self._unseen.pop(name, None)

    def _lose(self, reason: str) -> None:
        self._lost_because = reason
        failed = ConnectionFailedError(f"lost: {reason}")
        for answer in self._answers.values():
            if not answer.done():
                answer.set_exception(failed)
        self.ask_end(End.LOST)

    @property
    def lost_because(self) -> str:
        """The reason, once the connection is lost."""
        return self._lost_because

    async def _watch(self) -> None:
        """End a connection that has become silent or old; keep the newest event time. Reads only the local clock."""
        silence = self._settings.silence_timeout_seconds
        began = heard = time.monotonic()
        klines = self._klines
        while not self.ended.done():
            await asyncio.sleep(min(silence / 4, 1.0))
            now = time.monotonic()
            if self._klines != klines:
                klines, heard = self._klines, now
                self._counters.event_time_ms = max(
                    self._counters.event_time_ms, peek_event_time_ms(self._last_frame) or 0
                )
            if now - heard > silence:
                self.ask_end(End.SILENT)
            elif now - began > self._settings.lifetime_hours * 3600:
                self.ask_end(End.OLD)


def _warn(number: int, text: str, *values: object) -> None:
    """Log the first of a kind, and then every thousandth: a flood of frames must not become one of lines."""
    if number <= _ODD_LOGGED or number % 1000 == 0:
        log.warning(text, *values)
