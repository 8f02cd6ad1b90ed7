"""The markets' streams as they are without a group: what they retain, for refill and replay, and their figures."""

import logging
import time
from collections.abc import Iterator, Mapping
from typing import Any

from shared.broker.entry import EntryId, decode_entry
from shared.broker.keys import Keys
from shared.broker.paging import pages
from shared.candle import Candle
from shared.errors import MalformedCandleError
from shared.market import Market
from shared.series_fact import SeriesFact
from shared.settings.sections import WriterSettings
from shared.text import counted

log = logging.getLogger(__name__)

_CLOCK_MS = 60_000
_MAX_COUNTED = 10_000


def retained(client: Any, keys: Keys, market: Market) -> Iterator[Candle | SeriesFact | None]:
    """Every entry that a market's stream still holds, oldest first; None for what is neither candle nor fact."""
    for page in pages(client, keys.candles(market)):
        for number, fields in page:
            try:
                yield decode_entry(market, fields)
            except MalformedCandleError as error:
                log.debug("entry %s of %s is no candle: %s", number, market, error)
                yield None


def broker_time_ms(client: Any) -> int:
    """The broker's clock, in UTC ms."""
    seconds, micros = client.time()
    return int(seconds) * 1000 + int(micros) // 1000


def warn_of_clock(client: Any) -> None:
    """Say so where the broker's clock is more than a minute from this host's. Nothing is decided by it."""
    ahead_ms = broker_time_ms(client) - time.time_ns() // 1_000_000
    if abs(ahead_ms) > _CLOCK_MS:
        text = "the broker's clock is %.0f s %s of this host's: ages of entries in `candlewick status` are by it"
        log.warning(text, abs(ahead_ms) / 1000, "ahead" if ahead_ms > 0 else "behind")


def stream_figures(client: Any, keys: Keys, market: Market, group: str) -> dict[str, Any]:
    """One market's stream: entries retained, unread and pending, and how old the oldest are, in seconds.

    ``oldest_unstored_seconds`` is the age of the oldest entry that is pending or unread; None without any.
    """
    stream = keys.candles(market)
    entries, dead_letters = int(client.xlen(stream)), int(client.xlen(keys.dead_letters(market)))
    found: dict[str, Any] = {"entries": entries, "dead_letters": dead_letters, "unread": entries}
    found |= {"pending": 0, "oldest_pending_seconds": None, "oldest_unstored_seconds": None}
    groups = client.xinfo_groups(stream) if client.exists(stream) else []
    ours = next((other for other in groups if other["name"] == group.encode()), None)
    if ours is None:
        first = next((number for number, _ in client.xrange(stream, count=1)), None)
        return found | {"oldest_unstored_seconds": _age_seconds(client, first) if first else None}
    pending = client.xpending(stream, group)
    found["pending"] = int(pending["pending"])
    if pending["min"]:
        found["oldest_pending_seconds"] = _age_seconds(client, pending["min"])
    unread = f"({ours['last-delivered-id'].decode()}"
    first = pending["min"] or next((number for number, _ in client.xrange(stream, min=unread, count=1)), None)
    if first:
        found["oldest_unstored_seconds"] = _age_seconds(client, first)
    found["unread"] = _count_from(client, stream, unread, ours.get("lag"))
    return found


def _count_from(client: Any, stream: str, first: str, lag: int | None) -> int:
    """How many entries there are from an id on: as the broker says where they are many; else counted, up to a bound."""
    if lag is not None and int(lag) > _MAX_COUNTED:
        return int(lag)
    count = 0
    for page in pages(client, stream, first):
        count += len(page)
        if count >= _MAX_COUNTED:
            break
    return count


def waits_too_long(market: str, stream: Mapping[str, Any], writer: WriterSettings) -> str | None:
    """A line where a stream's oldest entry that is not stored has waited for longer than any writer needs."""
    age = stream["oldest_unstored_seconds"]
    if age is None or age <= writer.flush_max_seconds + 1.5 * writer.claim_seconds:
        return None
    waiting = counted(stream["unread"] + stream["pending"], "entry waits", "entries wait")
    return f"{market}: {waiting} to be stored, the oldest for {age:.0f} s"


def _age_seconds(client: Any, number: bytes) -> float:
    return round((broker_time_ms(client) - EntryId.parse(number).milliseconds) / 1000, 1)
