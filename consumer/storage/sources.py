"""Which exchange the store's candles come from (``shared.source``): one small JSON file a market, beside the dataset.

    data/ledger/market=spot/sources.json        {"sources": ["binance"]}

It is written before a market's first candle is, without a name where the broker, emptied in that instant, knows none.
Candles of before 0.1.0 have no such file, and count as Binance's.
"""

from typing import Any

import orjson

from consumer.storage.interface import NO_VERSION, Change, Storage, Version
from consumer.storage.layout import market_folder, sources_key
from shared.errors import DamagedFileError, StoreError, VersionChangedError
from shared.market import Market
from shared.source import BINANCE, Sources, merged

_TRIES = 50


class SourceStore:
    """The sources of a storage's candles.

    A file that is damaged or not ours is quarantined if the store ``quarantines``; otherwise it stays, and cannot be
    written.
    """

    def __init__(self, storage: Storage, *, quarantines: bool = False) -> None:
        self._storage = storage
        self._quarantines = quarantines

    def read(self, market: Market) -> Sources:
        """The sources of a market's candles; empty where there are none. StoreError when the file cannot be read."""
        return self._read(market)[1]

    def check(self, market: Market, sources: Sources, *, mix: bool) -> Sources:
        """The sources once candles of these are here. SourceError when one of them is another exchange's."""
        return merged(self.read(market), sources, f"the store in {self._storage.name}", market, mix=mix)

    def add(self, market: Market, sources: Sources) -> None:
        """Note that candles come from here, durably; no sources: from nobody knows where, yet.

        StoreError when the storage refuses.
        """
        for _ in range(_TRIES):
            version, known = self._read(market)
            wanted = tuple(dict.fromkeys((*known, *sources)))
            if wanted == known and version is not NO_VERSION:
                return
            (result,) = self._storage.replace([[Change(sources_key(market), version, _encode(wanted))]])
            if not isinstance(result, VersionChangedError):
                break
        if isinstance(result, StoreError):
            raise result

    def _read(self, market: Market) -> tuple[Version, Sources]:
        key = sources_key(market)
        found = self._storage.read(key)
        if found is None:  # candles of before 0.1.0 are real ones: the demonstration had folders of its own
            has_any = self._storage.list_folder(market_folder(market)).folders
            return NO_VERSION, (BINANCE,) if has_any else ()
        try:
            return found.version, _decode(found.content)
        except (ValueError, TypeError, KeyError) as error:
            reason = f"{self._storage.name}/{key} does not name sources: {error}"
            if not self._quarantines:
                raise DamagedFileError(reason) from None
            return self._storage.quarantine(key, found.version, reason, _encode(())), ()


def _encode(sources: Sources) -> bytes:
    return orjson.dumps({"sources": sources}, option=orjson.OPT_APPEND_NEWLINE)


def _decode(content: bytes) -> Sources:
    found: Any = orjson.loads(content)["sources"]
    if not isinstance(found, list) or not all(isinstance(name, str) for name in found):
        raise TypeError("sources are a list of names")
    return tuple(found)
