"""REST request weight: one budget a pool and host, shared by all its processes through one small file.

The exchange counts the weight of every request of an IP address and minute, in one pool for spot and one for both
futures markets. Too much of it is answered 429, and with going on 418, a ban. So processes that share an address have
to agree, whether or not they share a broker: they keep a leaky bucket in a file, under ``flock``.

- A request is allowed when the bucket has room. It leaks as fast as our share of the limit allows and holds ten seconds
  of it (at least 50), so that a burst is quick and no minute exceeds the share by much.
- The exchange's own count, which comes with every answer (``X-MBX-USED-WEIGHT-1M``), includes what others behind the
  same address use. Above four fifths of the limit everyone here waits until that count is ten seconds old.
- 429 and 418 close the pool for all processes until ``Retry-After`` is over.
- Work that can wait (a backfill) leaves half of the bucket to work that cannot.

Times are of the monotonic clock, which all processes of a host share until it is booted again.
"""

import asyncio
import contextlib
import hashlib
import logging
import os
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TypeVar

import orjson

from shared.errors import PoolClosedError
from shared.market import Market
from shared.process.locks import try_lock
from shared.settings.sections import ExchangeSettings

log = logging.getLogger(__name__)

_BURST_SECONDS = 10.0
_CROWDED = 0.8  # of the exchange's limit, as it counts itself
_CROWDED_SECONDS = 10.0
LONGEST_BAN_SECONDS = 4 * 86_400.0  # the exchange's longest is three days
_LOCK_TRIES, _LOCK_PAUSE_SECONDS = 50, 0.01
_LONGEST_PAUSE_SECONDS = 5.0  # between two looks at a closed pool: another process may have learnt more


_T = TypeVar("_T")


def pool(market: Market) -> str:
    """The name of the pool that a market's requests are counted in."""
    return "spot" if market is Market.SPOT else "futures"


@dataclass(slots=True)
class WeightState:
    """A pool's bucket, as all who share it see it."""

    boot: str = ""  # tells one uptime of the host from another
    level: float = 0.0  # weight in the bucket at ``at``
    at: float = 0.0
    used: int = 0  # the exchange's own count, as seen at ``used_at``
    used_at: float = 0.0
    closed_until: float = 0.0  # nothing may be sent before
    status: int = 0  # the answer that closed the pool, 0 for none


@dataclass(frozen=True, slots=True)
class WeightReport:
    """A pool as ``candlewick status`` shows it: the exchange's own count, its limit, and how long it is closed."""

    used: int
    limit: int
    closed_seconds: float
    status: int


