"""What a stream keeps: every entry that is young enough to be replayed, and every entry that some group still needs.

How old an entry is tells its own field, the time at which it was received, counted back from the newest entry's or from
now, whichever is earlier. An id is the broker's clock: one that was ahead for an hour would keep everything as long.
Beyond a bound of length entries go that are younger.
"""

import itertools
import logging
import time
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from redis.exceptions import ResponseError

from shared.broker.entry import EntryId
from shared.broker.keys import Keys
from shared.broker.paging import Fields, pages
from shared.market import Market
from shared.process.once import SayOnce

log = logging.getLogger(__name__)

_MAX_LOOKED = 100_000
_NO_LIMIT = 0  # otherwise the broker stops at 10,000 entries a call: fewer than may come between two
_MAX_DIGITS = 15

_REMOVE_DEAD = """
local removed = {}
for _, consumer in ipairs(redis.call('XINFO', 'CONSUMERS', KEYS[1], ARGV[1])) do
  local facts = {}
  for at = 1, #consumer, 2 do facts[consumer[at]] = consumer[at + 1] end
  if facts.name ~= ARGV[2] and facts.pending == 0 and facts.idle > tonumber(ARGV[3]) then
    redis.call('XGROUP', 'DELCONSUMER', KEYS[1], ARGV[1], facts.name)
    table.insert(removed, facts.name)
  end
end
return removed
"""  # a script, so that nobody reads between the look and the removal: with a consumer goes what is pending for it


class Retention(NamedTuple):
    """How long and how many entries stay in a stream that nobody needs any more; 0 entries: as many as there are."""

    ms: int
    max_entries: int = 0


class Trimmer:
    """Trims the markets' streams for one writer, and says once a day where the bound of length does it."""

    def __init__(self, client: Any, keys: Keys, markets: Sequence[Market], retention: Retention) -> None:
        self._client = client
        self._keys = keys
        self._markets = markets
        self._retention = retention
        self._warn = SayOnce(log.warning, repeat_seconds=24 * 3600)

    def trim(self) -> int:
        """Drop entries beyond the retention that no group needs; how many.

        What a group has not been given, or has been given and not acknowledged, is needed. The last entry that it was
        given stays: where a stream begins behind it, somebody else has cut it (``producers.publish.continuity``). A
        stream without any group is not trimmed: nobody has read it. A call looks at ``_MAX_LOOKED`` entries of each.
        """
        return sum(map(self._trim, self._markets))

    def _trim(self, market: Market) -> int:
        stream, retention = self._keys.candles(market), self._retention
        groups = self._client.xinfo_groups(stream)
        found = self._client.xinfo_stream(stream) if groups else {}
        if not found.get("first-entry"):
            return 0
        newest_ms, now_ms = _received_ms(found["last-entry"][1]), time.time_ns() // 1_000_000
        oldest_ms = 0 if newest_ms is None else min(newest_ms, now_ms) - retention.ms  # of what is still young
        excess = found["length"] - retention.max_entries if retention.max_entries else 0
        count, end = 0, EntryId.parse(found["first-entry"][0])
        for number, fields in itertools.islice(self._not_needed(stream, groups), _MAX_LOOKED):
            received_ms = _received_ms(fields)
            is_young = received_ms is not None and received_ms >= oldest_ms
            if is_young and count >= excess:
                break
            if is_young:
                text = "the stream of %s holds more than %d entries: what is stored goes before its retention is over"
                self._warn(text, market, retention.max_entries)
            count, end = count + 1, EntryId.parse(number).next
        return int(self._client.xtrim(stream, minid=f"{end}", approximate=True, limit=_NO_LIMIT)) if count else 0

    def _not_needed(self, stream: str, groups: Any) -> Iterator[tuple[bytes, Fields]]:
        """Entries that every group has been given and has acknowledged, oldest first."""
        end = min(EntryId.parse(group["last-delivered-id"]) for group in groups)
        for group in groups:
            first_pending = self._client.xpending(stream, group["name"])["min"]
            if first_pending:
                end = min(end, EntryId.parse(first_pending))
        if end > EntryId(0, 0):
            for page in pages(self._client, stream, "-", f"({end}"):
                yield from page


def remove_dead(
    client: Any, keys: Keys, markets: Sequence[Market], group: str, consumer: str, idle_ms: int
) -> list[str]:
    """Remove consumers that have nothing pending and have not asked for longer than ``idle_ms``; their names.

    One that is alive after all is made again by its next read. ``consumer``, who asks, is never removed.
    """
    removed: list[str] = []
    for stream in map(keys.candles, markets):
        try:
            names = client.eval(_REMOVE_DEAD, 1, stream, group, consumer, idle_ms)
            removed += [name.decode() for name in names]
        except ResponseError as error:  # no scripts for this user: the names stay, which harms nobody
            log.debug("dead consumers of %s are not removed: %s", stream, error)
    for name in dict.fromkeys(removed):
        log.info("consumer %s has been gone for long and had nothing pending: removed", name)
    return removed


def _received_ms(fields: Fields) -> int | None:
    """When a candle was received, by its producer's clock; None for what does not tell."""
    text = fields.get(b"receive_time_ms", b"")
    return int(text) if text.isdigit() and len(text) <= _MAX_DIGITS else None
