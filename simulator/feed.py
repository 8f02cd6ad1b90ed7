"""What the exchange pushes, and when.

Every subscribed channel has one next event: an open kline at the market's cadence, or the closing frame shortly
after the kline's end. Events lie in a heap by exchange time; one task waits for the earliest, renders it once and
hands it to the channel's subscribers. In free-running time it waits for slow subscribers instead of for the clock.
"""

import asyncio
import heapq
import itertools
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from shared.candle import Series
from simulator.clock import Clock
from simulator.frames import enveloped, kline_event
from simulator.klines import KlineSource, so_far

log = logging.getLogger(__name__)


class Subscriber(Protocol):
    """A connection, as the feed sees it."""

    combined: bool

    async def push(self, text: str, *, wait: bool) -> None:
        """Take one message; when it must not wait, a connection that is too slow is closed."""


@dataclass(slots=True)
class _Channel:
    name: str
    series: Series
    subscribers: set[Subscriber] = field(default_factory=set)
    open_ms: int = 0
    due_ms: int = 0


class Feed:
    """Pushes klines to subscribers.

    Args:
        source: where klines come from.
        clock: the exchange's time.
        updates: open frames a kline; None: at the market's own cadence.
        lateness_ms: the closing frame's delay after the kline's end, for a series and an open time.
        wait_for: the clock starts when so many channels are subscribed.
    """

    def __init__(
        self,
        source: KlineSource,
        clock: Clock,
        updates: int | None,
        lateness_ms: Callable[[Series, int], int],
        wait_for: int = 0,
    ) -> None:
        self.closed = 0
        self.ended = asyncio.Event()
        self._source = source
        self._clock = clock
        self._updates = updates
        self._lateness_ms = lateness_ms
        self._wait_for = wait_for
        self._channels: dict[Series, _Channel] = {}
        self._heap: list[tuple[int, int, _Channel]] = []
        self._order = itertools.count()
        self._woken = asyncio.Event()

    def subscribe(self, name: str, series: Series, subscriber: Subscriber) -> None:
        """Send a series' klines to a subscriber from now on. A series without klines is silent, as at the exchange."""
        channel = self._channels.get(series)
        if channel is None:
            channel = self._channels[series] = _Channel(name, series)
            self._enter(channel, series.interval.floor(self._clock.now_ms()))
        channel.subscribers.add(subscriber)
        if not self._clock.is_running and len(self._channels) >= self._wait_for:
            self._clock.start()
        self._woken.set()

    def unsubscribe(self, series: Series, subscriber: Subscriber) -> None:
        """Stop sending. The channel itself stays until its next event finds nobody."""
        channel = self._channels.get(series)
        if channel is not None:
            channel.subscribers.discard(subscriber)

    async def run(self) -> None:
        """Push events in the order of time, for ever."""
        while True:
            self._woken.clear()
            if not self._heap or not self._clock.is_running:
                if self._channels and not self._heap and not self.ended.is_set():
                    log.info("end of the data: nothing more to push")
                    self.ended.set()
                await self._woken.wait()
                continue
            due_ms = self._heap[0][0]
            if self._clock.wait_seconds(due_ms) > 0:
                waiting = asyncio.create_task(self._woken.wait())
                try:
                    await asyncio.wait({waiting}, timeout=self._clock.wait_seconds(due_ms))
                finally:
                    waiting.cancel()
                continue
            _, _, channel = heapq.heappop(self._heap)
            await self._clock.reach(due_ms)
            if channel.subscribers:
                await self._push(channel)
            else:
                del self._channels[channel.series]

    async def _push(self, channel: _Channel) -> None:
        series, open_ms, event_ms = channel.series, channel.open_ms, channel.due_ms
        kline = self._source.kline(series, open_ms)
        if kline is None:
            self._enter(channel, series.interval.end(open_ms))
            return
        end_ms = series.interval.end(open_ms)
        closed = event_ms >= end_ms
        event = kline_event(series, kline if closed else so_far(kline, event_ms, end_ms), event_ms, closed=closed)
        combined = enveloped(channel.name, event)
        for subscriber in tuple(channel.subscribers):
            await subscriber.push(combined if subscriber.combined else event, wait=self._clock.is_free)
        if closed:
            self.closed += 1
            self._enter(channel, end_ms)
        else:
            self._schedule(channel)

    def _enter(self, channel: _Channel, from_ms: int) -> None:
        """Go on to the channel's next kline that opens at or after ``from_ms``, if there is one."""
        open_ms = self._source.next_open(channel.series, from_ms)
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
            due_ms = end_ms + self._lateness_ms(channel.series, channel.open_ms)
        channel.due_ms = due_ms
        heapq.heappush(self._heap, (due_ms, next(self._order), channel))
