"""Which exchange the store's candles come from (``shared.source``): one small JSON file a market, beside the dataset.

    data/ledger/market=spot/sources.json        {"sources": ["binance"]}

It is written before a market's first candle is. A store of before 0.1.0 has none, until a candle comes.
"""

from typing import Any

import orjson

from consumer.storage.interface import NO_VERSION, Change, Storage, Version
from consumer.storage.layout import sources_key
from shared.errors import DamagedFileError, StoreError, VersionChangedError
from shared.market import Market
from shared.source import Sources, merged

_TRIES = 50


class SourceStore:
    """The sources of a storage's candles."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage

    def read(self, market: Market) -> Sources:
        """The sources of a market's candles; empty where nobody has said. StoreError when the file cannot be read."""
        return self._read(sources_key(market))[1]

    def check(self, market: Market, sources: Sources, *, mix: bool) -> Sources:
        """The sources once candles of these are here. SourceError when they may not be."""
        return merged(self.read(market), sources, f"the store in {self._storage.name}", market, mix=mix)

    def add(self, market: Market, sources: Sources) -> None:
        """Note that candles come from here, durably. StoreError when the storage refuses."""
        for _ in range(_TRIES):
            version, known = self._read(sources_key(market))
            wanted = merged(known, sources, "", market, mix=True)
            if wanted == known:
                return
            content = orjson.dumps({"sources": wanted}, option=orjson.OPT_APPEND_NEWLINE)
            (result,) = self._storage.replace([[Change(sources_key(market), version, content)]])
            if not isinstance(result, VersionChangedError):
                break
        if isinstance(result, StoreError):
            raise result

    def _read(self, key: str) -> tuple[Version, Sources]:
        found = self._storage.read(key)
        if found is None:
            return NO_VERSION, ()
        try:
            return found.version, _decode(found.content)
        except (ValueError, TypeError, KeyError) as error:
            raise DamagedFileError(f"{self._storage.name}/{key} does not name sources: {error}") from None


def _decode(content: bytes) -> Sources:
    found: Any = orjson.loads(content)["sources"]
    if not isinstance(found, list) or not all(isinstance(name, str) for name in found):
        raise TypeError("sources are a list of names")
    return tuple(found)
