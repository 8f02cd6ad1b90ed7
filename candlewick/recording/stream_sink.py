"""A replay into streams: entries in the live form, so that no consumer can tell.

The broker's memory is bounded, for the recording may be in it, too: beyond a number of entries the replay waits for the
groups that read its stream, and lets go what all of them have acknowledged.
"""

import logging
import time
from collections.abc import Iterable
from typing import Any

from candlewick.recording.delivered import Arrived
from candlewick.recording.replay import Gap
from consumer.group.retention import Retention, Trimmer
from consumer.storage.table import VALUE_COLUMNS
from shared.broker.client import SyncClient
from shared.broker.entry import encode_entry
from shared.broker.keys import Keys
from shared.broker.sources import claim
from shared.candle import Candle
from shared.errors import SettingsError
from shared.market import Market
from shared.process.once import SayOnce
from shared.source import Sources
from shared.text import decimal_text

log = logging.getLogger(__name__)

_MAX_ENTRIES = 1_000_000  # a stream; about 300 MB
_ASK_SECONDS = 0.5

SOURCE = "replay"
"""The ``source`` field of a replayed entry, beside ``websocket`` and ``rest``."""


def candle_of(arrived: Arrived, received_ms: int) -> Candle:
    """A replayed candle as a producer would publish it, sent when it closed."""
    values: dict[str, Any] = dict(zip(VALUE_COLUMNS, map(decimal_text, arrived.values), strict=True))
    values |= {"trade_num": int(values["trade_num"]), "source": SOURCE}
    values |= {"event_time_ms": arrived.end_time_ms, "receive_time_ms": received_ms}
    return Candle(arrived.series, arrived.open_time_ms, **values)


class StreamSink:
    """Streams under another prefix than the recording's own, one a market, as producers write them.

    None holds more than about ``max_entries``.
    """

    def __init__(self, client: SyncClient, prefix: str, own_prefix: str, max_entries: int = _MAX_ENTRIES) -> None:
        if prefix == own_prefix:
            raise SettingsError(f"stream:{prefix} is the recording's own: name another prefix")
        self._client: Any = client
        self._keys = Keys(prefix)
        self._max_entries = max_entries
        self._say = SayOnce(log.warning)

    def claim(self, market: Market, sources: Sources) -> None:
        """Say whose candles they are, as a producer does."""
        if sources:
            claim(self._client, self._keys, market, sources)

    def write(self, batch: Iterable[Arrived | Gap]) -> None:
        """Publish a batch, when there is room for it. redis.RedisError when the broker is away or refuses."""
        now_ms = time.time_ns() // 1_000_000
        candles = [candle_of(item, now_ms) for item in batch if isinstance(item, Arrived)]
        for market in {candle.series.market for candle in candles}:
            self._await_room(market)
        pipeline = self._client.pipeline(transaction=False)
        for candle in candles:
            pipeline.xadd(self._keys.candles(candle.series.market), encode_entry(candle))
        pipeline.execute()

    def _await_room(self, market: Market) -> None:
        stream = self._keys.candles(market)
        if self._client.xlen(stream) < self._max_entries:
            return
        trimmer = Trimmer(self._client, self._keys, (market,), Retention(ms=0))
        trimmer.trim()
        while self._client.xlen(stream) >= self._max_entries:
            self._say("%s holds %d entries: the replay waits until its groups have read on", stream, self._max_entries)
            time.sleep(_ASK_SECONDS)
            trimmer.trim()
