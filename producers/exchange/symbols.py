"""What the exchange lists, and which of it is recorded. Pure: exchangeInfo and settings in, symbols out.

A symbol is recorded unless its status is one of those in which it is not traded yet, or not any more (``BREAK``,
``SETTLING``, ``CLOSE`` …); in all others it trades, or may trade again any moment. The names are Binance's own; COIN-M
calls the field ``contractStatus``.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from shared.candle import checked_symbol
from shared.errors import MalformedCandleError
from shared.market import Market

NOT_LISTED = "NOT LISTED"  # status of a symbol that the exchange's list does not hold any more

_NOT_TRADED = frozenset(
    {"PENDING_TRADING", "PRE_TRADING", "BREAK", "SETTLING", "DELIVERING", "DELIVERED", "CLOSE", NOT_LISTED}
)


class Listing(NamedTuple):
    """One symbol as exchangeInfo shows it."""

    symbol: str
    status: str  # the exchange's own word
    dated: bool = False  # whether it is a futures contract with a delivery date

    @property
    def is_recorded(self) -> bool:
        """Whether a symbol of this status is recorded; a word that is not known does not end anything."""
        return self.status not in _NOT_TRADED


def parse_listings(market: Market, info: Any) -> Sequence[Listing] | None:
    """The symbols of an exchangeInfo body, without those that cannot name a folder; None when it is not one."""
    symbols = info.get("symbols") if isinstance(info, dict) else None
    if not isinstance(symbols, list):
        return None
    field = "contractStatus" if market is Market.COIN_FUTURES else "status"
    listings = (_listing(entry, field) for entry in symbols if isinstance(entry, dict))
    return [listing for listing in listings if listing is not None]


def _listing(entry: Mapping[str, Any], status_field: str) -> Listing | None:
    try:
        symbol = checked_symbol(entry.get("symbol"))
    except MalformedCandleError:
        return None
    contract, status = entry.get("contractType"), entry.get(status_field)
    return Listing(
        symbol,
        status if isinstance(status, str) else "",
        dated=isinstance(contract, str) and contract != "" and "PERPETUAL" not in contract,
    )
