"""The candle: one value from the moment a kline is parsed until it is a row on disk.

A candle is its key: market, symbol, interval and open time. Prices and volumes stay the exchange's own decimal strings
until the last step, so that no hop can change a digit. ``checked_candle`` is the door for values from outside (a frame,
a REST row, a stream entry; ``candlewick.backfill.archive_format`` has its own for whole files): what passes it is safe
to store and safe to use in a path.
"""

import re
from dataclasses import dataclass, field, fields
from functools import lru_cache
from typing import Any, NamedTuple

from shared.errors import MalformedCandleError
from shared.interval import Interval
from shared.market import Market
from shared.text import quoted

MAX_SYMBOL_LENGTH = 60
"""Characters; a folder ``symbol=…`` of four-byte characters then still fits a file name's 255 bytes."""

MAX_TIME_MS = 7_258_118_400_000  # 2200-01-01: a time beyond it is in the wrong unit
_MAX_TRADES = 2**53  # beyond it a float64 no longer counts by one
_DECIMALS = re.compile(r"\d{1,30}(?:\.\d{1,30})?(?:,\d{1,30}(?:\.\d{1,30})?){7}", re.ASCII)


class Series(NamedTuple):
    """One market, symbol and interval: what is subscribed to, and what has a folder of its own."""

    market: Market
    symbol: str
    interval: Interval

    def __str__(self) -> str:
        return f"{self.market} {self.symbol}-{self.interval}"

    @property
    def field(self) -> str:
        """Its name among the market's series, such as ``BTCUSDT@1m``."""
        return f"{self.symbol}@{self.interval}"


def series_of_field(market: Market, field: str) -> Series | None:
    """The series that ``Series.field`` names; None for any other text."""
    symbol, _, interval = field.partition("@")
    try:
        return checked_series(market, symbol, interval)
    except MalformedCandleError:
        return None


@dataclass(frozen=True, slots=True)
class Candle:
    """A closed candle. Prices and volumes are the exchange's decimal strings, times are UTC milliseconds.

    Equality compares what the exchange said about the market (key and values), not how it reached us.
    """

    series: Series
    open_time_ms: int  # on the interval's grid
    open: str
    high: str
    low: str
    close: str
    volume: str  # in the base asset; in contracts for coin_futures
    quote_volume: str  # in the quote asset; in the base asset for coin_futures
    trade_num: int
    taker_buy_base_asset_volume: str  # the part of ``volume`` that takers bought
    taker_buy_quote_asset_volume: str  # the part of ``quote_volume`` that takers bought
    source: str = field(compare=False)  # ``websocket``, ``rest`` or ``replay``
    event_time_ms: int = field(compare=False)  # the exchange's time when the candle was sent, or asked for
    receive_time_ms: int = field(compare=False)  # the local clock when it arrived; for information only

    @property
    def end_time_ms(self) -> int:
        """The candle's end, which is the next one's open time."""
        return self.series.interval.end(self.open_time_ms)

    def seconds_since_close(self, now_ms: int) -> float:
        """How long ago it closed: how late the exchange sent it, by its clock, and how long we have had it, by ours."""
        return (self.event_time_ms - self.end_time_ms + now_ms - self.receive_time_ms) / 1000


WEBSOCKET = "websocket"
"""The ``source`` of a candle that came as it closed."""

REST = "rest"
"""The ``source`` of one that was asked for."""

DECIMALS = tuple(field.name for field in fields(Candle) if field.type is str and field.compare)
"""Names of the candle's prices and volumes, in the order that ``checked_candle`` takes them."""


def checked_symbol(symbol: object) -> str:
    """``symbol``, if it is fit to name a series and a folder; else MalformedCandleError that names it.

    Letters (no lower case) and digits of any script, ``_`` and ``-`` are allowed, so nothing that passes can leave its
    folder.
    """
    if not isinstance(symbol, str) or not 1 <= len(symbol) <= MAX_SYMBOL_LENGTH:
        raise MalformedCandleError(f"symbol {quoted(symbol, 80)} is not text of 1 to {MAX_SYMBOL_LENGTH} characters")
    if not symbol.replace("_", "a").replace("-", "a").isalnum() or symbol != symbol.upper():
        raise MalformedCandleError(f"symbol {symbol!r} is not allowed: letters in uppercase, digits, '_' and '-' only")
    return symbol


def checked_candle(
    series: Series,
    open_time_ms: object,
    decimals: tuple[object, ...],
    trade_num: object,
    *,
    source: str,
    event_time_ms: object,
    receive_time_ms: int,
) -> Candle:
    """A candle from untrusted values of a checked series; MalformedCandleError names the one that is wrong.

    ``decimals`` are the values of ``DECIMALS``: plain decimal strings without sign or exponent, at most 30 digits
    either side of the point. Times are ints between 1970 and 2200, the open time on the interval's grid; ``trade_num``
    is an int from 0 to 2**53. ``source`` and ``receive_time_ms`` are our own and not checked.
    """
    open_time = checked_time("open time", open_time_ms)
    if not series.interval.is_open_time(open_time):
        raise MalformedCandleError(f"open time {open_time} is not on the grid of {series.interval}")
    try:
        plain = _DECIMALS.fullmatch(",".join(decimals))  # type: ignore[arg-type] # a TypeError is the check
    except TypeError:
        plain = None
    if plain is None:
        raise MalformedCandleError(
            f"prices and volumes are not plain decimals: {', '.join(map(quoted, decimals)):.200}"
        )
    if type(trade_num) is not int or not 0 <= trade_num <= _MAX_TRADES:
        raise MalformedCandleError(f"number of trades {quoted(trade_num)} is not a count")
    event_time = checked_time("event time", event_time_ms)
    values: tuple[Any, ...] = (*decimals[:6], trade_num, *decimals[6:], source, event_time, receive_time_ms)
    return Candle(series, open_time, *values)


def checked_series(market: Market, symbol: object, interval: object) -> Series:
    """A series from untrusted names; MalformedCandleError names the one that is wrong."""
    if not isinstance(interval, str):
        raise MalformedCandleError(f"interval {quoted(interval)} is not known")
    if not isinstance(symbol, str):
        raise MalformedCandleError(f"symbol {quoted(symbol)} is not text")
    return _series(market, symbol, interval)


@lru_cache(maxsize=20_000)
def _series(market: Market, symbol: str, interval: str) -> Series:
    try:
        known_interval = Interval(interval)
    except ValueError:
        raise MalformedCandleError(f"interval {quoted(interval)} is not known") from None
    return Series(market, checked_symbol(symbol), known_interval)


def checked_time(name: str, value: object) -> int:
    """``value``, if it is an int of UTC milliseconds between 1970 and 2200; else MalformedCandleError with its name."""
    if type(value) is not int or not 0 <= value < MAX_TIME_MS:
        raise MalformedCandleError(f"{name} {quoted(value)} is not a time in milliseconds")
    return value
