"""Groups, changes and lists of symbols."""

from collections.abc import Sequence
from typing import Any

from producers.exchange.symbols import Listing
from producers.live.selection import Change, resolve
from shared.market import Market
from shared.settings.load import load_settings
from shared.settings.sections import RecordGroup

USDT = Market.USDT_FUTURES


LISTED = [
    Listing("BTCUSDT", "TRADING"),
    Listing("ETHUSDT", "TRADING"),
    Listing("BTCUSDC", "TRADING"),
    Listing("BTCUSDT_240927", "TRADING", dated=True),
    Listing("币安人生USDT", "TRADING"),
    Listing("LUNAUSDT", "SETTLING"),
]


def group(*symbols: str, market: Market = USDT, **values: Any) -> RecordGroup:
    """A group as a settings file has it."""
    record = {"market": market, "symbols": symbols, "intervals": values.pop("intervals", ["1m"])} | values
    (found,) = load_settings(flags={"record": [record]}).record
    return found


def symbols(
    groups: Sequence[RecordGroup],
    changes: Sequence[Change] = (),
    listings: Sequence[Listing] | None = LISTED,
    market: Market = USDT,
) -> set[str]:
    return {series.symbol for series in resolve(market, groups, changes, listings)}
