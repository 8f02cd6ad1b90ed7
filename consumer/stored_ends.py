"""Tells producers where each series ends on disk: a broker that is new, or was emptied, does not know.

A producer that finds no checkpoint of a series continues there (docs/design.md, "Where a series continues").
"""

import logging
import time
from collections.abc import Sequence
from typing import Any

from redis.exceptions import ResponseError

from consumer.dataset.dataset import Dataset
from consumer.dataset.figures import newest_ends, unbroken_ends
from shared.broker.keys import STORED_AT, Keys
from shared.market import Market

log = logging.getLogger(__name__)


class StoredEnds:
    """What one writer tells. A broker keeps entries for ``retention_ms``: what it lost is no older."""

    def __init__(self, client: Any, keys: Keys, dataset: Dataset, markets: Sequence[Market], retention_ms: int) -> None:
        self._client = client
        self._keys = keys
        self._dataset = dataset
        self._markets = markets
        self._retention_ms = retention_ms
        self._told_after = 0
        self.was_refused = False

    def tell(self, groups_created: int) -> None:
        """Tell where each series ends; ``groups_created`` is how often a consumer group had to be made.

        A broker whose groups had to be made is new, or has lost what nobody had stored: candles older than the newest
        on disk, perhaps. Then it is told where the first hole is.
        """
        self._told_after, self.was_refused = groups_created, False
        if groups_created:
            ends = unbroken_ends(self._dataset, self._markets, self._retention_ms)
        else:
            ends = newest_ends(self._dataset, self._markets)
        for market in self._markets:
            found: Any = {series.field: end_ms for series, end_ms in ends.items() if series.market is market}
            try:
                self._client.hset(self._keys.stored(market), mapping=found | {STORED_AT: time.time_ns() // 1_000_000})
            except ResponseError as error:  # a broker that is full can still be read: try again later
                log.debug("what is stored cannot be told: %s", error)
                self.was_refused = True

    def tell_again(self, groups_created: int) -> None:
        """Tell once more if a group had to be made since the last time."""
        if groups_created > self._told_after and not self.was_refused:
            self.tell(groups_created)
