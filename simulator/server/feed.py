"""What the exchange pushes, and when.

Every subscribed channel has one next event: an open kline at the market's cadence, or the closing frame shortly
after the kline's end. Events lie in a heap by exchange time; one task waits for the earliest, renders it once and
hands it to the channel's subscribers. In free-running time it waits for slow subscribers instead of for the clock.

A closing frame that a fault delays is an event of its own, beside the channel's next one: later klines do not wait.
"""

import asyncio
import contextlib
import heapq
import itertools
import logging
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from shared.candle import Series
from shared.market import Market
from simulator.faults.dice import FaultDice
from simulator.market.clock import Clock
from simulator.market.frames import enveloped, kline_event
from simulator.market.klines import KlineSource, so_far

log = logging.getLogger(__name__)

_EARLIEST_LATENESS_MS, _LATENESS_SPREAD_MS = 20, 280


class Subscriber(Protocol):
    """A connection, as the feed sees it."""

    combined: bool

    async def push(self, text: str, *, wait: bool) -> None:
        """Take one kline frame; when it must not wait, a connection that is too slow is closed."""


@dataclass(slots=True)
class _Channel:
    name: str
    series: Series
    subscribers: dict[Subscriber, None] = field(default_factory=dict)  # in the order in which they came
    open_ms: int = 0
    due_ms: int = 0
    idle: bool = False  # its klines have ended: it has no next event


class _Event(NamedTuple):
    due_ms: int
    number: int
    channel: _Channel
    late_open_ms: int | None = None  # of a kline whose closing frame is delayed


