"""Which series one process records: by the settings, ``candlewick symbols``, the exchange's list, and its share. Pure.

A name is recorded at once, without asking anybody; patterns wait for the list. A symbol that the exchange lists with a
status in which it is not traded, or lists no longer, is not recorded.
"""

import logging
import re
from collections.abc import Iterable, Mapping, Sequence
from fnmatch import translate
from functools import lru_cache
from typing import NamedTuple

from producers.exchange.symbols import NOT_LISTED, Listing
from producers.live.members import Division
from producers.live.share import Share
from shared.candle import Series
from shared.interval import Interval
from shared.market import Market
from shared.settings.model import Settings
from shared.settings.sections import RecordGroup
from shared.settings.types import is_pattern

log = logging.getLogger(__name__)

_FEW = 10
_DOUBTED_READS = 3  # how often a list is doubted that lacks half of more than a few symbols


class Change(NamedTuple):
    """What ``candlewick symbols`` asked for: a name or pattern to record besides the settings, or to leave out."""

    symbol: str
    record: bool
    intervals: tuple[Interval, ...] = ()  # empty for those that the market's groups name


class Update(NamedTuple):
    """What has become of a process's series."""

    added: Sequence[Series]  # they have come to be wanted
    taken_over: Sequence[Series]  # they were wanted before, of another producer
    given_up: Sequence[Series]  # others record them now
    gone: Sequence[Series]  # they are not wanted any more


class SymbolList:
    """The exchange's list of one market's symbols, as it was read last and can be trusted. Pure."""

    def __init__(self) -> None:
        self.by_symbol: Mapping[str, Listing] | None = None  # what is or was listed; None while it was never read
        self.listed_ms = 0  # the exchange's time before it was read; 0: never
        self.listed_before_ms: int | None = None  # the same of the reading before; None: there was none
        self._traded_before: frozenset[str] | None = None  # what it showed as traded at the reading before
        self.read_ms = 0  # the exchange's time after it was read: whatever it says has happened by then
        self._unseen_ms: dict[str, int] = {}
        self._doubted = 0

    def take(self, found: Sequence[Listing], now_ms: int, read_ms: int) -> bool:
        """Take a new list over; False when it is not believed yet.

        One that lacks half of what was traded before is not believed until it has said so a few times.
        """
        known = self.by_symbol or {}
        before = {listing.symbol for listing in known.values() if listing.is_recorded}
        still = {listing.symbol for listing in found if listing.is_recorded} & before
        self._doubted = self._doubted + 1 if len(before) > _FEW and len(still) * 2 < len(before) else 0
        if 0 < self._doubted <= _DOUBTED_READS:
            log.error("of %d symbols the exchange lists %d as traded: not believed yet", len(before), len(still))
            return False
        self._traded_before = None if self.by_symbol is None else frozenset(before)
        if self.by_symbol is not None:
            traded = {listing.symbol for listing in found if listing.is_recorded}
            self._unseen_ms |= dict.fromkeys(traded - before, self.listed_ms)
        gone = {symbol: Listing(symbol, NOT_LISTED) for symbol in known}
        self.by_symbol = gone | {listing.symbol: listing for listing in found}
        self.listed_before_ms, self.listed_ms, self.read_ms = self.listed_ms or None, now_ms, read_ms
        return True

    def unseen_ms(self, symbol: str) -> int | None:
        """When the list was read last, in this life, that did not show a symbol as traded; None: it always did."""
        return self._unseen_ms.get(symbol)

    def was_traded(self, symbol: str) -> bool | None:
        """Whether a symbol was traded at the reading before the last; None when there was none in this life."""
        return None if self._traded_before is None else symbol in self._traded_before


