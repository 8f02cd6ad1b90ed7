"""Which series are recorded: the settings' groups, changed by ``candlewick symbols``, and the exchange's list. Pure."""

import re
from collections.abc import Iterable, Sequence
from fnmatch import translate
from functools import lru_cache
from typing import NamedTuple

from producers.exchange.symbols import Listing
from shared.candle import Series
from shared.interval import Interval
from shared.market import Market
from shared.settings.model import RecordGroup
from shared.settings.types import is_pattern


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
