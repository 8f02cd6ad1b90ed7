"""What the exchange lists, and which of it is recorded. Pure: exchangeInfo and settings in, symbols out.

A symbol is recorded unless its status is one of those in which it is not traded yet, or not any more (``BREAK``,
``SETTLING``, ``CLOSE`` …); in all others it trades, or may trade again any moment. The names are Binance's own; COIN-M
calls the field ``contractStatus``.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from fnmatch import translate
from functools import lru_cache
from typing import Any, NamedTuple

from shared.candle import Series, checked_symbol
from shared.errors import MalformedCandleError
from shared.interval import Interval
from shared.market import Market
from shared.sections import RecordGroup, is_pattern

NOT_LISTED = "NOT LISTED"
"""Status of a symbol that the exchange's list does not hold any more."""

_NOT_TRADED = frozenset(
    {"PENDING_TRADING", "PRE_TRADING", "BREAK", "SETTLING", "DELIVERING", "DELIVERED", "CLOSE", NOT_LISTED}
)


class Listing(NamedTuple):
    """One symbol as exchangeInfo shows it.

    Attributes:
        symbol: its name.
        status: the exchange's own word.
        dated: whether it is a futures contract with a delivery date.
        onboard_ms: when it was first traded; None where the exchange does not say (spot).
    """

    symbol: str
    status: str
    dated: bool = False
    onboard_ms: int | None = None

    @property
    def is_recorded(self) -> bool:
        """Whether a symbol of this status is recorded; a word that is not known does not end anything."""
        return self.status not in _NOT_TRADED


class Change(NamedTuple):
    """What ``candlewick symbols`` asked for: a name or pattern to record besides the settings, or to leave out.

    Attributes:
        symbol: name or pattern.
        record: whether it is recorded.
        intervals: at which; empty for those that the market's groups name.
    """

    symbol: str
    record: bool
    intervals: tuple[Interval, ...] = ()


def parse_listings(market: Market, info: Any) -> Sequence[Listing] | None:
    """The symbols of an exchangeInfo body; those that no folder could be named after are left out.

    Returns:
        None when the body is not one.
    """
    symbols = info.get("symbols") if isinstance(info, dict) else None
    if not isinstance(symbols, list):
        return None
    field = "contractStatus" if market is Market.COIN_FUTURES else "status"
    return [found for one in symbols if isinstance(one, dict) and (found := _listing(one, field)) is not None]


def _listing(one: Mapping[str, Any], status_field: str) -> Listing | None:
    try:
        symbol = checked_symbol(one.get("symbol"))
    except MalformedCandleError:
        return None
    contract = one.get("contractType") or ""
    onboard = one.get("onboardDate")
    return Listing(
        symbol,
        str(one.get(status_field)),
        dated=bool(contract) and "PERPETUAL" not in str(contract),
        onboard_ms=onboard if type(onboard) is int and onboard > 0 else None,
    )


def matches(symbol: str, patterns: Iterable[str]) -> bool:
    """Whether a symbol is one of these names, or fits one of these patterns."""
    return any(_compiled(pattern).fullmatch(symbol) is not None for pattern in patterns)


@lru_cache(maxsize=1000)
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(translate(pattern.replace("[", "[[]")))


def needs_listings(groups: Iterable[RecordGroup], changes: Iterable[Change]) -> bool:
    """Whether anything is named by a pattern."""
    return any(is_pattern(symbol) for group in groups for symbol in group.symbols) or any(
        change.record and is_pattern(change.symbol) for change in changes
    )


def resolve(
    market: Market,
    groups: Sequence[RecordGroup],
    changes: Sequence[Change],
    listings: Sequence[Listing] | None,
) -> dict[Series, RecordGroup | None]:
    """Which series are to be recorded, each with the group that names it (None for one that a change added).

    Args:
        market: whose groups these are.
        groups: the settings' groups of this market.
        changes: what was added and removed since; one that names a symbol goes before one whose pattern fits.
        listings: what the exchange lists; None while that is not known: then names count and patterns match nothing.

    Returns:
        Names that the exchange does not list are kept (it may know more than it lists); whatever it lists with a
        status that is not recorded is left out.
    """
    wanted: dict[Series, RecordGroup | None] = {}
    by_name = {one.symbol: one for one in listings or ()}
    intervals = tuple(dict.fromkeys(interval for group in groups for interval in group.intervals))
    for group in groups:
        for symbol in _symbols_of_group(group, listings or ()):
            for interval in group.intervals:
                wanted.setdefault(Series(market, symbol, interval), group)
    for change in changes:
        if not change.record:
            continue
        names = [one.symbol for one in listings or () if matches(one.symbol, (change.symbol,))]
        for symbol in names if is_pattern(change.symbol) else (change.symbol,):
            for interval in change.intervals or intervals:
                wanted.setdefault(Series(market, symbol, interval), None)
    return {
        series: group
        for series, group in wanted.items()
        if not _is_removed(series.symbol, changes)
        and (series.symbol not in by_name or by_name[series.symbol].is_recorded)
    }


def _symbols_of_group(group: RecordGroup, listings: Sequence[Listing]) -> Iterable[str]:
    for symbol in group.symbols:
        if not is_pattern(symbol):
            yield symbol
            continue
        for one in listings:
            contract = "dated" if one.dated else "perpetual"
            fits = matches(one.symbol, (symbol,)) and not matches(one.symbol, group.exclude)
            if fits and (group.market is Market.SPOT or contract in group.contracts):
                yield one.symbol


def _is_removed(symbol: str, changes: Iterable[Change]) -> bool:
    for change in changes:
        if change.symbol == symbol:
            return not change.record
    return any(not change.record and matches(symbol, (change.symbol,)) for change in changes)
