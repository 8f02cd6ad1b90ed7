"""Which klines the exchange never had: a pure function of seed, series and open time.

Of the holes about half stand alone and the rest are runs of four neighbours, so that a reader meets both. A higher
rate keeps the holes of a lower one.
"""

import hashlib
import math
from functools import lru_cache

from shared.candle import Series
from simulator.market.noise import mix, unit

MOST_HOLES = 0.9
"""The highest rate: with more, a page of REST rows would have to be looked for too far."""

_RUN = 4


def is_hole(seed: int, series: Series, open_time_ms: int, rate: float) -> bool:
    """Whether the exchange never had this kline, where ``rate`` of all klines (0 to 1) are missing."""
    if not rate:
        return False
    key, chance = _key(seed, series), 1 - math.sqrt(1 - rate)
    run = open_time_ms // series.interval.typical_ms // _RUN
    return unit(mix(key ^ mix(open_time_ms))) < chance or unit(mix(key + 1 ^ mix(run))) < chance


@lru_cache(maxsize=10_000)
def _key(seed: int, series: Series) -> int:
    return int.from_bytes(hashlib.blake2b(f"{seed} holes of {series}".encode(), digest_size=8).digest(), "big")
