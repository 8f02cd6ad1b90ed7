"""A producer among those that share its market: what it says of itself, and how the series are divided now.

Each writes its own field of one hash once a second, with the broker's time, and reads what the others wrote. Whoever
has said nothing for ``sharing.lost_seconds`` of that time is taken for dead. One that has lost sight of the broker
keeps the share that it has; when it can say something again after so long, it begins a new life among the others, who
do not rely on what it said before.
"""

import asyncio
import hashlib
import logging
import time
from collections.abc import Callable, Mapping
from typing import Protocol

import orjson
from redis.exceptions import NoPermissionError, RedisError

from producers.exchange.clock import ExchangeClock
from producers.live.connections import CandleListener
from producers.live.members import Division, Member
from producers.live.share import Share
from shared.broker.client import CONNECTION_ERRORS, AsyncClient
from shared.broker.heartbeat import host_name, process_name
from shared.broker.keys import Keys
from shared.market import Market
from shared.settings.model import Settings
from shared.text import counted, listed

log = logging.getLogger(__name__)

_BEAT_SECONDS = 1.0
_FIRST_SECONDS = 1.0  # how long a start waits to see who else there is
_DEAF_SECONDS = 15.0  # neither a kline nor an answer to /time for so long
_FORGET_MS = 3_600_000  # a field that is so old is taken away


class Sharer(Protocol):
    """Who records this process's share."""

    @property
    def settled_in(self) -> str:
        """The set of members (``Division.digest``) of which it delivers its whole share; empty: of none."""


class Sharing:
    """Tells the others of this process, and keeps ``division`` as they are."""

    def __init__(
        self,
        client: AsyncClient,
        market: Market,
        settings: Settings,
        share: Share,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.redundancy = settings.sharing.redundancy
        me = Member(process_name(), settings.sharing.host or host_name(), 0, team(market, settings, share))
        self.division = Division(me, (), self.redundancy)
        self.is_leaving = False  # whether it is about to stop: the others take over what it does
        self._me = me
        self._client = client
        self._key = Keys(settings.broker.prefix).members(market)
        self._lost_seconds = settings.sharing.lost_seconds
        self._monotonic = monotonic
        self._said_at: float | None = None
        self._said_ms = 0  # the same by the broker's clock
        self._heard_at = monotonic()
        self._has_looked, self._changed = asyncio.Event(), asyncio.Event()

    @property
    def lacking(self) -> int:
        """How many producers there should be for each series to be recorded as often as is wanted, and are not."""
        return max(0, self.redundancy - len(self.division.members))

    async def run(self, sharer: Sharer, listener: CandleListener, clock: ExchangeClock) -> None:
        """Say how this process is and look at the others, for as long as it lives."""
        while True:
            try:
                await self.beat(sharer.settled_in, hears=self._hears(listener, clock) and not self.is_leaving)
            except NoPermissionError:
                raise
            except (*CONNECTION_ERRORS, RedisError) as error:
                log.debug("who else records is not known: %s", error)
            self._has_looked.set()
            await asyncio.sleep(_BEAT_SECONDS)

    async def first_look(self) -> None:
        """Return as soon as it is known who else there is, or cannot be told soon."""
        try:
            await asyncio.wait_for(self._has_looked.wait(), _FIRST_SECONDS)
        except TimeoutError:
            log.debug("who else records is not known yet")

    async def hand_over(self, is_handed_over: Callable[[], bool]) -> None:
        """Tell the others to take over what this process does; returns when they have, or there is nobody."""
        self.is_leaving = True
        while self.division.others_hear and not (self.division.is_out and is_handed_over()):
            self._changed.clear()
            await self._changed.wait()

    async def beat(self, settled: str, *, hears: bool) -> None:
        """Say how this process is, and look at the others; raises what redis-py raises while the broker is away."""
        now = self._monotonic()
        pipeline = self._client.pipeline(transaction=True)
        pipeline.time()
        pipeline.hgetall(self._key)
        (seconds, microseconds), found = await pipeline.execute()
        at_ms = seconds * 1000 + microseconds // 1000
        me = self._me
        lost_ms = self._lost_seconds * 1000
        is_late = self._said_at is None or now - self._said_at > self._lost_seconds
        if is_late or at_ms - self._said_ms > lost_ms:  # this clock may have stood still with its machine
            me, settled = me._replace(life=at_ms), ""  # the others may have divided all without it
        me = me._replace(hears=hears, settled=settled)
        await self._client.hset(self._key, me.name, me.encode(at_ms))
        self._said_at, self._said_ms, self._me = now, at_ms, me
        others, old = self._others(found, at_ms)
        if old:
            await self._client.hdel(self._key, *old)
        self._take(Division(me, others, self.redundancy))

    async def leave(self) -> None:
        """Take this process's field away, at its orderly end: the others need not wait until it is taken for dead."""
        await self._client.hdel(self._key, self._me.name)

    def _others(self, found: Mapping[bytes, bytes], at_ms: int) -> tuple[list[Member], list[str]]:
        """Who else lives, and the fields of those who have been dead for long.

        A time in the future is an old one: another server has taken over, whose clock is behind.
        """
        others, old = [], []
        for name, value in found.items():
            member, said_ms = Member.decode(value) or (None, 0)
            if abs(at_ms - said_ms) > _FORGET_MS:
                old.append(name.decode())
            elif member is not None and abs(at_ms - said_ms) <= self._lost_seconds * 1000:
                others.append(member)
        return others, old

    def _take(self, division: Division) -> None:
        """Go by a division, if it is another one, and say who came and who went."""
        if division == self.division:
            return
        before = {member.name: member for member in self.division.members}
        now = {member.name: member for member in division.members}
        self.division = division
        self._changed.set()
        for text, names in (("gone", before.keys() - now.keys()), ("here", now.keys() - before.keys())):
            if others := sorted(names - {division.me.name}):
                verb = "is" if len(others) == 1 else "are"
                sharers = counted(len(now), "producer records", "producers share")
                log.info("%s %s %s: %s the market's series", listed(others), verb, text, sharers)

    def _hears(self, listener: CandleListener, clock: ExchangeClock) -> bool:
        """Whether the exchange is heard, or has fallen silent only just now."""
        now = self._monotonic()
        delivering, wanted = listener.connections
        if delivering or not wanted:
            self._heard_at = now
        return now - self._heard_at <= _DEAF_SECONDS and (not wanted or clock.silent_seconds <= _DEAF_SECONDS)


def team(market: Market, settings: Settings, share: Share) -> str:
    """What has to be the same for producers to share a market's series: others may want what this one does not know."""
    wanted = {
        "groups": [group.model_dump(mode="json") for group in settings.groups(market)],
        "history": settings.history,
        "source": settings.exchange.source(market),
        "redundancy": settings.sharing.redundancy,
    }
    digest = hashlib.blake2b(orjson.dumps(wanted, option=orjson.OPT_SORT_KEYS), digest_size=6).hexdigest()
    return f"{share} {digest}"
