"""A replay into streams: entries in the live form, so that no consumer can tell."""

import time
from collections.abc import Iterable
from typing import Any

from candlewick.recording.delivered import Arrived
from candlewick.recording.replay import Gap
from consumer.storage.table import VALUE_COLUMNS
from shared.broker.client import SyncClient
from shared.broker.entry import encode_entry
from shared.broker.keys import Keys
from shared.broker.sources import claim
from shared.candle import Candle
from shared.errors import SettingsError
from shared.market import Market
from shared.source import Sources
from shared.text import decimal_text

SOURCE = "replay"
"""The ``source`` field of a replayed entry, beside ``websocket`` and ``rest``."""


def candle_of(arrived: Arrived, received_ms: int) -> Candle:
    """A replayed candle as a producer would publish it, sent when it closed."""
    values: dict[str, Any] = dict(zip(VALUE_COLUMNS, map(decimal_text, arrived.values), strict=True))
    values |= {"trade_num": int(values["trade_num"]), "source": SOURCE}
    values |= {"event_time_ms": arrived.end_time_ms, "receive_time_ms": received_ms}
    return Candle(arrived.series, arrived.open_time_ms, **values)


class StreamSink:
    """Streams under another prefix than the recording's own, one a market, as producers write them."""

    def __init__(self, client: SyncClient, prefix: str, own_prefix: str) -> None:
        if prefix == own_prefix:
            raise SettingsError(f"stream:{prefix} is the recording's own: name another prefix")
        self._client: Any = client
        self._keys = Keys(prefix)

    def claim(self, market: Market, sources: Sources) -> None:
        """Say whose candles they are, as a producer does."""
        if sources:
            claim(self._client, self._keys, market, sources)

    def write(self, batch: Iterable[Arrived | Gap]) -> None:
        """Publish a batch. redis.RedisError when the broker is away or refuses."""
        now_ms = time.time_ns() // 1_000_000
        pipeline = self._client.pipeline(transaction=False)
        for item in batch:
            if isinstance(item, Arrived):
                pipeline.xadd(self._keys.candles(item.series.market), encode_entry(candle_of(item, now_ms)))
        pipeline.execute()