class WeightBudget:
    """One pool's budget, as seen by one process.

    A patient budget leaves half of the bucket to others, and waits while the pool is closed.
    """

    def __init__(
        self,
        market: Market,
        settings: ExchangeSettings,
        *,
        patient: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.limit = market.facts.weight_per_minute
        self._path = _file(pool(market), settings)
        self._rate = settings.weight_share * self.limit / 60
        self._room = max(self._rate * _BURST_SECONDS, 50.0)  # the heaviest request fits even into a small share
        self._patient = patient
        self._clock = clock
        self._own: WeightState | None = None

    async def acquire(self, weight: int) -> None:
        """Wait until a request of so much weight may be sent, and charge it.

        Raises:
            PoolClosedError: at once, when the exchange has closed the pool; a patient budget waits for that too.
        """
        while (seconds := await self._try(weight)) > 0:  # noqa: ASYNC110 # what is awaited lies in a file
            await asyncio.sleep(min(seconds, _LONGEST_PAUSE_SECONDS))

    async def used(self, used: int) -> None:
        """Take the exchange's own count from an answer."""

        def note(state: WeightState, now: float) -> None:
            state.used, state.used_at = used, now

        await self._update(note)

    async def close(self, seconds: float, status: int) -> None:
        """Nothing may be sent for so long: the exchange said so."""

        def close(state: WeightState, now: float) -> None:
            until = now + min(max(seconds, 1.0), LONGEST_BAN_SECONDS)
            if until > state.closed_until:
                state.closed_until, state.status = until, status

        await self._update(close)

    async def report(self) -> WeightReport:
        """How the pool is now."""

        def tell(state: WeightState, now: float) -> WeightReport:
            used = state.used if now - state.used_at < 60 else 0  # noqa: PLR2004 # the exchange counts by the minute
            closed = max(0.0, state.closed_until - now)
            return WeightReport(used, self.limit, round(closed, 1), state.status if closed else 0)

        return await self._update(tell)

    async def release(self) -> None:
        """Let go of what it is kept in; at the end."""

    async def _try(self, weight: int) -> float:
        """Charge a request if it may be sent; else the seconds to wait before the next try."""

        def charge(state: WeightState, now: float) -> float:
            state.level = max(0.0, state.level - (now - state.at) * self._rate)
            state.at = now
            if state.closed_until > now:
                if not self._patient:
                    raise PoolClosedError(state.closed_until - now, state.status)
                return state.closed_until - now
            if state.used >= _CROWDED * self.limit and now - state.used_at < _CROWDED_SECONDS:
                return _CROWDED_SECONDS - (now - state.used_at)
            room = self._room / 2 if self._patient else self._room
            if state.level > 0 and state.level + weight > room:
                return max((state.level + weight - room) / self._rate, 0.001)
            state.level += weight
            return 0.0

        return await self._update(charge)

    async def _update(self, change: Callable[[WeightState, float], _T]) -> _T:
        """Change the shared state, or look at it, alone; what ``change`` is told is the state and the time."""
        async with self._state() as state:
            return change(state, self._clock())

    @contextlib.asynccontextmanager
    async def _state(self) -> AsyncIterator[WeightState]:
        """The shared state, locked; what is changed in it is kept. Without a usable file: this process's own."""
        if self._own is not None:
            yield self._own
            return
        try:
            fd = await self._open()
        except OSError as error:
            yield self._use_own(error, WeightState(at=self._clock()))
            return
        try:
            state = self._read(fd)
            before = asdict(state)
            yield state
            if asdict(state) != before:
                self._write(fd, state)
        finally:
            os.close(fd)

    def _write(self, fd: int, state: WeightState) -> None:
        content = orjson.dumps(asdict(state))
        try:
            os.pwrite(fd, content + b" " * (256 - len(content)), 0)
        except OSError as error:
            self._use_own(error, state)

    def _use_own(self, error: OSError, state: WeightState) -> WeightState:
        """Keep the state in this process from now on: the file cannot be used."""
        log.warning("weight is not shared with other processes, %s cannot be used: %s", self._path, error)
        self._own = state
        return state

    async def _open(self) -> int:
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if self._path.parent.stat().st_uid != os.getuid():
            raise PermissionError(f"{self._path.parent} belongs to another user")
        fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        for _ in range(_LOCK_TRIES):
            if try_lock(fd):
                break
            await asyncio.sleep(_LOCK_PAUSE_SECONDS)  # whoever holds it for longer was stopped: go on without
        return fd

    def _read(self, fd: int) -> WeightState:
        """The file's state; a fresh one where it is empty, damaged, or of another uptime."""
        now = self._clock()
        fresh = WeightState(boot=_boot(), at=now)
        try:
            found = decode(os.pread(fd, 4096, 0), now, self.limit)
        except OSError:
            return fresh
        return found if found is not None and found.boot == fresh.boot else fresh


def decode(value: bytes, now: float, limit: int) -> WeightState | None:
    """A state as it was kept; None when it is none, or cannot be."""
    try:
        found = WeightState(**orjson.loads(value))
        plausible = found.at <= now + 1 and found.closed_until <= now + LONGEST_BAN_SECONDS
        plausible &= 0 <= found.level <= limit and found.used_at <= now + 1 and found.used + found.status >= 0
    except (ValueError, TypeError):
        return None
    return found if plausible else None


def _boot() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


def _file(name: str, settings: ExchangeSettings) -> Path:
    """One file a pool; a simulated exchange has pools of its own."""
    folder = settings.weight_folder or Path(tempfile.gettempdir()) / f"candlewick-{os.getuid()}"
    simulated = f"-{hashlib.sha256(settings.simulator.encode()).hexdigest()[:12]}" if settings.simulator else ""
    return Path(folder, f"weight-{name}{simulated}.json")
