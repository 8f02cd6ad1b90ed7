"""Checkpoints: up to where each series is published without a gap, kept in the broker.

A producer writes, for each of its series, up to where all candles are published or absent. It never claims more than
the broker has answered for, so a stale value only means that some candles are fetched once more. When the broker has
lost it (a new server, a flush), the writers tell where the candles on disk end, or have their first hole
(``Keys.stored``).
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from producers.live.selection import Change
from producers.live.share import Share
from shared.broker.client import AsyncClient
from shared.broker.keys import STORED_AT, Keys
from shared.candle import Series, series_of_field
from shared.interval import Interval
from shared.market import Market
from shared.process.once import SayOnce

log = logging.getLogger(__name__)

_LISTED_AT = "listed-at"
_ENDED, _BEGAN = "ended", "began"
_ALL = Share()


@dataclass(frozen=True, slots=True)
class Known:
    """What the broker knows of a market's series."""

    checkpoints_ms: Mapping[Series, int] = field(default_factory=dict)  # up to where each is published without a gap
    ended: frozenset[Series] = frozenset()
    began_ms: Mapping[Series, int] = field(default_factory=dict)  # when those began that have no checkpoint yet
    stored_to_ms: Mapping[Series, int] | None = None  # where its candles on disk end; None: no writer has said
    listed_ms: int | None = None  # exchange time when this share last looked its symbols up; None: never

    def is_new(self, series: Series) -> bool:
        """Whether nobody knows where a series continues."""
        is_stored = series in (self.stored_to_ms or {}) and series not in self.began_ms
        return series not in self.checkpoints_ms and not is_stored


class Checkpoints:
    """One market's checkpoints in the broker. Every call raises what redis-py raises while the broker is away.

    What one share has seen of the exchange's list, another may not have: the time of the list is kept for each share.
    """

    def __init__(self, client: AsyncClient, keys: Keys, market: Market, share: Share = _ALL, source: str = "") -> None:
        self._listed_at = f"{_LISTED_AT} {share}"
        self._client = client
        self._keys = keys
        self._market = market
        self._source = source  # said again with everything else that a broker may have lost
        self._saved: dict[str, str] = {}
        self._warn = SayOnce(log.warning)

    async def load(self) -> Known:
        """What is known now."""
        found = _text(await self._client.hgetall(self._keys.checkpoints(self._market)))
        stored = _text(await self._client.hgetall(self._keys.stored(self._market)))
        published_to: dict[Series, int] = {}
        began: dict[Series, int] = {}
        ended = set()
        for name, value in found.items():
            series = series_of_field(self._market, name)
            time_text, _, state = value.partition(" ")
            if series is not None and time_text.isdigit():
                (began if state == _BEGAN else published_to)[series] = int(time_text)
                if state == _ENDED:
                    ended.add(series)
        every_listed = [value for name, value in found.items() if name.startswith(_LISTED_AT) and value.isdigit()]
        listed = found.get(self._listed_at) or min(every_listed, key=int, default="")  # the parts were others before
        ends = {series_of_field(self._market, name): int(value) for name, value in stored.items() if value.isdigit()}
        stored_to = {series: end_ms for series, end_ms in ends.items() if series is not None}
        return Known(
            published_to,
            frozenset(ended),
            began,
            stored_to if STORED_AT in stored else None,
            int(listed) if listed.isdigit() else None,
        )

    async def save(
        self, checkpoints_ms: Mapping[Series, int], ended: Mapping[Series, int], listed_ms: int, *, everything: bool
    ) -> None:
        """Write what has changed since the last time, or ``everything``: the broker may have lost what it had.

        ``ended`` are the series that ended, with where they did. ``listed_ms`` is the exchange's time when symbols were
        last looked up of which all have begun; 0: unchanged.
        """
        wanted = {series.field: str(time_ms) for series, time_ms in checkpoints_ms.items()}
        wanted |= {series.field: f"{time_ms} {_ENDED}" for series, time_ms in ended.items()}
        if listed_ms:
            wanted[self._listed_at] = str(listed_ms)
        changed = {name: value for name, value in wanted.items() if everything or self._saved.get(name) != value}
        if everything and self._source:
            await self._client.set(self._keys.sources(self._market), self._source, nx=True)
        if changed:
            await self._client.hset(self._keys.checkpoints(self._market), mapping=changed)  # type: ignore[arg-type] # invariant
            self._saved |= changed

    async def note_beginnings(self, began_ms: Mapping[Series, int]) -> None:
        """Write down when series began that have no checkpoint yet: should we die now, they began then."""
        pipeline = self._client.pipeline(transaction=False)
        for series, time_ms in began_ms.items():
            pipeline.hsetnx(self._keys.checkpoints(self._market), series.field, f"{time_ms} {_BEGAN}")
        await pipeline.execute()

    async def changes(self) -> list[Change]:
        """What ``candlewick symbols`` asked for, by name."""
        found = _text(await self._client.hgetall(self._keys.symbols(self._market)))
        changes = {name: _change(name, value) for name, value in sorted(found.items())}
        for name in [name for name, change in changes.items() if change is None]:
            self._warn("what the broker holds of %s for `candlewick symbols` is no change: %.80r", name, found[name])
        return [change for change in changes.values() if change is not None]


def encode_change(change: Change) -> str:
    """A change as the value of its field in ``Keys.symbols``; the field is the symbol."""
    return orjson.dumps({"record": change.record, "intervals": list(change.intervals)}).decode()


def _change(name: str, value: str) -> Change | None:
    try:
        body = orjson.loads(value)
        return Change(name, bool(body["record"]), tuple(Interval(name) for name in body["intervals"]))
    except (ValueError, KeyError, TypeError):
        return None


def _text(found: Any) -> dict[str, str]:
    """Redis's answer to HGETALL as text; redis-py types it as whatever any protocol version may return."""
    return {name.decode(): value.decode() for name, value in found.items()}
