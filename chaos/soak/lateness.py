"""How late candles are: from their close to the broker, and to disk; apart where something was broken.

To the broker: the id of each new entry is the time at which the broker took it. Candles that came over WebSocket and
those that were fetched over REST are counted apart. To disk: the writer measures it, when file and folder are synced,
in coarse steps (`candlewick_close_to_disk_seconds`); what it has counted between two looks is put down to that time.
"""

import re
from collections import Counter, OrderedDict
from collections.abc import Mapping
from typing import Any

import httpx
from redis.exceptions import RedisError

from chaos.brokers.single import Single
from chaos.soak.disturbances import Disturbances
from chaos.soak.spread import Spread
from chaos.whole.pipeline import Pipeline
from shared.broker.entry import EntryId, decode_entry
from shared.broker.keys import Keys
from shared.candle import WEBSOCKET, Candle, Series
from shared.errors import MalformedCandleError
from shared.market import Market
from shared.metrics.measures import CLOSE_TO_DISK_SECONDS

_READ_AT_ONCE = 5000
_REMEMBERED = 50_000
_TIMEOUT_SECONDS = 1.0
_BUCKET = re.compile(r'^candlewick_close_to_disk_seconds_bucket\{le="([^"]+)",market="(\w+)"\} (\S+)$', re.MULTILINE)

Times = tuple[str, bool]
"""Where candles came from or went to, and whether something was broken meanwhile."""


class ToBroker:
    """Reads the streams behind what it has read, past every fault of the proxy.

    Args:
        pipeline: whose streams.
        disturbances: when something was broken.

    Attributes:
        spreads: seconds from close to broker, by source (``websocket`` or another) and whether something was broken.
        entries: how many candles were published, each counted once.
    """

    def __init__(self, pipeline: Pipeline, disturbances: Disturbances) -> None:
        self.spreads: dict[Times, Spread] = {}
        self.entries = 0
        self._pipeline = pipeline
        self._disturbances = disturbances
        self._next = dict.fromkeys(Market, EntryId(0, 0))
        self._seen: OrderedDict[tuple[Series, int], None] = OrderedDict()

    def look(self) -> None:
        """Count what has come since the last look; nothing while the broker is away."""
        broker = self._pipeline.broker
        assert isinstance(broker, Single)  # noqa: S101 # a soak has no other
        if not broker.server.runs or broker.server.is_stopped:
            return
        keys = Keys(self._pipeline.settings.broker.prefix)
        try:
            with broker.server.client(_TIMEOUT_SECONDS) as client:
                for market in Market:
                    self._read(client, keys, market)
        except (RedisError, OSError):
            return

    def _read(self, client: Any, keys: Keys, market: Market) -> None:
        while found := client.xrange(keys.candles(market), min=str(self._next[market]), count=_READ_AT_ONCE):
            for text, fields in found:
                published = EntryId.parse(text)
                self._next[market] = published.next
                try:
                    item = decode_entry(market, fields)
                except MalformedCandleError:
                    continue
                if isinstance(item, Candle):
                    self._count(item, published.milliseconds)

    def _count(self, candle: Candle, published_ms: int) -> None:
        key = candle.series, candle.open_time_ms
        if key in self._seen:  # published once more, after a cut
            return
        self._seen[key] = None
        if len(self._seen) > _REMEMBERED:
            self._seen.popitem(last=False)
        self.entries += 1
        was_broken = self._disturbances.met(candle.end_time_ms / 1000, published_ms / 1000)
        source = "websocket" if candle.source == WEBSOCKET else "fetched"
        self.spreads.setdefault((source, was_broken), Spread()).add(candle.seconds_since_close(published_ms))


class ToDisk:
    """Asks the writer how late candles were on disk.

    Args:
        address: of the writer's metrics.
        disturbances: when something was broken.

    Attributes:
        counts: candles by whether something was broken, a number a step of ``CLOSE_TO_DISK_SECONDS``, one beyond.
    """

    def __init__(self, address: str, disturbances: Disturbances) -> None:
        self.counts: dict[bool, list[int]] = {}
        self._address = address
        self._disturbances = disturbances
        self._life: int | None = None
        self._before: Counter[float] = Counter()
        self._looked_at = 0.0

    def look(self, now: float, life: int | None) -> None:
        """Count what has come since the last look; ``life`` tells a writer from the one before it, None: it is away."""
        if life is None:
            return
        try:
            text = httpx.get(f"{self._address}/metrics", timeout=_TIMEOUT_SECONDS).text
        except httpx.HTTPError:
            return
        found = cumulative(text)
        before = self._before if life == self._life else Counter[float]()
        was_broken = self._disturbances.met(self._looked_at, now)
        counts = self.counts.setdefault(was_broken, [0] * (len(CLOSE_TO_DISK_SECONDS) + 1))
        below = 0
        for step, bound in enumerate((*CLOSE_TO_DISK_SECONDS, float("inf"))):
            upto = found[bound] - before[bound]
            counts[step] += upto - below
            below = upto
        self._life, self._before, self._looked_at = life, found, now


def cumulative(text: str) -> Counter[float]:
    """Candles at most so late, by bound, over all markets, as a writer's metrics tell."""
    counts: Counter[float] = Counter()
    for bound, _, count in _BUCKET.findall(text):
        counts[float(bound)] += int(float(count))
    return counts


def share_of_calm(spreads: Mapping[Times, Spread]) -> float:
    """Which part of the candles closed and were published while nothing was broken."""
    total = sum(spread.count for spread in spreads.values())
    calm = sum(spread.count for (_, was_broken), spread in spreads.items() if not was_broken)
    return calm / total if total else 0.0
