"""What is recorded of a market, and how ``candlewick symbols`` changes it while it runs, on every host.

A change is kept in the broker (``Keys.symbols``). Every producer of the market looks there once a second, so a change
needs no restart, reaches all hosts, and lasts as long as the broker's data.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from pydantic import TypeAdapter, ValidationError
from redis.exceptions import RedisError, WatchError

from producers.exchange.rest import RestClient
from producers.exchange.symbols import Listing
from producers.exchange.weight_by_address import weight_budget
from producers.live.checkpoints import Checkpoints, encode_change
from producers.live.selection import Change, matches, resolve
from shared.broker.address import broker_name
from shared.broker.client import CONNECTION_ERRORS, AsyncClient, async_client
from shared.broker.keys import Keys
from shared.candle import Series
from shared.errors import BrokerError, RestRefusedError, RestUnavailableError, SettingsError
from shared.interval import Interval
from shared.market import Market
from shared.settings.model import Settings
from shared.settings.types import SymbolPattern, is_pattern

_PATTERN: TypeAdapter[str] = TypeAdapter(SymbolPattern)
_Listed = tuple[Sequence[Listing] | None, str | None]


@dataclass(frozen=True, slots=True)
class Recorded:
    """What is recorded of a market."""

    series: dict[Series, int | None]  # each with its checkpoint (UTC ms), None where nobody knows yet
    status: dict[str, str]  # the exchange's word for each symbol it lists
    changes: Sequence[Change]  # what was added and removed besides the settings
    trouble: str | None  # why the exchange's list is not known; then patterns stand for nothing here
    broker_trouble: str | None = None  # why what was added and removed is not known


def recorded(settings: Settings, market: Market) -> Recorded:
    """What is recorded of a market now; without a broker, what the settings name."""
    return asyncio.run(_recorded_or_named(settings, market))


def change(settings: Settings, market: Market, wanted: Sequence[Change]) -> Recorded:
    """Change what is recorded of a market; what is recorded then.

    SettingsError says that a symbol is unknown, nothing of the market is recorded, or a change changes nothing;
    BrokerError that the broker does not answer.
    """
    return asyncio.run(_change(settings, market, wanted))


@contextlib.asynccontextmanager
async def _broker(settings: Settings, trouble: str) -> AsyncIterator[AsyncClient]:
    client = async_client(settings)
    try:
        yield client
    except (*CONNECTION_ERRORS, RedisError) as error:
        raise BrokerError(f"{broker_name(settings)} {trouble}: {error}") from None
    finally:
        await client.aclose()


async def _recorded_or_named(settings: Settings, market: Market) -> Recorded:
    listed = await _listings(settings, market)
    try:
        return await _recorded(settings, market, listed)
    except BrokerError as error:
        series = resolve(market, settings.groups(market), (), listed[0])
        return Recorded(dict.fromkeys(series), _status(listed), (), listed[1], str(error))


def _status(listed: _Listed) -> dict[str, str]:
    return {listing.symbol: listing.status for listing in listed[0] or ()}


async def _recorded(settings: Settings, market: Market, listed: _Listed) -> Recorded:
    listings, trouble = listed
    async with _broker(settings, "does not answer") as client:
        checkpoints = Checkpoints(client, Keys(settings.broker.prefix), market)
        changes, known = await checkpoints.changes(), await checkpoints.load()
    series = resolve(market, settings.groups(market), changes, listings)
    return Recorded(
        {chosen: known.checkpoints_ms.get(chosen) for chosen in series},
        _status(listed),
        changes,
        trouble,
    )


async def _listings(settings: Settings, market: Market) -> _Listed:
    rest = RestClient(market, settings.exchange, weight_budget(market, settings))
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
    for wish in wanted:
        (_check_added if wish.record else _check_removed)(settings, market, wish, before)
    async with _broker(settings, "does not take the change") as client:
        await _write(client, settings, market, wanted)
    return await _recorded(settings, market, listed)


async def _write(client: AsyncClient, settings: Settings, market: Market, wanted: Sequence[Change]) -> None:
    """Keep changes beside those that are there: intervals of a symbol that was added before are added to those."""
    keys = Keys(settings.broker.prefix)
    groups = settings.groups(market)
    named = tuple(dict.fromkeys(interval for group in groups for interval in group.intervals))
    async with client.pipeline(transaction=True) as pipeline:
        while True:
            await pipeline.watch(keys.symbols(market))
            before = {change.symbol: change for change in await Checkpoints(client, keys, market).changes()}
            merged = [united(before.get(wish.symbol), wish, named) for wish in wanted]
            fields: Any = {change.symbol: encode_change(change) for change in merged}
            pipeline.multi()  # type: ignore[no-untyped-call] # redis-py's
            pipeline.hset(keys.symbols(market), mapping=fields)
            with contextlib.suppress(WatchError):  # somebody else has changed something meanwhile
                await pipeline.execute()
                return


def united(before: Change | None, wish: Change, named: Sequence[Interval]) -> Change:
    """A wish together with what was wished before of its symbol; ``named`` are the intervals of the settings."""
    if before is None or not before.record or not wish.record or before.intervals == wish.intervals:
        return wish
    intervals = {*(before.intervals or named), *(wish.intervals or named)}
    return wish._replace(intervals=tuple(interval for interval in Interval if interval in intervals))


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
    known = named | {series.symbol for series in before.series}
    known |= {wish.symbol for wish in before.changes if wish.record}
    fits_pattern = any(is_pattern(name) and matches(wanted.symbol, (name,)) for name in named)
    if before.trouble is not None and (fits_pattern or is_pattern(wanted.symbol)):
        return
    if not any(matches(symbol, (wanted.symbol,)) for symbol in known):
        raise SettingsError(
            f"{wanted.symbol} is not recorded on {market}: `candlewick symbols list {market}` shows what is"
        )


def parse_changes(symbols: Sequence[str], intervals: Sequence[Interval], *, record: bool) -> list[Change]:
    """Changes from names and patterns that a user typed; SettingsError when one can be neither."""
    found = []
    for text in symbols:
        try:
            found.append(Change(_PATTERN.validate_python(text), record, tuple(intervals)))
        except ValidationError as error:
            raise SettingsError(error.errors()[0]["msg"].removeprefix("Value error, ")) from None
    return found
