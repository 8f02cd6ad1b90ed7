"""A writer's watch over whose candles it writes: the store's sources and the broker's have to agree."""

import logging
import time
from collections.abc import Iterable, Sequence
from typing import Any

from consumer.storage.interface import Storage
from consumer.storage.sources import SourceStore
from shared.broker.keys import Keys
from shared.broker.sources import claim, sources_of
from shared.errors import StoreError
from shared.market import Market
from shared.process.once import SayOnce
from shared.settings.sections import ExchangeSettings
from shared.source import Sources

log = logging.getLogger(__name__)

_LOOK_SECONDS = 2.0  # how soon it is noticed that a producer has begun to mix


class SourceWatch:
    """One writer's watch. Nothing is refused where sources may mix; a disk that refuses is told, and asked again."""

    def __init__(
        self, client: Any, keys: Keys, storage: Storage, markets: Sequence[Market], exchange: ExchangeSettings
    ) -> None:
        self._client = client
        self._keys = keys
        self._store = SourceStore(storage, quarantines=True)
        self._markets = markets
        self._mix = exchange.mix_sources
        self._noted: dict[Market, Sources] = {}
        self._looked_at: dict[Market, float] = {}
        self._unwritten: dict[Market, Sources] = {}
        self._warn = SayOnce(log.warning)

    def greet(self) -> None:
        """Tell the broker whose candles the store has. SourceError when it has another exchange's."""
        self._looked_at.clear()
        for market in self._markets:
            try:
                stored = self._store.read(market)
                if stored:
                    self._store.check(market, claim(self._client, self._keys, market, stored), mix=self._mix)
            except StoreError as error:
                self._warn("whose candles of %s are stored is not known: %s", market, error, same=market)

    def note(self, markets: Iterable[Market]) -> None:
        """Write down whose candles come now, before the first of them is stored; see ``refused`` where that fails.

        SourceError when the store has another exchange's, RedisError when the broker refuses.
        """
        now = time.monotonic()
        for market in markets:
            if now - self._looked_at.get(market, -_LOOK_SECONDS) < _LOOK_SECONDS:
                continue
            self._looked_at[market] = now
            sources = sources_of(self._client, self._keys, market)
            if sources == self._noted.get(market):
                continue
            self._unwritten[market] = sources
            error = self.refused(market)
            if error is not None:
                self._warn("whose candles of %s come is not written down yet: %s", market, error, same=market)

    def refused(self, market: Market) -> StoreError | None:
        """Why a market's candles cannot be stored yet: whose they are could not be written down. It is tried again.

        SourceError when the store has another exchange's.
        """
        sources = self._unwritten.get(market)
        if sources is None:
            return None
        try:
            self._store.check(market, sources, mix=self._mix)
            self._store.add(market, sources)
        except StoreError as error:
            return error
        self._noted[market] = sources
        self._unwritten.pop(market, None)
        return None
