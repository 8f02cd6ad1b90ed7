"""The candle: one value from the moment a kline is parsed until it is a row on disk.

A candle is its key: market, symbol, interval and open time. Prices and volumes stay the exchange's own decimal strings
until the last step, so that no hop can change a digit. ``checked_candle`` is the door for values from outside (a frame,
a REST row, a stream entry; ``candlewick.backfill.archive_format`` has its own for whole files): what passes it is safe
to store and safe to use in a path.
"""

import re
from functools import lru_cache
from operator import attrgetter
from typing import Any, NamedTuple

import msgspec

from shared.errors import MalformedCandleError
from shared.interval import Interval
from shared.market import Market
from shared.text import quoted

MAX_SYMBOL_LENGTH = 60
"""Characters; a folder ``symbol=…`` of four-byte characters then still fits a file name's 255 bytes."""

MAX_TIME_MS = 7_258_118_400_000  # 2200-01-01: a time beyond it is in the wrong unit
_MAX_TRADES = 2**53  # beyond it a float64 no longer counts by one
_DECIMAL = r"\d{1,30}+(?:\.\d{1,30}+)?+"  # never goes back: what does not fit at once does not fit
_are_decimals = re.compile(",".join([_DECIMAL] * 8), re.ASCII).fullmatch


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


class Candle(msgspec.Struct, frozen=True, eq=False, gc=False):
    """A closed candle. Prices and volumes are the exchange's decimal strings, times are UTC milliseconds.

    Equality compares what the exchange said about the market (key and values), not how it reached us: the last three.
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
    source: str  # ``websocket``, ``rest`` or ``replay``
    event_time_ms: int  # the exchange's time when the candle was sent, or asked for
    receive_time_ms: int  # the local clock when it arrived; for information only

    def __eq__(self, other: object) -> bool:
        return _said(self) == _said(other) if isinstance(other, Candle) else NotImplemented

    def __ne__(self, other: object) -> bool:  # msgspec's own would not ask the above
        return not self == other

    def __hash__(self) -> int:
        return hash(_said(self))

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

CANDLE_FIELDS = Candle.__struct_fields__[1:]
"""Names of a candle's fields but for its series, in their order."""

DECIMALS = tuple(name for name in CANDLE_FIELDS[1:-3] if name != "trade_num")
"""Names of the candle's prices and volumes, in the order that ``checked_candle`` takes them."""

_said = attrgetter(*Candle.__struct_fields__[:-3])


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
    open_time_ms: Any,
    decimals: tuple[Any, ...],
    trade_num: Any,
    *,
    source: str,
    event_time_ms: Any,
    receive_time_ms: int,
) -> Candle:
    """A candle from untrusted values of a checked series; MalformedCandleError names the one that is wrong.

    ``decimals`` are the values of ``DECIMALS``: plain decimal strings without sign or exponent, at most 30 digits
    either side of the point. Times are ints between 1970 and 2200, the open time on the interval's grid; ``trade_num``
    is an int from 0 to 2**53. ``source`` and ``receive_time_ms`` are our own and not checked.
    """
    try:
        if (
            type(open_time_ms) is type(trade_num) is type(event_time_ms) is int
            and 0 <= open_time_ms < MAX_TIME_MS
            and series.interval.is_open_time(open_time_ms)
            and _are_decimals(",".join(decimals))  # a TypeError is the check
            and 0 <= trade_num <= _MAX_TRADES
            and 0 <= event_time_ms < MAX_TIME_MS
        ):
            o, h, low, c, v, q, taker_v, taker_q = decimals
            origin = source, event_time_ms, receive_time_ms
            return Candle(series, open_time_ms, o, h, low, c, v, q, trade_num, taker_v, taker_q, *origin)
    except TypeError:
        pass
    raise MalformedCandleError(_fault(series, open_time_ms, decimals, trade_num, event_time_ms))


def _fault(
    series: Series, open_time_ms: object, decimals: tuple[object, ...], trade_num: object, event_time_ms: object
) -> str:
    """Which of the values makes no candle."""
    open_time = checked_time("open time", open_time_ms)
    if not series.interval.is_open_time(open_time):
        return f"open time {open_time} is not on the grid of {series.interval}"
    if not all(isinstance(value, str) for value in decimals) or not _are_decimals(",".join(map(str, decimals))):
        return f"prices and volumes are not plain decimals: {', '.join(map(quoted, decimals)):.200}"
    if type(trade_num) is not int or not 0 <= trade_num <= _MAX_TRADES:
        return f"number of trades {quoted(trade_num)} is not a count"
    return f"event time {quoted(event_time_ms)} is not a time in milliseconds"


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