class Feed:
    """Pushes klines to subscribers.

    Args:
        source: where klines come from.
        clock: the exchange's time.
        updates: open frames a kline; None: at the market's own cadence.
        dice: which frames are late, missing or have a wrong time.
        wait_for: the clock starts when so many channels are subscribed.
        linger: when the data has ended, time that ran as fast as possible goes on at the real one's pace.
    """

    def __init__(
        self,
        source: KlineSource,
        clock: Clock,
        updates: int | None,
        dice: FaultDice,
        wait_for: int = 0,
        *,
        linger: bool = False,
    ) -> None:
        self.closed = 0
        self.ended = asyncio.Event()
        self._source = source
        self._clock = clock
        self._updates = updates
        self._dice = dice
        self._wait_for = wait_for
        self._linger = linger
        self._channels: dict[Series, _Channel] = {}
        self._heap: list[_Event] = []
        self._order = itertools.count()
        self._woken = asyncio.Event()

    def subscribe(self, name: str, series: Series, subscriber: Subscriber) -> None:
        """Send a series' klines to a subscriber from now on. A series without klines is silent, as at the exchange."""
        channel = self._channels.get(series)
        if channel is None:
            channel = self._channels[series] = _Channel(name, series)
            self._enter(channel, series.interval.floor(self._clock.now_ms()))
        channel.subscribers[subscriber] = None
        if not self._clock.is_running and len(self._channels) >= self._wait_for:
            self._clock.start()
        self._woken.set()

    def unsubscribe(self, series: Series, subscriber: Subscriber) -> None:
        """Stop sending. The channel itself stays until its next event finds nobody."""
        channel = self._channels.get(series)
        if channel is not None:
            channel.subscribers.pop(subscriber, None)
            if channel.idle and not channel.subscribers:
                del self._channels[series]

    def resume(self, market: Market, symbol: str, since_ms: int) -> None:
        """Go on with the channels of a symbol whose klines had ended and begin anew at a time."""
        for series, channel in self._channels.items():
            if channel.idle and series.symbol == symbol and series.market is market:
                self._enter(channel, series.interval.floor(since_ms))
        self._woken.set()

    async def run(self) -> None:
        """Push events in the order of time, for ever."""
        while True:
            self._woken.clear()
            if not self._clock.is_running or (not self._heap and not self._awaits_end()):
                await self._woken.wait()
                continue
            due_ms = self._heap[0].due_ms if self._heap else self._source.end_ms or 0
            if self._clock.wait_seconds(due_ms) > 0:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(self._clock.wait_seconds(due_ms)):
                        await self._woken.wait()
            elif self._heap:
                await self._take(heapq.heappop(self._heap))
            else:
                self._end()

    def _awaits_end(self) -> bool:
        """Whether the data ends at a time that is still to come, or has come and was not noted yet.

        Where time stands still without listeners, it does not come while nobody listens to a series that has data.
        """
        end_ms = self._source.end_ms
        if end_ms is None or self.ended.is_set():
            return False
        return not self._clock.is_free or self._clock.now_ms() >= end_ms

    def _end(self) -> None:
        log.info("end of the data: nothing more to push")
        self.ended.set()
        if self._linger:
            self._clock.go_on()

    async def _take(self, event: _Event) -> None:
        channel = event.channel
        await self._clock.reach(event.due_ms)
        if event.late_open_ms is not None:
            await self._send(channel, event.late_open_ms, event.due_ms, closed=True)
        elif not channel.subscribers:
            del self._channels[channel.series]
        elif event.due_ms < channel.series.interval.end(channel.open_ms):
            if await self._send(channel, channel.open_ms, event.due_ms, closed=False):
                self._schedule(channel)
            else:
                self._enter(channel, channel.series.interval.end(channel.open_ms))
        else:
            await self._close(channel)

    async def _close(self, channel: _Channel) -> None:
        """Send a closing frame, or let a fault decide when it comes; then go on to the next kline."""
        open_ms, delay_ms = channel.open_ms, self._dice.closing_delay_ms()
        if delay_ms == 0:
            await self._send(channel, open_ms, channel.due_ms, closed=True)
        elif delay_ms is not None:
            heapq.heappush(self._heap, _Event(channel.due_ms + delay_ms, next(self._order), channel, open_ms))
        self._enter(channel, channel.series.interval.end(open_ms))

    async def _send(self, channel: _Channel, open_ms: int, event_ms: int, *, closed: bool) -> bool:
        """Render a kline once and hand it to everyone; whether the exchange has it."""
        series = channel.series
        kline = self._source.kline(series, open_ms)
        if kline is None:
            return False
        if not closed:
            kline = so_far(kline, event_ms, series.interval.end(open_ms))
        event = kline_event(series, kline, event_ms + self._dice.clock_error_ms(), closed=closed)
        combined = enveloped(channel.name, event)
        for subscriber in tuple(channel.subscribers):
            await subscriber.push(combined if subscriber.combined else event, wait=self._clock.is_free)
        self.closed += closed
        return True

    def _enter(self, channel: _Channel, from_ms: int) -> None:
        """Go on to the channel's next kline that opens at or after ``from_ms``, if there is one."""
        open_ms = self._source.next_open(channel.series, from_ms)
        channel.idle = open_ms is None
        if open_ms is not None:
            channel.open_ms = open_ms
            channel.due_ms = max(open_ms, self._clock.now_ms())
            self._schedule(channel)

    def _schedule(self, channel: _Channel) -> None:
        interval = channel.series.interval
        end_ms = interval.end(channel.open_ms)
        length = end_ms - channel.open_ms
        if self._updates is None:
            step = min(channel.series.market.facts.push_ms, length)
        else:
            step = max(1, length // (self._updates + 1))
        due_ms = channel.open_ms + ((channel.due_ms - channel.open_ms) // step + 1) * step
        if due_ms >= end_ms:
            due_ms = end_ms + _lateness_ms(channel.series, channel.open_ms)
        channel.due_ms = due_ms
        heapq.heappush(self._heap, _Event(due_ms, next(self._order), channel))


def _lateness_ms(series: Series, open_ms: int) -> int:
    """How long after a kline's end its closing frame comes: varied, but the same each time."""
    number = sum(map(ord, series.symbol))
    return _EARLIEST_LATENESS_MS + (number * 31 + open_ms // 1000 * 17) % _LATENESS_SPREAD_MS
