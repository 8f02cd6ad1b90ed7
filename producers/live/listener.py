"""Any number of one market's series over as many connections as the channel limit asks for.

``CandleListener`` spreads series over *lines*. A line is a set of channels that is kept subscribed for as long as
the process lives, by one ``Socket`` after another: when a socket ends, the line brings up a successor and, where the
old one still reads, closes it only after the successor has delivered its first kline (make-before-break). Both may
deliver the same candle meanwhile; storage is idempotent, so that does no harm.

Who owns what: the listener the assignment of series to lines, a line its channels and its socket, the attempt
budget the right to connect. Failures are retried with back-off and jitter, which only data resets.
"""

import asyncio
import contextlib
import logging
import random
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Self

from producers.exchange.channels import channel
from producers.exchange.connection import ConnectionFailedError, Counters, End, Socket
from shared.candle import Candle, Series
from shared.interval import Interval
from shared.market import CONNECTION_ATTEMPTS, CONNECTION_ATTEMPTS_SECONDS, Market
from shared.process.backoff import backoff
from shared.process.stopping import cancel
from shared.settings.model import ExchangeSettings

log = logging.getLogger(__name__)

_REPEAT_WARNING_SECONDS = 60.0
_NAMES_SHOWN = 5
_OVERLAP_SECONDS = 2.0


class AttemptBudget:
    """At most ``attempts`` connection attempts in any ``seconds``, for all who share it."""

    def __init__(self, attempts: int = CONNECTION_ATTEMPTS, seconds: float = CONNECTION_ATTEMPTS_SECONDS) -> None:
        self._attempts = attempts
        self._seconds = seconds
        self._taken: deque[float] = deque()
        self._turn = asyncio.Lock()

    async def acquire(self) -> None:
        """Wait until one more attempt is allowed, and take it. First come, first served."""
        async with self._turn:
            if len(self._taken) >= self._attempts:
                await asyncio.sleep(self._taken.popleft() + self._seconds - time.monotonic())
            self._taken.append(time.monotonic())


class CandleListener:
    """Delivers the closed candles of a set of series, through reconnections, until it is closed.

    Guarantees: every closed kline that arrives on any of its connections is handed to ``on_candle`` once per arrival;
    candles of one series arrive in the exchange's order except around a change of connection, where they may repeat.
    It does not promise that the exchange sent every candle.

    Example:
        >>> async with CandleListener(Market.SPOT, settings.exchange, print) as listener:
        ...     await listener.add_series([Series(Market.SPOT, "BTCUSDT", Interval.M1)])
        ...     await asyncio.sleep(3600)

    Args:
        market: the market to listen to.
        settings: addresses, limits and time-outs.
        on_candle: called on the event loop with each candle; must not block and must not raise.
        rng: source of jitter.

    Attributes:
        failed: set to an exception when a connection's task ended by a fault of ours; then nothing is promised.
    """

    def __init__(
        self,
        market: Market,
        settings: ExchangeSettings,
        on_candle: Callable[[Candle], object],
        rng: random.Random | None = None,
    ) -> None:
        self.market = market
        self.counters = Counters()
        self._settings = settings
        self._on_candle = on_candle
        self._rng = rng or random.Random()
        self._budget = AttemptBudget()
        self.failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._lines: list[_Line] = []
        self._line_of: dict[Series, _Line] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    @property
    def series(self) -> tuple[Series, ...]:
        """What is listened to now."""
        return tuple(self._line_of)

    @property
    def connections(self) -> tuple[int, int]:
        """How many connections deliver, and how many there should be."""
        return sum(line.is_delivering for line in self._lines), len(self._lines)

    async def add_series(self, series: Iterable[Series]) -> None:
        """Listen to more series. Running connections take them up to their limit; new ones are opened for the rest.

        Returns at once; the subscriptions follow as soon as each connection stands. No other series is disturbed.
        """
        for one in series:
            if one in self._line_of:
                continue
            line = self._line_with_room()
            self._line_of[one] = line
            line.channels.add(channel(one))
            line.changed.set()

    async def remove_series(self, series: Iterable[Series]) -> None:
        """Stop listening to some series. A connection left without any is closed; no other series is disturbed."""
        for one in series:
            line = self._line_of.pop(one, None)
            if line is not None:
                line.channels.discard(channel(one))
                line.changed.set()
        unused = [line for line in self._lines if not line.channels]
        self._lines = [line for line in self._lines if line.channels]
        await asyncio.gather(*(line.close() for line in unused))

    async def add_symbols(self, symbols: Iterable[str], intervals: Iterable[Interval]) -> None:
        """Listen to each symbol at each interval; see ``add_series``."""
        intervals = tuple(intervals)
        await self.add_series(Series(self.market, symbol, one) for symbol in symbols for one in intervals)

    async def remove_symbols(self, symbols: Iterable[str]) -> None:
        """Stop listening to these symbols at every interval; see ``remove_series``."""
        gone = set(symbols)
        await self.remove_series([one for one in self._line_of if one.symbol in gone])

    async def reconnect(self) -> None:
        """Replace every connection by a new one, each before its old one closes. Returns at once."""
        for line in self._lines:
            line.ask_replacement()

    async def close(self) -> None:
        """Stop reading and close all connections."""
        lines, self._lines = self._lines, []
        self._line_of.clear()
        await asyncio.gather(*(line.close() for line in lines))
        if self.failed.done():
            self.failed.exception()  # whoever wanted to know has been told

    def _line_with_room(self) -> "_Line":
        for line in self._lines:
            if len(line.channels) < self._settings.channels_per_connection:
                return line
        line = _Line(self)
        self._lines.append(line)
        return line

    def new_socket(self) -> Socket:
        """A socket that is not open yet, for a line."""
        return Socket(
            self._settings.websocket(self.market), self.market, self._settings, self._on_candle, self.counters
        )

    async def attempt(self) -> None:
        """Wait for the right to connect once."""
        await self._budget.acquire()

    @property
    def silence_seconds(self) -> float:
        """How long a connection or channel may be silent."""
        return self._settings.silence_timeout_seconds

    def new_backoff(self) -> Iterable[float]:
        """Pauses between attempts, from the shortest."""
        return backoff(most_seconds=self._settings.retry_most_seconds, rng=self._rng)