class Selection:
    """Which series one process records, and why one is not recorded any more. Pure.

    Attributes:
        all_wanted: every series that is to be recorded by those who share with this process, each with the group that
            names it (None for one that a command added).
        wanted: those of them that this process records: its share, and what it has given up until others deliver it.
        division: how they are shared.
        symbols: the exchange's list.
    """

    def __init__(self, market: Market, settings: Settings, share: Share, division: Division) -> None:
        self.market = market
        self.share = share
        self.division = division
        self.all_wanted: Mapping[Series, RecordGroup | None] = {}
        self.wanted: Mapping[Series, RecordGroup | None] = {}
        self.is_empty = True  # whether nothing of the market is to be recorded, by any share
        self.symbols = SymbolList()
        self._settings = settings
        self._groups = settings.groups(market)
        self._changes: Sequence[Change] = ()

    def change(self, changes: Sequence[Change]) -> bool:
        """Take over what ``candlewick symbols`` asked for; whether it is something new."""
        is_new = changes != self._changes
        self._changes = changes
        return is_new

    @property
    def symbols_seconds(self) -> float:
        """How often the exchange's list is read again."""
        return self._settings.exchange.symbols_seconds

    @property
    def needs_list(self) -> bool:
        """Whether a pattern waits for the exchange's list."""
        return self.symbols.by_symbol is None and needs_listings(self._groups, self._changes)

    def update(self, division: Division) -> Update:
        """Reckon anew what this process records, by how the series are shared now."""
        listings = None if self.symbols.by_symbol is None else list(self.symbols.by_symbol.values())
        resolved = resolve(self.market, self._groups, self._changes, listings)
        self.is_empty, self.division = not resolved, division
        all_before, self.all_wanted = self.all_wanted, {s: group for s, group in resolved.items() if s in self.share}
        before, self.wanted = self.wanted, {s: group for s, group in self.all_wanted.items() if self._keeps(s)}
        added = [series for series in self.wanted if series not in before]
        return Update(
            added=[series for series in added if series not in all_before],
            taken_over=[series for series in added if series in all_before],
            given_up=[series for series in before if series not in self.wanted and series in self.all_wanted],
            gone=[series for series in before if series not in self.all_wanted],
        )

    def is_mine(self, series: Series) -> bool:
        """Whether a series, wanted or not, belongs to this process."""
        return series in self.share and self.division.is_mine(series)

    def _keeps(self, series: Series) -> bool:
        """Whether this process records a series: its own, or one whose owners do not deliver it yet."""
        return self.division.is_mine(series) or (series in self.wanted and not self.division.may_leave(series))

    def listing(self, series: Series) -> Listing | None:
        """What the exchange lists of a series' symbol; None when it lists nothing, or its list is not known."""
        return (self.symbols.by_symbol or {}).get(series.symbol)

    def reason_gone(self, series: Series) -> tuple[str, bool]:
        """Why a series is not wanted any more, and whether that is the exchange's doing."""
        listing = self.listing(series)
        if listing is None or listing.is_recorded:
            return "removed", False
        return ("no longer listed" if listing.status == NOT_LISTED else f"its status is {listing.status}"), True

    def unlisted(self, series: Iterable[Series]) -> list[str]:
        """Symbols of these that the exchange's list, where it is known, does not hold."""
        listed = self.symbols.by_symbol
        return [] if listed is None else sorted({chosen.symbol for chosen in series} - listed.keys())

    def unmatched(self) -> list[str]:
        """Patterns that fit nothing on the exchange's list, where that is known."""
        if self.symbols.by_symbol is None:
            return []
        patterns = [symbol for group in self._groups for symbol in group.symbols if is_pattern(symbol)]
        patterns += [change.symbol for change in self._changes if change.record and is_pattern(change.symbol)]
        return [
            pattern for pattern in patterns if not any(matches(name, (pattern,)) for name in self.symbols.by_symbol)
        ]

    def history_ms(self, series: Series) -> int:
        """How far back a first start of a series reaches, in ms."""
        group = self.wanted.get(series)
        return self._settings.history_ms(group) if group is not None else 0


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
    market: Market, groups: Sequence[RecordGroup], changes: Sequence[Change], listings: Sequence[Listing] | None
) -> dict[Series, RecordGroup | None]:
    """Which series are to be recorded, each with the group that names it (None for one that a change added).

    A change that names a symbol goes before one whose pattern fits. While ``listings`` is not known (None), patterns
    match nothing. A name that the exchange does not list is kept: it may know more than it lists. What it lists with a
    status that is not recorded is left out.
    """
    wanted: dict[Series, RecordGroup | None] = {}
    by_name = {listing.symbol: listing for listing in listings or ()}
    intervals = tuple(dict.fromkeys(interval for group in groups for interval in group.intervals))
    for group in groups:
        for symbol in _symbols_of_group(group, listings or ()):
            for interval in group.intervals:
                wanted.setdefault(Series(market, symbol, interval), group)
    for change in changes:
        if not change.record:
            continue
        names = [listing.symbol for listing in listings or () if matches(listing.symbol, (change.symbol,))]
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
        for listing in listings:
            contract = "dated" if listing.dated else "perpetual"
            fits = matches(listing.symbol, (symbol,)) and not matches(listing.symbol, group.exclude)
            if fits and (group.market is Market.SPOT or contract in group.contracts):
                yield listing.symbol


def _is_removed(symbol: str, changes: Iterable[Change]) -> bool:
    for change in changes:
        if change.symbol == symbol:
            return not change.record
    return any(not change.record and matches(symbol, (change.symbol,)) for change in changes)
