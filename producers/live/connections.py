"""Any number of one market's series over as many connections as the channel limit asks for.

``CandleListener`` spreads series over *lines* (``producers.live.line``), each a set of channels that is kept subscribed
by one connection after another. The listener owns the assignment of series to lines, every task and the budget of
connection attempts; a line owns its channels and its connection.
"""

import asyncio
import random
import time
from collections import deque
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Self

from producers.exchange.addresses import Addresses
from producers.exchange.channels import channel
from producers.exchange.connection import Connection, Counters
from producers.exchange.event_time import EventTime
from producers.live.line import Line
from shared.candle import Candle, Series
from shared.market import CONNECTION_ATTEMPTS, CONNECTION_ATTEMPTS_SECONDS, Market
from shared.process.backoff import backoff
from shared.process.tasks import Tasks
from shared.settings.sections import ExchangeSettings


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
    """Delivers the closed candles of a set of series, through reconnections, for as long as its block lasts.

    ``on_candle`` is called on the event loop, once for each closed kline that arrives on any of the connections; it
    must not block and must not raise. Candles of one series arrive in the exchange's order except around a change of
    connection, where they may repeat. That the exchange sends every candle is not promised. An internal error ends the
    block, and is raised at its end.

    Example:
        >>> async with CandleListener(Market.SPOT, settings.exchange, print) as listener:
        ...     await listener.add_series([Series(Market.SPOT, "BTCUSDT", Interval.M1)])
        ...     await asyncio.sleep(3600)
    """

    def __init__(
        self,
        market: Market,
        settings: ExchangeSettings,
        on_candle: Callable[[Candle], object],
        events: EventTime | None = None,
        rng: random.Random | None = None,
    ) -> None:
        self.market = market
        self.counters = Counters()
        self.events = events or EventTime()
        self.tasks = Tasks()
        self._settings = settings
        self._on_candle = on_candle
        self._rng = rng or random.Random()
        self._budget = AttemptBudget()
        self._addresses = Addresses(f"{market} WebSocket", settings.websocket(market))
        self._lines: list[Line] = []
        self._line_of: dict[Series, Line] = {}

    async def __aenter__(self) -> Self:
        await self.tasks.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            await self.close()
        finally:
            await self.tasks.__aexit__(kind, error, traceback)

    @property
    def series(self) -> tuple[Series, ...]:
        """What is listened to now."""
        return tuple(self._line_of)

    @property
    def connections(self) -> tuple[int, int]:
        """How many connections deliver, and how many there should be."""
        return sum(line.is_delivering for line in self._lines), len(self._lines)

    def delivers_since(self, moment: float) -> bool:
        """Whether all series are subscribed, and each connection has delivered since a moment of the monotonic clock.

        What the exchange refuses to deliver counts as delivered: nobody else gets it either.
        """
        return all(line.delivers_since(moment) for line in self._lines)

    @property
    def given_way(self) -> list[str]:
        """A line while another address than the first is used for new connections."""
        return self._addresses.given_way

    async def add_series(self, series: Iterable[Series]) -> None:
        """Listen to more series, over running connections up to their limit and new ones for the rest.

        Returns at once; the subscriptions follow as soon as each connection stands. No other series is disturbed.
        """
        for added in series:
            if added in self._line_of:
                continue
            line = self._line_with_room()
            self._line_of[added] = line
            line.add(channel(added))

    async def remove_series(self, series: Iterable[Series]) -> None:
        """Stop listening to some series. A connection left without any is closed; no other series is disturbed."""
        for removed in series:
            line = self._line_of.pop(removed, None)
            if line is not None:
                line.remove(channel(removed))
        unused = [line for line in self._lines if not line.channels]
        self._lines = [line for line in self._lines if line.channels]
        await asyncio.gather(*(line.close() for line in unused))

    async def close(self) -> None:
        """Stop reading and close all connections. Harmless when that was done already."""
        lines, self._lines = self._lines, []
        self._line_of.clear()
        await asyncio.gather(*(line.close() for line in lines))

    async def new_connection(self) -> Connection:
        """A connection that is not open yet, as soon as one more attempt is allowed."""
        await self._budget.acquire()
        base = self._addresses.current
        return Connection(self.market, base, self._settings, self._on_candle, self.counters, self.events)

    def note_failure(self, connection: Connection, reason: object) -> None:
        """A new connection brought no kline: the next one goes to another address, if there is any."""
        self._addresses.give_way(connection.base, reason)

    @property
    def silence_seconds(self) -> float:
        """How long a connection or channel may be silent."""
        return self._settings.silence_timeout_seconds

    def new_backoff(self) -> Iterable[float]:
        """Pauses between attempts, from the shortest."""
        return backoff(max_seconds=self._settings.retry_max_seconds, rng=self._rng)

    def _line_with_room(self) -> Line:
        for line in self._lines:
            if len(line.channels) < self._settings.channels_per_connection:
                return line
        line = Line(self)
        self._lines.append(line)
        return line