class _Line:
    """A set of channels kept subscribed by one socket after another. Its task ends only with ``close``."""

    def __init__(self, listener: CandleListener) -> None:
        self.channels: set[str] = set()
        self.changed = asyncio.Event()
        self._listener = listener
        self._socket: Socket | None = None
        self._retiring: set[asyncio.Task[None]] = set()
        self._closing = asyncio.Event()
        self._delays = iter(listener.new_backoff())
        self._warned: tuple[str, float] = ("", 0.0)
        self._task = asyncio.create_task(self._run())

    @property
    def is_delivering(self) -> bool:
        return self._socket is not None and self._socket.is_open and self._socket.delivering.is_set()

    def ask_replacement(self) -> None:
        if self._socket is not None:
            self._socket.ask_end(End.ASKED)

    async def close(self) -> None:
        await cancel([self._task])
        while self._retiring:
            await asyncio.gather(*self._retiring, return_exceptions=True)

    async def _run(self) -> None:
        try:
            while True:
                successor = await self._establish()
                if self._socket is not None:
                    self._retire(self._socket, _OVERLAP_SECONDS)
                self._socket = successor
                end = await self._serve(successor)
                self._listener.counters.replaced += 1
                log.info(
                    "replacing a connection of %d channels to %s: %s%s",
                    len(self.channels),
                    successor.address,
                    end,
                    f" ({successor.lost_because})" if successor.lost_because else "",
                )
                if not successor.is_open:
                    await asyncio.sleep(next(self._delays))
        except Exception as error:
            log.exception("a connection's task failed")
            if not self._listener.failed.done():
                self._listener.failed.set_exception(error)
        finally:
            self._closing.set()
            if self._socket is not None:
                self._retire(self._socket, 0)

    def _retire(self, socket: Socket, seconds: float) -> None:
        """Close a socket that has a successor, after it has delivered beside it for a while: it may lag behind."""

        async def retire() -> None:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._closing.wait(), seconds)
            await socket.close()

        task = asyncio.create_task(retire())
        self._retiring.add(task)
        task.add_done_callback(self._retiring.discard)

    async def _establish(self) -> Socket:
        """A socket that is open, subscribed and delivering; tries until there is one.

        A socket that was acknowledged and is silent stays open until another one delivers, so that a line of quiet
        series misses nothing while it is doubted. The line's old socket, where it still reads, is kept up to date.
        """
        updating = asyncio.create_task(self._keep_subscriptions(self._socket)) if self._socket else None
        silent: Socket | None = None
        try:
            while True:
                await self._listener.attempt()
                candidate = self._listener.new_socket()
                try:
                    await candidate.open()
                    await candidate.subscribe(self.channels)
                    found = await self._first_kline([one for one in (silent, candidate) if one is not None])
                except ConnectionFailedError as error:
                    self._retire(candidate, 0)
                    self._warn(candidate.address, str(error))
                except BaseException:
                    self._retire(candidate, 0)
                    raise
                else:
                    if silent is not None and silent is not found:
                        self._retire(silent, 0)
                    silent = None
                    if found is not None:
                        if found is not candidate:
                            self._retire(candidate, 0)
                        log.info("listening to %d channels at %s", len(found.subscribed), found.address)
                        self._delays = iter(self._listener.new_backoff())
                        self._warned = ("", 0.0)
                        return found
                    silent = candidate
                    self._warn(
                        candidate.address,
                        f"{len(candidate.subscribed)} channels were acknowledged and then silent for "
                        f"{self._listener.silence_seconds:g} s: this address may no longer carry klines",
                    )
                await asyncio.sleep(next(self._delays))
        finally:
            if updating is not None:
                updating.cancel()
            if silent is not None:
                self._retire(silent, 0)

    async def _first_kline(self, sockets: Sequence[Socket]) -> Socket | None:
        """The first of these sockets to deliver a kline; None when the newest stays silent for the time-out.

        Raises:
            ConnectionFailedError: when the newest is lost or announced to end before.
        """
        newest = sockets[-1]
        deliveries = {asyncio.create_task(socket.delivering.wait()): socket for socket in sockets}
        waits: set[asyncio.Future[Any]] = {*deliveries, newest.ended}
        try:
            await asyncio.wait(waits, timeout=self._listener.silence_seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for delivery in deliveries:
                delivery.cancel()
        delivering = [socket for socket in sockets if socket.delivering.is_set() and socket.is_open]
        if delivering:
            return delivering[0]
        if newest.ended.done() and newest.ended.result() is not End.SILENT:
            because = f": {newest.lost_because}" if newest.lost_because else ""
            raise ConnectionFailedError(f"{newest.ended.result()} before the first kline{because}")
        return None

    async def _serve(self, socket: Socket) -> End:
        """Keep the socket's subscriptions equal to ``channels``, and name silent ones, until it ends."""
        helpers = [
            asyncio.create_task(self._keep_subscriptions(socket)),
            asyncio.create_task(self._report_silent_channels(socket)),
        ]
        try:
            return await asyncio.shield(socket.ended)
        finally:
            for helper in helpers:
                helper.cancel()

    async def _keep_subscriptions(self, socket: Socket) -> None:
        while socket.is_open:
            self.changed.clear()
            try:
                await socket.unsubscribe(socket.subscribed - self.channels)
                await socket.subscribe(self.channels - socket.subscribed)
            except ConnectionFailedError as error:
                log.warning("%s: %s", socket.address, error)
                socket.ask_end(End.ASKED)
                return
            await self.changed.wait()

    async def _report_silent_channels(self, socket: Socket) -> None:
        """Name the channels that have shown nothing for the silence time-out, each once a connection."""
        while True:
            await asyncio.sleep(self._listener.silence_seconds / 2)
            silent = socket.take_silent_channels()
            if silent:
                self._listener.counters.silent_channels += len(silent)
                log.warning(
                    "%s: %d of %d channels were acknowledged and then silent for %g s: %s%s",
                    socket.address,
                    len(silent),
                    len(socket.subscribed),
                    self._listener.silence_seconds,
                    ", ".join(silent[:_NAMES_SHOWN]),
                    ", …" if len(silent) > _NAMES_SHOWN else "",
                )

    def _warn(self, address: str, reason: str) -> None:
        """Log a failed attempt: each new reason at once, the same one once a minute."""
        warned, when = self._warned
        now = time.monotonic()
        if reason != warned or now - when > _REPEAT_WARNING_SECONDS:
            self._warned = (reason, now)
            log.warning("no klines from %s: %s; trying again (`make demo` needs no exchange)", address, reason)
