"""Which series are meant: by market, by symbols and patterns, by interval. Pure; the one definition of all who ask."""

from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from fnmatch import fnmatchcase

from shared.candle import Series
from shared.errors import StoreError
from shared.interval import Interval
from shared.market import Market
from shared.text import listed


@dataclass(frozen=True, slots=True)
class SeriesFilter:
    """Series of ``markets``, with a symbol that fits one of ``symbols``, at ``interval``.

    Attributes:
        markets: empty: all.
        symbols: names, and patterns with ``*`` and ``?``; empty: all.
        interval: None: all.
    """

    markets: tuple[Market, ...] = ()
    symbols: tuple[str, ...] = ()
    interval: Interval | None = None

    def __contains__(self, series: Series) -> bool:
        return (
            (not self.markets or series.market in self.markets)
            and self.interval in (None, series.interval)
            and (not self.symbols or any(fnmatchcase(series.symbol, name) for name in self.symbols))
        )

    def of_those(self, series: Iterable[Series], where: str) -> list[Series]:
        """Those of a store's series that are meant. StoreError names what was never recorded."""
        every = list(series)
        if not every:
            raise StoreError(f"nothing was recorded in {where}")
        found = [one for one in every if one in self]
        unknown = [name for name in self.symbols if not any(fnmatchcase(one.symbol, name) for one in found)]
        if found and not unknown:
            return found
        unknown_names = [listed(unknown)] if unknown else []
        what = " ".join([*map(str, self.markets), *unknown_names, *([self.interval] if self.interval else [])])
        near = get_close_matches(unknown[0], {one.symbol for one in every}, n=3) if unknown else []
        hint = f"; did you mean {', '.join(near)}?" if near else ""
        raise StoreError(f"{what} was never recorded in {where}{hint}")
