"""The exchange's time as a process knows it: from frames while they come, from its own clock where that matters.

A frame's event time costs nothing and may be wrong; ``/time`` costs a request and decides. Many ask, and an exchange
that refuses is asked ever more slowly, whoever asks.
"""

import asyncio
import time
from collections.abc import Callable

from producers.exchange.event_time import EventTime
from producers.exchange.rest import RestClient
from shared.errors import RestRefusedError, RestUnavailableError
from shared.process.backoff import backoff

_PAUSE_SECONDS = 0.25
_TIME_SECONDS = 1.0  # between two questions for the exchange's time
_STALE_SECONDS = 5.0  # the WebSocket has said nothing newer for so long
_WRONG_BY_MS = 60_000  # an event time so far ahead of the exchange's own clock is none


class ExchangeClock:
    """The exchange's time: the newest event time, and the last answer to ``/time``."""

    def __init__(self, events: EventTime, rest: RestClient, monotonic: Callable[[], float] = time.monotonic) -> None:
        self.server_ms = 0
        self._events = events
        self._rest = rest
        self._monotonic = monotonic
        self._answered_at = -_TIME_SECONDS
        self._delays = backoff()
        self._refusal, self._refused_until = "", 0.0
        self._event_ms, self._event_at = 0, monotonic()

    @property
    def now_ms(self) -> int:
        """The newest time known, 0 before there is any. It is never ahead but for a frame with a wrong event time."""
        return max(self._events.newest_ms, self.server_ms)

    @property
    def heard_since_ms(self) -> int:
        """A time at which the process was listening already; 0 while nothing has come over the WebSocket."""
        return self._events.first_ms

    def is_stale(self) -> bool:
        """Whether nothing newer has been heard for some seconds."""
        return self.silent_seconds > _STALE_SECONDS

    @property
    def silent_seconds(self) -> float:
        """For how long nothing newer has been heard, neither over the WebSocket nor as an answer to ``/time``."""
        now = self._monotonic()
        if self._events.newest_ms > self._event_ms:
            self._event_ms, self._event_at = self._events.newest_ms, now
        return now - max(self._event_at, self._answered_at)

    @property
    def trouble(self) -> str:
        """Why the exchange did not tell its time when it was asked last; empty when it did."""
        return self._refusal

    async def ask(self, *, fresh: bool = False) -> int:
        """The exchange's own clock; unless ``fresh``, the last answer while that is less than a second old.

        RestUnavailableError says that it cannot be asked. It is raised without a question for a while after it was:
        up to half a minute, and longer with each question that failed.
        """
        now = self._monotonic()
        if not fresh and now - self._answered_at < _TIME_SECONDS:
            return self.server_ms
        if now < self._refused_until:
            raise RestUnavailableError(self._refusal, self._refused_until - now)
        try:
            self.server_ms = await self._rest.server_time_ms()
        except RestRefusedError as error:
            raise self._refused(RestUnavailableError(f"the exchange does not tell its time: {error}")) from None
        except RestUnavailableError as error:
            raise self._refused(error) from None
        self._answered_at = self._monotonic()
        self._delays = backoff()
        self._refusal, self._refused_until = "", 0.0  # another question may have failed while this one was under way
        self._events.confirm(self.server_ms)
        if self._events.newest_ms > self.server_ms + _WRONG_BY_MS:
            self._events.correct(self.server_ms)
            self._event_ms = self.server_ms
        return self.server_ms

    def _refused(self, error: RestUnavailableError) -> RestUnavailableError:
        """Let questions wait; one that was under way with another that failed counts once."""
        now = self._monotonic()
        self._refusal = str(error)
        if not error.seconds and now >= self._refused_until:  # whoever says how long is not asked before that anyway
            self._refused_until = now + next(self._delays)
        return error

    async def known(self) -> int:
        """Wait until the exchange's time is known: by its own clock, or from a frame while that cannot be asked."""
        while True:
            try:
                return await self.ask()
            except RestUnavailableError:
                if self.now_ms:
                    return self.now_ms
            await asyncio.sleep(_PAUSE_SECONDS)
