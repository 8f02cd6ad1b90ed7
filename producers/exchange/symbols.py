"""What the exchange lists, and which of it is recorded. Pure: exchangeInfo and settings in, symbols out.

A symbol is recorded unless its status is one of those in which it is not traded yet, or not any more (``BREAK``,
``SETTLING``, ``CLOSE`` …); in all others it trades, or may trade again any moment. The names are Binance's own; COIN-M
calls the field ``contractStatus``.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from shared.candle import MAX_TIME_MS, checked_symbol
from shared.errors import MalformedCandleError
from shared.market import Market

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
    contract, status, onboard = one.get("contractType"), one.get(status_field), one.get("onboardDate")
    return Listing(
        symbol,
        status if isinstance(status, str) else "",
        dated=isinstance(contract, str) and contract != "" and "PERPETUAL" not in contract,
        onboard_ms=onboard if type(onboard) is int and 0 < onboard < MAX_TIME_MS else None,
    )
