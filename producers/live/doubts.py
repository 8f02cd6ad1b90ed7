"""Candles that may lie in the future: whether they do, the exchange's own clock decides.

A frame may be wrong: a candle that ends beyond what the exchange's time can be by now would stand on disk before its
time, and move where its series ends. So it waits for an answer to ``/time``; while that cannot be had, it is left to
repair, which asks for it again.
"""

import asyncio
import logging
from collections.abc import Callable

from producers.exchange.clock import ExchangeClock
from producers.exchange.event_time import EventTime
from shared.candle import Candle
from shared.errors import RestUnavailableError
from shared.interval import utc
from shared.process.once import is_worth_a_line

log = logging.getLogger(__name__)

_SLACK_MS = 60_000  # clocks of the exchange's own machines differ
_MAX_DOUBTED = 10_000


class Doubts:
    """Takes candles in, and passes on to ``take`` those that are not in the future."""

    def __init__(self, events: EventTime, clock: ExchangeClock, take: Callable[[Candle], object]) -> None:
        self.refused = 0
        self._events = events
        self._clock = clock
        self._take = take
        self._doubted: list[Candle] = []
        self._any = asyncio.Event()

    def take(self, candle: Candle) -> None:
        """Take a candle. Never waits: one that is doubted is passed on later, or refused."""
        latest_ms = max(candle.event_time_ms, candle.end_time_ms - _SLACK_MS)
        if candle.end_time_ms - _SLACK_MS > candle.event_time_ms:
            self._refuse(candle, candle.event_time_ms)
        elif self._events.is_believable(latest_ms):
            self._take(candle)
        elif len(self._doubted) < _MAX_DOUBTED:
            self._doubted.append(candle)
            self._any.set()

    async def run(self) -> None:
        """Ask the exchange about what is doubted, for as long as the process lives."""
        while True:
            await self._any.wait()
            self._any.clear()
            doubted, self._doubted = self._doubted, []
            try:
                now_ms = await self._clock.ask(fresh=True)
            except RestUnavailableError as error:
                log.warning("%d candles may lie in the future, and the exchange does not tell: %s", len(doubted), error)
                continue
            for candle in doubted:
                if candle.end_time_ms - _SLACK_MS > now_ms:
                    self._refuse(candle, now_ms)
                else:
                    self._take(candle)

    def _refuse(self, candle: Candle, now_ms: int) -> None:
        self.refused += 1
        if is_worth_a_line(self.refused):
            text = "refused a candle of %s that ends at %s: for the exchange it is %s"
            log.error(text, candle.series, utc(candle.end_time_ms), utc(now_ms))
