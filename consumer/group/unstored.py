"""What is published and not stored yet, for whoever reads: the stream behind the writers, without joining their group.

A read that joins stream and disk misses nothing because of its order: first the group is asked for its oldest entry
that is not acknowledged, then the stream from there to its end, and only then the caller reads the disk. What was
acknowledged before is on disk; what was not is here. What is in both is one candle after all: merging is by key.

Each look goes on where the last one ended, and forgets what has been acknowledged since. A stream that is not the one
any more that was read last (emptied, or another server's) is read anew.
"""

import threading
from collections import deque
from collections.abc import Iterator, Mapping
from typing import Any

from shared.broker.client import SyncClient
from shared.broker.entry import EntryId, decode_entry
from shared.broker.keys import Keys
from shared.broker.paging import pages
from shared.candle import Candle, Series
from shared.errors import MalformedCandleError
from shared.market import Market
from shared.series_fact import SeriesFact

BEGINNING = EntryId(0, 0)


class UnstoredEntries:
    """A market's entries that no writer of ``group`` has acknowledged, as of the last ``look``. Safe to share.

    Attributes:
        end: the id of the newest entry that was seen, whether or not it is still here.
    """

    def __init__(self, client: SyncClient, keys: Keys, market: Market, group: str) -> None:
        self.end = BEGINNING
        self._client: Any = client
        self._stream = keys.candles(market)
        self._market = market
        self._group = group
        self._begin = BEGINNING  # entries before this one were acknowledged when they were looked at
        self._newest: Mapping[bytes, bytes] | None = None  # the fields of the entry ``end``
        self._order: deque[tuple[EntryId, Series]] = deque()
        self._items: dict[Series, deque[Candle | SeriesFact]] = {}
        self._mutex = threading.Lock()

    def look(self) -> None:
        """Ask the broker; read the disk only afterwards. redis.RedisError when it is away."""
        with self._mutex:
            oldest = self._oldest_needed()
            if oldest < self._begin or not self._is_same_stream():
                self._order.clear()
                self._items.clear()
                self.end, self._newest = BEGINNING, None
            self._begin = oldest
            self._forget(oldest)
            self._read(max(oldest, self.end.next))

    def candles(self, series: Series) -> list[Candle]:
        """The candles of a series that are here, in the order in which they were published, perhaps with repeats."""
        with self._mutex:
            return [item for item in self._items.get(series, ()) if isinstance(item, Candle)]

    def facts(self, series: Series) -> list[SeriesFact]:
        """The facts about a series that are here."""
        with self._mutex:
            return [item for item in self._items.get(series, ()) if isinstance(item, SeriesFact)]

    @property
    def series(self) -> frozenset[Series]:
        """Every series of which a candle or fact is here."""
        with self._mutex:
            return frozenset(self._items)

    def _oldest_needed(self) -> EntryId:
        groups = self._client.xinfo_groups(self._stream) if self._client.exists(self._stream) else []
        ours = next((group for group in groups if group["name"] == self._group.encode()), None)
        if ours is None:  # nobody has read it: all that stands in it
            first = self._client.xrange(self._stream, count=1)
            return EntryId.parse(first[0][0]) if first else BEGINNING
        pending = self._client.xpending(self._stream, self._group)["min"]
        return EntryId.parse(pending) if pending else EntryId.parse(ours["last-delivered-id"]).next

    def _is_same_stream(self) -> bool:
        """Whether the newest entry that was seen still stands where it stood; what is trimmed was seen to be stored."""
        if self._newest is None:
            return True
        found = self._client.xrange(self._stream, min=f"{self.end}", max=f"{self.end}")
        return bool(found) and found[0][1] == self._newest

    def _forget(self, oldest: EntryId) -> None:
        while self._order and self._order[0][0] < oldest:
            _, series = self._order.popleft()
            items = self._items[series]
            items.popleft()
            if not items:
                del self._items[series]

    def _read(self, first: EntryId) -> None:
        for number, fields in self._entries(first):
            self.end, self._newest = number, fields
            try:
                item = decode_entry(self._market, fields)
            except MalformedCandleError:  # a writer makes a dead letter of it
                continue
            self._order.append((number, item.series))
            self._items.setdefault(item.series, deque()).append(item)

    def _entries(self, first: EntryId) -> Iterator[tuple[EntryId, Mapping[bytes, bytes]]]:
        for page in pages(self._client, self._stream, f"{first}"):
            for number, fields in page:
                yield EntryId.parse(number), fields
