"""The request weight of one pool and IP: what is used this minute, and when the pool is closed.

A pool is open, or closed until a moment with a status: 429 where a minute's weight is used up or a fault says so, 418
where calls went on all the same. A closed pool refuses every call. Callers learn of it by the first refusal; calls that
come within a second of that were on the wire already, and are counted apart from those whose caller should have known.
"""

import math
import time
from collections.abc import Callable
from typing import NamedTuple

ALREADY_ON_THE_WIRE_SECONDS = 1.0
_WARNINGS_BEFORE_BAN = 10
_BAN_SECONDS = 120
_MINUTE_SECONDS = 60


class Refusal(NamedTuple):
    """A status and the whole seconds to stay away."""

    status: int
    seconds: int


class _Closure(NamedTuple):
    status: int
    told: float | None
    until: float
    warns: bool


_OPEN = _Closure(0, None, 0.0, warns=False)


class Weights:
    """One pool.

    Attributes:
        used: weight used this minute of real time.
        requests: calls since the start, refused ones included.
        klines: those of them that asked for klines.
        total: weight charged since the start.
        calls_while_banned: calls that came while the pool was closed, and too late to have been on the wire.
        calls_on_the_wire: calls that came within a second of a closure's first refusal.

    Args:
        limit: weight allowed a minute.
        now: seconds of a clock that never goes back.
    """

    def __init__(self, limit: int, now: Callable[[], float] = time.monotonic) -> None:
        self.used = 0
        self.requests = 0
        self.klines = 0
        self.total = 0
        self.calls_while_banned = 0
        self.calls_on_the_wire = 0
        self._limit = limit
        self._now = now
        self._minute = 0
        self._warnings = 0
        self._closure = _OPEN

    def charge(self, weight: int) -> Refusal | None:
        """Charge a call; None when it is allowed."""
        self.requests += 1
        now = self._now()
        if now < self._closure.until:
            return self._refuse(now)
        minute = int(now // _MINUTE_SECONDS)
        if minute != self._minute:
            self._minute, self.used = minute, 0
        self.used += weight
        self.total += weight
        if self.used <= self._limit:
            return None
        self._warnings = 1
        return self._close(429, (minute + 1) * _MINUTE_SECONDS - now, warns=True)

    def close(self, status: int, seconds: float, *, told: bool = True) -> Refusal:
        """Refuse every call from now on with this status, for so many seconds.

        Args:
            status: 429 or 418.
            seconds: for how long, in real time.
            told: whether a caller is told of it now; otherwise the next call is the first to learn of it.
        """
        return self._close(status, seconds, warns=False, told=told)

    @property
    def closed_seconds(self) -> float:
        """How long the pool is still closed."""
        return max(0.0, self._closure.until - self._now())

    def _refuse(self, now: float) -> Refusal:
        if self._closure.told is None:
            self._closure = self._closure._replace(told=now)
        elif now - self._closure.told < ALREADY_ON_THE_WIRE_SECONDS:
            self.calls_on_the_wire += 1
        else:
            self.calls_while_banned += 1
        if self._closure.warns:
            self._warnings += 1
            if self._warnings > _WARNINGS_BEFORE_BAN:
                return self._close(418, _BAN_SECONDS, warns=False)
        return Refusal(self._closure.status, _whole(self._closure.until - now))

    def _close(self, status: int, seconds: float, *, warns: bool, told: bool = True) -> Refusal:
        now = self._now()
        self._closure = _Closure(status, now if told else None, now + seconds, warns)
        return Refusal(status, _whole(seconds))


def _whole(seconds: float) -> int:
    """Seconds for ``Retry-After``: who waits so long is not too early."""
    return max(1, math.ceil(seconds))
