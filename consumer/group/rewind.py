"""Where a consumer group would stand in the markets' streams, to read on from a time."""

from collections.abc import Iterable
from typing import Any, NamedTuple

from shared.broker.entry import EntryId, decode_entry
from shared.broker.keys import Keys
from shared.broker.paging import pages
from shared.candle import Candle
from shared.errors import MalformedCandleError
from shared.market import Market


class Moved(NamedTuple):
    """A group's move in one market's stream.

    Attributes:
        to: the id that will count as delivered last.
        was_ms, to_ms: when the entry that is delivered last was published, now and after, by the broker's clock.
        again: how many entries will be read once more; negative: how many will never be read.
    """

    market: Market
    to: str
    was_ms: int
    to_ms: int
    again: int


def plan(client: Any, keys: Keys, markets: Iterable[Market], group: str, start_ms: int) -> list[Moved]:
    """The moves after which a group reads on with the first entry of a candle that opens at ``start_ms`` or later.

    A market whose stream lacks the group is left out. Where no such candle is retained the group goes to the end.
    """
    moves = list[Moved]()
    for market in markets:
        stream = keys.candles(market)
        groups = client.xinfo_groups(stream) if client.exists(stream) else []
        ours = next((one for one in groups if one["name"] == group.encode()), None)
        if ours is None:
            continue
        was, to = EntryId.parse(ours["last-delivered-id"]), EntryId(0, 0)
        before, behind, is_found = 0, 0, False  # entries that were delivered: before the place, and behind it
        unread = 0
        for page in pages(client, stream):
            for number, fields in page:
                entry = EntryId.parse(number)
                is_found = is_found or _is_from(market, fields, start_ms)
                if not is_found:
                    to = entry
                if entry > was:
                    unread += not is_found
                elif is_found:
                    behind += 1
                else:
                    before += 1
        moves.append(Moved(market, str(to), was.milliseconds, to.milliseconds, behind - unread))
    return moves


def _is_from(market: Market, fields: Any, start_ms: int) -> bool:
    try:
        item = decode_entry(market, fields)
    except MalformedCandleError:
        return False
    return isinstance(item, Candle) and item.open_time_ms >= start_ms
