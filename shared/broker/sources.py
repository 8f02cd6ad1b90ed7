"""What the broker knows of its candles' sources (``shared.source``), a market at a time.

Whoever comes first to a market of a broker, a producer with its exchange or a writer with its store, says whose candles
it takes; everybody else has to agree. The key is lost with the broker's data, and said again by whoever notices.
"""

from typing import Any

from shared.broker.client import AsyncClient
from shared.broker.keys import Keys
from shared.market import Market
from shared.source import Sources, merged

_WHERE = "the broker"


async def claim_async(client: AsyncClient, keys: Keys, market: Market, source: str, *, mix: bool) -> None:
    """Say that a market's candles come from here. SourceError when the broker has another exchange's, unless it may."""
    found = await client.set(keys.sources(market), source, nx=True, get=True)
    known = _names(found)
    wanted = merged(known, [source], _WHERE, market, mix=mix)
    if known and wanted != known:
        await client.set(keys.sources(market), _text(wanted))


def claim(client: Any, keys: Keys, market: Market, sources: Sources) -> Sources:
    """Say whose candles a store has, where nobody has said so yet, over a blocking client; what is known now."""
    return _names(client.set(keys.sources(market), _text(sources), nx=True, get=True)) or sources


def sources_of(client: Any, keys: Keys, market: Market) -> Sources:
    """What the broker knows of a market; empty where nobody has said."""
    return _names(client.get(keys.sources(market)))


def _names(found: Any) -> Sources:
    return tuple(found.decode().splitlines()) if found else ()


def _text(sources: Sources) -> str:
    return "\n".join(sources)
