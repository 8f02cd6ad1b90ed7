"""What a stream keeps: every entry that is young enough to be replayed, and every entry that some group still needs."""

import logging
from collections.abc import Sequence
from typing import Any

from redis.exceptions import ResponseError

from consumer.group.streams import broker_time_ms
from shared.broker.entry import EntryId
from shared.broker.keys import Keys
from shared.market import Market

log = logging.getLogger(__name__)

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


def trim(client: Any, keys: Keys, markets: Sequence[Market], retention_ms: int) -> int:
    """Drop entries older than about ``retention_ms`` by the broker's clock that no group needs; how many.

    What a group has not been given, or has been given and not acknowledged, is needed. The last entry that it was given
    stays: where a stream begins behind it, somebody else has cut it (``producers.publish.continuity``). A stream
    without any group is not trimmed: nobody has read it.
    """
    oldest = EntryId(broker_time_ms(client) - retention_ms, 0)
    return sum(_trim(client, keys.candles(market), oldest) for market in markets)


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


def _trim(client: Any, stream: str, oldest: EntryId) -> int:
    groups = client.xinfo_groups(stream)
    if not groups or oldest.milliseconds <= 0:
        return 0
    for group in groups:
        oldest = min(oldest, EntryId.parse(group["last-delivered-id"]))
        first_pending = client.xpending(stream, group["name"])["min"]
        if first_pending:
            oldest = min(oldest, EntryId.parse(first_pending))
    return int(client.xtrim(stream, minid=f"{oldest}", approximate=True))
