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
from shared.process.once import SayOnce, is_worth_a_line
from shared.text import counted

log = logging.getLogger(__name__)

_SLACK_MS = 60_000  # clocks of the exchange's own machines differ
_REPEAT_WARNING_SECONDS = 60.0


class Doubts:
    """Takes candles in, and passes on to ``take`` those that are not in the future."""

    def __init__(self, events: EventTime, clock: ExchangeClock, take: Callable[[Candle], object]) -> None:
        self.refused = 0
        self._events = events
        self._clock = clock
        self._take = take
        self._doubted: list[Candle] = []
        self._any = asyncio.Event()
        self._warn = SayOnce(log.warning, _REPEAT_WARNING_SECONDS)

    def take(self, candle: Candle) -> None:
        """Take a candle. Never waits: one that is doubted is passed on later, or refused."""
        latest_ms = max(candle.event_time_ms, candle.end_time_ms - _SLACK_MS)
        if candle.end_time_ms - _SLACK_MS > candle.event_time_ms:
            self._refuse(candle, candle.event_time_ms)
        elif self._events.is_believable(latest_ms):
            self._take(candle)
        else:
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
                text = "%s may lie in the future, and the exchange does not tell: left to repair: %s"
                self._warn(text, counted(len(doubted), "candle"), error, same="untold")
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
