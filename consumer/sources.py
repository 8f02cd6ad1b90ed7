"""A writer's watch over whose candles it writes: the store's sources and the broker's have to agree."""

import time
from collections.abc import Iterable, Sequence
from typing import Any

from consumer.storage.interface import Storage
from consumer.storage.sources import SourceStore
from shared.broker.keys import Keys
from shared.broker.sources import claim, sources_of
from shared.market import Market
from shared.source import Sources

_LOOK_SECONDS = 2.0  # how soon it is noticed that a producer has begun to mix


class SourceWatch:
    """One writer's watch. With ``mix`` nothing is refused."""

    def __init__(self, client: Any, keys: Keys, storage: Storage, markets: Sequence[Market], *, mix: bool) -> None:
        self._client = client
        self._keys = keys
        self._store = SourceStore(storage)
        self._markets = markets
        self._mix = mix
        self._noted: dict[Market, Sources] = {}
        self._looked_at: dict[Market, float] = {}

    def greet(self) -> None:
        """Tell the broker whose candles the store has. SourceError when it has another exchange's."""
        self._looked_at.clear()
        for market in self._markets:
            stored = self._store.read(market)
            if stored:
                claim(self._client, self._keys, market, stored, mix=self._mix)

    def note(self, markets: Iterable[Market]) -> None:
        """Write down whose candles come now, before the first of them does.

        SourceError when the store has another exchange's, StoreError when it refuses, RedisError when the broker does.
        """
        now = time.monotonic()
        for market in markets:
            if now - self._looked_at.get(market, -_LOOK_SECONDS) < _LOOK_SECONDS:
                continue
            sources = sources_of(self._client, self._keys, market)
            if sources != self._noted.get(market, ()):
                self._store.check(market, sources, mix=self._mix)
                self._store.add(market, sources)
                self._noted[market] = sources
            self._looked_at[market] = now
