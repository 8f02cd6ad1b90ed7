"""Stream entries: candles and series facts as the fields that Redis keeps, and back.

Names and order of the fields never vary for a kind of entry: Redis stores a repeated set of names once (its listpacks'
"same fields" flag). A candle's fields are named as the attributes of ``Candle``. The market is the stream's.
"""

from collections.abc import Mapping
from operator import attrgetter, itemgetter
from typing import NamedTuple

from shared.candle import (
    CANDLE_FIELDS,
    MAX_SYMBOL_LENGTH,
    Candle,
    checked_candle,
    checked_series,
    checked_time,
)
from shared.errors import MalformedCandleError
from shared.market import Market
from shared.series_fact import FactKind, SeriesFact
from shared.text import printable

_MAX_REASON = 200
_values_of = attrgetter(*CANDLE_FIELDS)
_NAMES = ("symbol", "interval", *CANDLE_FIELDS)
_CANDLE_NAMES = tuple(name.encode() for name in _NAMES)
_candle_values_of = itemgetter(*_NAMES)


class EntryId(NamedTuple):
    """A stream entry's id, which sorts as Redis sorts it."""

    milliseconds: int
    sequence: int

    @classmethod
    def parse(cls, text: bytes) -> "EntryId":
        """The id as Redis writes it."""
        milliseconds, _, sequence = text.partition(b"-")
        return cls(int(milliseconds), int(sequence or 0))

    @property
    def next(self) -> "EntryId":
        """The first id behind it."""
        return EntryId(self.milliseconds, self.sequence + 1)

    def __str__(self) -> str:
        return f"{self.milliseconds}-{self.sequence}"


class Entry(NamedTuple):
    """One stream entry: a candle, or a fact about its series."""

    market: Market
    id: bytes
    item: Candle | SeriesFact


def encode_entry(item: Candle | SeriesFact) -> dict[str, str | int]:
    """A candle or a fact as the fields of a stream entry."""
    if isinstance(item, SeriesFact):
        return {
            "symbol": item.series.symbol,
            "interval": item.series.interval.value,
            "note": item.kind.value,
            "from_ms": item.from_ms,
            "to_ms": item.to_ms,
            "noted_ms": item.noted_ms,
            "reason": printable(item.reason, _MAX_REASON),
        }
    named = {"symbol": item.series.symbol, "interval": item.series.interval.value}
    return named | dict(zip(CANDLE_FIELDS, _values_of(item), strict=True))


def entry_fields(item: Candle | SeriesFact) -> dict[bytes, bytes]:
    """The fields of an item's entry as Redis answers them."""
    return {name.encode(): str(value).encode() for name, value in encode_entry(item).items()}


def decode_entry(market: Market, fields: Mapping[bytes, bytes]) -> Candle | SeriesFact:
    """What ``encode_entry`` wrote. Fields it does not know are ignored.

    Raises:
        MalformedCandleError: when a field is missing, is not UTF-8 or is out of range; no other error, whatever comes
            in.
    """
    try:
        if tuple(fields) == _CANDLE_NAMES:  # nearly every entry: its values are decoded together
            values = b"\0".join(fields.values()).decode().split("\0")
            if len(values) == len(_CANDLE_NAMES):
                return _candle(market, *values)
        text = {name.decode(): value.decode() for name, value in fields.items()}
        return _fact(market, text) if "note" in text else _candle(market, *_candle_values_of(text))
    except KeyError as missing:
        raise MalformedCandleError(f"field {missing} is missing") from None
    except UnicodeDecodeError as error:
        raise MalformedCandleError(f"a field is not UTF-8: {error.reason}") from None


def _candle(market: Market, symbol: str, interval: str, open_time_ms: str, *values: str) -> Candle:
    """A candle from the texts of its fields, in their order."""
    *first, trade_num, taker_base, taker_quote, source, event_time_ms, receive_time_ms = values
    if not source.isidentifier() or len(source) > MAX_SYMBOL_LENGTH:
        raise MalformedCandleError(f"source {source!r:.40} is not a word")
    return checked_candle(
        checked_series(market, symbol, interval),
        _integer(open_time_ms),
        (*first, taker_base, taker_quote),
        _integer(trade_num),
        source=source,
        event_time_ms=_integer(event_time_ms),
        receive_time_ms=_integer(receive_time_ms),
    )


def _fact(market: Market, text: Mapping[str, str]) -> SeriesFact:
    try:
        kind = FactKind(text["note"])
    except ValueError:
        raise MalformedCandleError(f"note {text['note']!r:.40} is not known: {', '.join(FactKind)}") from None
    series = checked_series(market, text["symbol"], text["interval"])
    begin, end, noted = (checked_time(name, _integer(text[f"{name}_ms"])) for name in ("from", "to", "noted"))
    if end < begin or (kind.is_range and end == begin):
        raise MalformedCandleError(f"the fact's range from {begin} to {end} is not one")
    reason = text["reason"]
    if len(reason) > _MAX_REASON or not reason.isprintable():
        raise MalformedCandleError(f"the fact's reason {reason!r:.40} is not a line of up to {_MAX_REASON} characters")
    return SeriesFact(series, kind, begin, end, noted, reason)


def _integer(text: str) -> int:
    if len(text) > 20 or not text.isascii() or not text.isdigit():  # noqa: PLR2004 # digits of a 64-bit integer
        raise MalformedCandleError(f"{text!r:.40} is not a whole number")
    return int(text)
