"""``candlewick symbols``: what is recorded of a market, and how to change it while it runs, on every host.

A change is kept in the broker (``Keys.symbols``). Every producer of the market looks there once a second, so a change
needs no restart, reaches all hosts, and lasts as long as the broker's data.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from redis.exceptions import RedisError

from producers.exchange.rest import RestClient, RestRefusedError, RestUnavailableError
from producers.exchange.symbols import Listing
from producers.exchange.weight import WeightBudget
from producers.live.checkpoints import Progress, encode_change
from producers.live.selection import Change, matches, resolve
from shared.broker.client import CONNECTION_ERRORS, AsyncClient, async_client, broker_name
from shared.broker.keys import Keys
from shared.candle import Series
from shared.errors import BrokerError, SettingsError
from shared.interval import Interval
from shared.market import Market
from shared.settings.model import Settings
from shared.settings.types import is_pattern


@dataclass(frozen=True, slots=True)
class Recorded:
    """What is recorded of a market.

    Attributes:
        series: every series, with up to when it is safe (UTC ms), None where nobody knows yet.
        status: the exchange's word for each symbol it lists.
        changes: what was added and removed besides the settings.
        trouble: why the exchange's list is not known; then patterns stand for nothing here.
    """

    series: dict[Series, int | None]
    status: dict[str, str]
    changes: Sequence[Change]
    trouble: str | None


def recorded(settings: Settings, market: Market) -> Recorded:
    """What is recorded of a market now.

    Raises:
        BrokerError: when the broker does not answer.
    """
    return asyncio.run(_read(settings, market))


def change(settings: Settings, market: Market, wanted: Sequence[Change]) -> Recorded:
    """Change what is recorded of a market; what is recorded then.

    Raises:
        SettingsError: when a symbol is unknown, nothing of the market is recorded, or a change changes nothing.
        BrokerError: when the broker does not answer.
    """
    return asyncio.run(_change(settings, market, wanted))


async def _read(settings: Settings, market: Market) -> Recorded:
    return await _recorded(settings, market, await _listings(settings, market))


async def _recorded(
    settings: Settings, market: Market, listed: tuple[Sequence[Listing] | None, str | None]
) -> Recorded:
    client = async_client(settings)
    try:
        progress = Progress(client, Keys(settings.broker.prefix), market)
        changes, known = await progress.changes(), await progress.load()
    except (*CONNECTION_ERRORS, RedisError) as error:
        raise BrokerError(f"{broker_name(settings)} does not answer: {error}") from None
    finally:
        await client.aclose()
    listings, trouble = listed
    series = resolve(market, settings.groups(market), changes, listings)
    return Recorded(
        {one: known.safe_to_ms.get(one) for one in series},
        {one.symbol: one.status for one in listings or ()},
        changes,
        trouble,
    )


async def _listings(settings: Settings, market: Market) -> tuple[Sequence[Listing] | None, str | None]:
    rest = RestClient(market, settings.exchange, WeightBudget(market, settings.exchange))
    try:
        return await rest.listings(), None
    except (RestUnavailableError, RestRefusedError) as error:
        return None, str(error)
    finally:
        await rest.close()


async def _change(settings: Settings, market: Market, wanted: Sequence[Change]) -> Recorded:
    if not settings.groups(market):
        raise SettingsError(f"the settings record nothing of {market}: add it under [[record]] first")
    listed = await _listings(settings, market)
    before = await _recorded(settings, market, listed)
    for one in wanted:
        (_check_added if one.record else _check_removed)(settings, market, one, before)
    client = async_client(settings)
    try:
        await _write(client, Keys(settings.broker.prefix).symbols(market), wanted)
    except (*CONNECTION_ERRORS, RedisError) as error:
        raise BrokerError(f"{broker_name(settings)} does not take the change: {error}") from None
    finally:
        await client.aclose()
    return await _recorded(settings, market, listed)


async def _write(client: AsyncClient, key: str, wanted: Sequence[Change]) -> None:
    fields: Any = {one.symbol: encode_change(one) for one in wanted}
    await client.hset(key, mapping=fields)


def _check_added(settings: Settings, market: Market, wanted: Change, before: Recorded) -> None:
    allowed = settings.intervals(market)
    for interval in wanted.intervals:
        if interval not in allowed:
            raise SettingsError(f"{market} has no interval {interval}, it has {', '.join(allowed)}")
    if before.trouble is not None:
        return
    if not any(matches(symbol, (wanted.symbol,)) for symbol in before.status):
        near = get_close_matches(wanted.symbol, before.status, n=3)
        hint = f"; did you mean {', '.join(near)}?" if near else ""
        raise SettingsError(f"the exchange lists no {wanted.symbol} on {market}{hint}")


def _check_removed(settings: Settings, market: Market, wanted: Change, before: Recorded) -> None:
    named = {symbol for group in settings.groups(market) for symbol in group.symbols}
    known = {series.symbol for series in before.series} | {one.symbol for one in before.changes if one.record} | named
    if before.trouble is not None and any(is_pattern(name) for name in named):
        return
    if not any(matches(symbol, (wanted.symbol,)) for symbol in known):
        raise SettingsError(
            f"{wanted.symbol} is not recorded on {market}: `candlewick symbols list {market}` shows what is"
        )


def parse_changes(symbols: Sequence[str], intervals: Sequence[Interval], *, record: bool) -> list[Change]:
    """Changes from names and patterns that a user typed.

    Raises:
        SettingsError: when one can be neither.
    """
    from pydantic import TypeAdapter, ValidationError

    from shared.settings.types import SymbolPattern

    adapter = TypeAdapter(SymbolPattern)
    found = []
    for text in symbols:
        try:
            found.append(Change(adapter.validate_python(text), record, tuple(intervals)))
        except ValidationError as error:
            raise SettingsError(error.errors()[0]["msg"].removeprefix("Value error, ")) from None
    return found
