"""The exchange's time as a process knows it: from frames while they come, from its own clock where that matters.

A frame's event time costs nothing and may be wrong; ``/time`` costs a request and decides.
"""

import asyncio
import time

from producers.exchange.connection import Counters
from producers.exchange.rest import RestClient, RestRefusedError, RestUnavailableError

_PAUSE_SECONDS = 0.25
_TIME_SECONDS = 1.0  # between two questions for the exchange's time
_STALE_SECONDS = 5.0  # the WebSocket has said nothing newer for so long
_WRONG_BY_MS = 60_000  # an event time so far ahead of the exchange's own clock is none


class MarketTime:
    """The exchange's time as one process knows it: the newest event time, and the last answer to ``/time``.

    Args:
        counters: where the listener notes the newest event time.
        rest: asked for the time.
    """

    def __init__(self, counters: Counters, rest: RestClient) -> None:
        self.server_ms = 0
        self._counters = counters
        self._rest = rest
        self._answered_at = -_TIME_SECONDS
        self._event_ms, self._event_at = 0, time.monotonic()

    @property
    def now_ms(self) -> int:
        """The newest time known, 0 before there is any. It is never ahead but for a frame with a wrong event time."""
        return max(self._counters.event_time_ms, self.server_ms)

    @property
    def heard_since_ms(self) -> int:
        """A time at which the process was listening already; 0 while nothing has come over the WebSocket."""
        return self._counters.heard_since_ms

    @property
    def is_stale(self) -> bool:
        """Whether nothing newer has been heard over the WebSocket for some seconds."""
        if self._counters.event_time_ms > self._event_ms:
            self._event_ms, self._event_at = self._counters.event_time_ms, time.monotonic()
        return time.monotonic() - max(self._event_at, self._answered_at) > _STALE_SECONDS

    async def ask(self, *, fresh: bool = False) -> int:
        """The exchange's own clock, asked at most once a second; what it was at the last answer otherwise.

        Args:
            fresh: ask in any case.

        Raises:
            RestUnavailableError: when it cannot be asked.
        """
        if not fresh and time.monotonic() - self._answered_at < _TIME_SECONDS:
            return self.server_ms
        try:
            self.server_ms = await self._rest.server_time_ms()
            self._answered_at = time.monotonic()
        except RestRefusedError as error:
            raise RestUnavailableError(f"the exchange does not tell its time: {error}") from None
        if self._counters.event_time_ms > self.server_ms + _WRONG_BY_MS:
            self._counters.event_time_ms = self._event_ms = self.server_ms
        return self.server_ms


async def exchange_time(clock: MarketTime) -> int:
    """Wait until the exchange's time is known: from its own clock, or from a frame while that cannot be asked."""
    while True:
        try:
            return await clock.ask()
        except RestUnavailableError:
            if clock.now_ms:
                return clock.now_ms
        await asyncio.sleep(_PAUSE_SECONDS)
