"""Tells producers up to where the disk has each series: a broker that is new, or lost something, does not know.

A producer that finds no checkpoint of a series continues there, and so does one whose stream was lost (docs/design.md,
"Where a series continues"). It asks, and takes only the answer to its own question: a fail-over may bring an older one
back. A broker that holds no answer at all is new, or was emptied: it is told unasked.
"""

import contextlib
import logging
from collections.abc import Collection, Sequence
from typing import Any

from redis.exceptions import OutOfMemoryError

from consumer.dataset.dataset import Dataset
from consumer.dataset.figures import unbroken_ends
from shared.broker.keys import ASKED, RECORDED, STORED_AT, Keys
from shared.market import Market

log = logging.getLogger(__name__)

_REFUSED_SECONDS = 30.0


class StoredEnds:
    """What one writer tells. A broker keeps entries for ``retention_ms``: what it lost is no older."""

    def __init__(self, client: Any, keys: Keys, dataset: Dataset, markets: Sequence[Market], retention_ms: int) -> None:
        self._client = client
        self._keys = keys
        self._dataset = dataset
        self._markets = markets
        self._retention_ms = retention_ms
        self._not_before = 0.0

    def answer(self, now: float) -> None:
        """Look at the disk, and tell, of each market of which somebody asks."""
        if now < self._not_before:
            return
        for market in self._markets:
            asked, told = self._client.hmget(self._keys.stored(market), ASKED, STORED_AT)
            if told is None or asked not in (None, told):
                self._tell(market, asked or b"-", now)

    def add_new(self) -> None:
        """Tell of series that have come to the disk by another way than the broker, such as a backfill."""
        for market in self._markets:
            told = {name.decode() for name in self._client.hkeys(self._keys.stored(market))}
            new = self._found(market, told) if STORED_AT in told else {}
            if new:
                with contextlib.suppress(OutOfMemoryError):  # a broker that is full: they begin as new ones
                    self._client.hset(self._keys.stored(market), mapping=new)

    def _tell(self, market: Market, question: bytes, now: float) -> None:
        """Answer a question that was asked before the disk is looked at; one that is asked meanwhile stays."""
        key, found = self._keys.stored(market), self._found(market)
        told = {name.decode() for name in self._client.hkeys(key)} - {ASKED}
        pipeline = self._client.pipeline(transaction=True)
        if told - found.keys():
            pipeline.hdel(key, *told - found.keys())
        pipeline.hset(key, mapping=found | {STORED_AT: question})
        try:
            pipeline.execute()
        except OutOfMemoryError as error:  # a broker that is full can still be read: try again later
            log.debug("what is stored cannot be told: %s", error)
            self._not_before = now + _REFUSED_SECONDS

    def _found(self, market: Market, told: Collection[str] = ()) -> dict[Any, Any]:
        """The fields of those of a market's series that are on disk and not told yet."""
        series = [one for one in self._dataset.series() if one.market is market and one.field not in told]
        ends = unbroken_ends(self._dataset, series, self._retention_ms)
        found = {one.field: end.end_ms for one, end in ends.items()}
        return found | {f"{RECORDED}{one.field}": 1 for one, end in ends.items() if end.is_recorded}
