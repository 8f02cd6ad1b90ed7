"""Checkpoints: up to where each series is published without a gap, kept in the broker.

A producer writes, for each of its series, up to where all candles are published or absent. It never claims more than
the broker has answered for, so a stale value only means that some candles are fetched once more. When the broker has
lost it, or the stream that it speaks of (``producers.live.known``), the writers tell up to where the disk has each
series (``Keys.stored``).
"""

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from producers.live.known import Known, anchors, beginning_text, checkpoint_text, known
from producers.live.selection import Change
from producers.live.share import Share
from producers.publish.continuity import anchor_text
from shared.broker.client import AsyncClient
from shared.broker.entry import EntryId
from shared.broker.keys import ASKED, Keys
from shared.candle import Series
from shared.interval import Interval
from shared.market import Market
from shared.process.once import SayOnce

log = logging.getLogger(__name__)

_LISTED_AT = "listed-at"
_ALL = Share()


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
        self._saved: dict[Series, tuple[int, bool]] = {}  # what was written last, and whether it was an end
        self._listed_ms = 0
        self._warn = SayOnce(log.warning)

    async def load(self) -> Known:
        """What is known now."""
        keys, market = self._keys, self._market
        found = _text(await self._client.hgetall(keys.checkpoints(market)))
        stored = _text(await self._client.hgetall(keys.stored(market)))
        standing = await self._standing(sorted(anchors(found)))
        every_listed = [value for name, value in found.items() if name.startswith(_LISTED_AT) and value.isdecimal()]
        listed = found.get(self._listed_at) or min(every_listed, key=int, default="")  # the parts were others before
        return known(market, found, stored, standing, listed)

    async def published_to(self, series: Sequence[Series]) -> Known:
        """What is known of some series: up to where anybody has published them."""
        values = await self._client.hmget(self._keys.checkpoints(self._market), [one.field for one in series])
        found = _text(
            {one.field.encode(): value for one, value in zip(series, values, strict=True) if value is not None}
        )
        return known(self._market, found, {}, await self._standing(sorted(anchors(found))), "")

    async def _standing(self, named: Sequence[str]) -> set[str]:
        """Which of these anchors prove the stream: their entry is there, and nobody has deleted any since."""
        stream = self._keys.candles(self._market)
        pipeline = self._client.pipeline(transaction=True)
        pipeline.xinfo_stream(stream)
        ids = [anchor.partition(":")[0] for anchor in named]
        for number in ids:
            pipeline.xrange(stream, min=number, max=number)
        found, *pages = await pipeline.execute(raise_on_error=False) if named else [{}]
        for answer in (found, *pages):
            if isinstance(answer, BaseException):
                if str(answer).startswith("no such key"):
                    return set()
                raise answer
        max_deleted = EntryId.parse(found.get("max-deleted-entry-id", b"0-0"))
        return {
            anchor
            for anchor, page in zip(named, pages, strict=True)
            if page and anchor == anchor_text(EntryId.parse(page[0][0]), page[0][1], max_deleted)
        }

    async def ask_disk(self, question: str) -> None:
        """Let a writer look up to where the disk has each series; it answers with the question (``Known.answered``)."""
        await self._client.hset(self._keys.stored(self._market), mapping={ASKED: question})

    async def save(
        self,
        checkpoints_ms: Mapping[Series, int],
        ended: Mapping[Series, int],
        since_ms: Mapping[Series, int],
        anchor: str,
        listed_ms: int,
        *,
        everything: bool,
    ) -> None:
        """Write what has changed since the last time, or ``everything``: the broker may have lost what it had.

        ``ended`` are the series that ended, with where they did; ``since_ms`` tells since when series are recorded.
        ``anchor`` is the entry that proves the stream; while that has none, nothing is published. ``listed_ms`` is the
        exchange's time when symbols were last looked up of which all have begun; 0: unchanged.
        """
        wanted = {series: (time_ms, False) for series, time_ms in checkpoints_ms.items() if anchor}
        wanted |= {series: (time_ms, True) for series, time_ms in ended.items() if anchor}
        changed = {series: what for series, what in wanted.items() if everything or self._saved.get(series) != what}
        values = {
            series.field: checkpoint_text(time_ms, anchor, since_ms.get(series), ended=is_end)
            for series, (time_ms, is_end) in changed.items()
        }
        if listed_ms and (everything or listed_ms != self._listed_ms):
            values[self._listed_at] = str(listed_ms)
        if everything and self._source:
            await self._client.set(self._keys.sources(self._market), self._source, nx=True)
        if values:
            await self._client.hset(self._keys.checkpoints(self._market), mapping=values)  # type: ignore[arg-type] # invariant
            self._saved |= changed
            self._listed_ms = listed_ms or self._listed_ms

    async def note_beginnings(self, began_ms: Mapping[Series, int]) -> None:
        """Write down when series began that have no checkpoint yet: should we die now, they began then."""
        pipeline = self._client.pipeline(transaction=False)
        for series, time_ms in began_ms.items():
            pipeline.hsetnx(self._keys.checkpoints(self._market), series.field, beginning_text(time_ms))
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
