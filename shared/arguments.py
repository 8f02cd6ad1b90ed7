"""Text from the user to values, with errors that name what is allowed."""

from datetime import UTC, date, datetime
from typing import TYPE_CHECKING

from shared.errors import CandlewickError, MalformedCandleError
from shared.interval import Interval
from shared.market import Market

if TYPE_CHECKING:
    from shared.candle import Series


def parse_market(text: str) -> Market:
    """A market by name. CandlewickError for any other."""
    try:
        return Market(text.lower().replace("-", "_"))
    except ValueError:
        raise CandlewickError(f"market {text!r} is not known: {', '.join(Market)}") from None


def parse_interval(text: str) -> Interval:
    """An interval by the exchange's spelling. CandlewickError for any other."""
    try:
        return Interval(text)
    except ValueError:
        raise CandlewickError(f"interval {text!r} is not known: {', '.join(Interval)}") from None


def parse_symbol(text: str) -> str:
    """A symbol in uppercase. CandlewickError when it cannot be one."""
    from shared.candle import checked_symbol  # help needs none

    try:
        return checked_symbol(text.upper())
    except MalformedCandleError as error:
        raise CandlewickError(str(error)) from None


def parse_series(market: str, symbol: str, interval: str) -> "Series":
    """A series from its three names. CandlewickError names the one that is wrong."""
    from shared.candle import Series

    return Series(parse_market(market), parse_symbol(symbol), parse_interval(interval))


def parse_time(value: datetime | date | str | None, name: str) -> datetime | None:
    """A moment from ISO 8601 text such as ``2024-06-30`` or ``2024-06-30T15:00``; without a zone it is UTC.

    Raises:
        CandlewickError: when it is not of that form.
    """
    if value is None:
        return None
    if isinstance(value, date) and not isinstance(value, datetime):
        value = datetime(value.year, value.month, value.day, tzinfo=UTC)
    try:
        moment = datetime.fromisoformat(value) if isinstance(value, str) else value
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment
    except (ValueError, AttributeError):
        raise CandlewickError(f"{name} {value!r} is not a time of the form 2024-06-30 or 2024-06-30T15:00") from None


def milliseconds(moment: datetime | None) -> int | None:
    """A moment as UTC milliseconds."""
    return None if moment is None else int(moment.timestamp() * 1000)
