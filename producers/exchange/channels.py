"""Channels and the messages that subscribe to them. Pure.

A channel is named ``btcusdt@kline_1m``: the symbol in lowercase, the interval in the exchange's spelling. One
control message holds as many channels as fit under the exchange's unspoken limit of 4096 bytes.
"""

from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from typing import Literal

import orjson

from shared.candle import Series
from shared.market import MAX_CONTROL_BYTES

Method = Literal["SUBSCRIBE", "UNSUBSCRIBE"]


@lru_cache(maxsize=20_000)
def channel(series: Series) -> str:
    """The exchange's name for a series' klines."""
    return f"{series.symbol.lower()}@kline_{series.interval}"


def control_message(method: Method, channels: Sequence[str], number: int) -> bytes:
    """One control message, as compact UTF-8 JSON."""
    return orjson.dumps({"method": method, "params": list(channels), "id": number})


def pack_channels(channels: Iterable[str], max_bytes: int = MAX_CONTROL_BYTES) -> Iterator[tuple[str, ...]]:
    """Channels in their order, in groups that each fit one control message of less than ``max_bytes`` bytes."""
    envelope = len(control_message("UNSUBSCRIBE", (), 10**9))
    group: list[str] = []
    size = envelope
    for name in channels:
        length = len(orjson.dumps(name)) + 1  # and a comma
        if group and size + length >= max_bytes:
            yield tuple(group)
            group, size = [], envelope
        group.append(name)
        size += length
    if group:
        yield tuple(group)
