"""One weight budget for all hosts behind one public address: ``producers.exchange.weight``'s bucket, in the broker.

A change is read, made and written in one transaction that fails when somebody else was faster, and is then made again.
Times are the broker's. While the broker is away each host goes on with its own file, and with the ban that it knows of.
"""

import logging
import time
from collections.abc import Callable
from dataclasses import asdict
from math import ceil
from typing import TypeVar

import orjson
from redis.exceptions import NoPermissionError, RedisError, WatchError

from producers.exchange.weight import LONGEST_BAN_SECONDS, WeightBudget, WeightState, decode, pool
from shared.broker.client import CONNECTION_ERRORS, AsyncClient, async_client
from shared.broker.keys import Keys
from shared.market import Market
from shared.process.once import SayOnce
from shared.settings.model import Settings

log = logging.getLogger(__name__)

_T = TypeVar("_T")


def weight_budget(
    market: Market, settings: Settings, client: AsyncClient | None = None, *, patient: bool = False
) -> WeightBudget:
    """The budget that a process is to keep to: its host's, or that of all hosts behind ``exchange.address``.

    ``client`` stays its owner's; without one, the budget has its own until it is released.
    """
    if not settings.exchange.address:
        return WeightBudget(market, settings.exchange, patient=patient)
    return AddressBudget(market, settings, client, patient=patient)


class AddressBudget(WeightBudget):
    """The budget of a public address, in the broker."""

    def __init__(self, market: Market, settings: Settings, client: AsyncClient | None, *, patient: bool) -> None:
        super().__init__(market, settings.exchange, patient=patient)
        exchange = settings.exchange
        place = f"{pool(market)}{exchange.simulator and f' of {exchange.simulator}'}"
        self._key = Keys(settings.broker.prefix).weight(place, exchange.address)
        self._client = client or async_client(settings)
        self._is_ours = client is None
        self._closed_until, self._status = 0.0, 0  # what it knows of a ban, by this process's clock
        self._warn = SayOnce(log.warning)

    async def release(self) -> None:
        """Let go of a connection that is its own."""
        if self._is_ours:
            await self._client.aclose()

    async def _update(self, change: Callable[[WeightState, float], _T]) -> _T:
        try:
            found = await self._through_broker(change)
        except NoPermissionError:
            raise
        except (*CONNECTION_ERRORS, RedisError) as error:
            text = "weight is not shared with the hosts behind %s for now, the broker does not answer: %s"
            self._warn(text, self._key.rpartition(":")[2], error, same="away")
            return await super()._update(lambda state, now: change(self._with_ban(state, now), now))
        self._warn.reset()
        return found

    async def _through_broker(self, change: Callable[[WeightState, float], _T]) -> _T:
        async with self._client.pipeline(transaction=True) as pipeline:
            while True:
                await pipeline.watch(self._key)
                seconds, microseconds = await pipeline.time()
                value, now = await pipeline.get(self._key), seconds + microseconds / 1e6
                state = self._with_ban(decode(_bytes(value), now, self.limit) or WeightState(at=now), now)
                before = asdict(state)
                try:
                    found = change(state, now)
                finally:
                    self._closed_until = time.monotonic() + max(0.0, state.closed_until - now)
                    self._status = state.status
                if asdict(state) == before:
                    return found
                pipeline.multi()  # type: ignore[no-untyped-call] # redis-py's
                pipeline.set(self._key, orjson.dumps(asdict(state)), ex=ceil(LONGEST_BAN_SECONDS))
                try:
                    await pipeline.execute()
                except WatchError:
                    continue
                return found

    def _with_ban(self, state: WeightState, now: float) -> WeightState:
        """A state of this host's, with the ban that the broker told of last."""
        until = now + self._closed_until - time.monotonic()
        if until > max(now, state.closed_until):
            state.closed_until, state.status = until, self._status
        return state


def _bytes(value: bytes | str | None) -> bytes:
    """What GET answered, which redis-py types as whatever it may be asked to decode it to."""
    return value if isinstance(value, bytes) else b""
