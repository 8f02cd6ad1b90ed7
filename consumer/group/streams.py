"""The markets' streams as they are without a group: what they retain, for refill and replay, and their figures."""

import logging
from collections.abc import Iterator
from typing import Any

from shared.broker.entry import EntryId, decode_entry
from shared.broker.keys import Keys
from shared.broker.paging import pages
from shared.candle import Candle
from shared.errors import MalformedCandleError
from shared.market import Market
from shared.series_fact import SeriesFact

log = logging.getLogger(__name__)


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


def stream_figures(client: Any, keys: Keys, market: Market, group: str) -> dict[str, Any]:
    """One market's stream: entries retained, unread and pending, and the age of the oldest pending one in seconds."""
    stream = keys.candles(market)
    entries, dead_letters = int(client.xlen(stream)), int(client.xlen(keys.dead_letters(market)))
    found: dict[str, Any] = {"entries": entries, "dead_letters": dead_letters, "unread": entries}
    found |= {"pending": 0, "oldest_pending_seconds": None}
    groups = client.xinfo_groups(stream) if client.exists(stream) else []
    ours = next((other for other in groups if other["name"] == group.encode()), None)
    if ours is None:
        return found
    pending = client.xpending(stream, group)
    found["pending"] = int(pending["pending"])
    if pending["min"]:
        age_ms = broker_time_ms(client) - EntryId.parse(pending["min"]).milliseconds
        found["oldest_pending_seconds"] = round(age_ms / 1000, 1)
    found["unread"] = sum(map(len, pages(client, stream, f"({ours['last-delivered-id'].decode()}")))
    return found
