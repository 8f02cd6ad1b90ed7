"""Stream entries: candles and notes as the fields that Redis keeps, and back.

Names and order of the fields never vary for a kind of entry: Redis stores a repeated set of names once (its listpacks'
"same fields" flag). The market is the stream's; it is not repeated.
"""

from collections.abc import Mapping
from typing import NamedTuple

from shared.candle import MAX_SYMBOL_LENGTH, Candle, checked_candle, checked_series, checked_time
from shared.errors import MalformedCandleError
from shared.market import Market
from shared.series_fact import Note, NoteKind

_MOST_REASON = 200


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
    """One stream entry: a candle, or a note about its series."""

    market: Market
    id: bytes
    item: Candle | Note


def encode_entry(item: Candle | Note) -> dict[str, str | int]:
    """A candle or a note as the fields of a stream entry."""
    if isinstance(item, Note):
        return {
            "symbol": item.series.symbol,
            "interval": item.series.interval.value,
            "note": item.kind.value,
            "from_ms": item.from_ms,
            "to_ms": item.to_ms,
            "noted_ms": item.noted_ms,
            "reason": "".join(one if one.isprintable() else "?" for one in item.reason[:_MOST_REASON]),
        }
    return {
        "symbol": item.series.symbol,
        "interval": item.series.interval.value,
        "open_time_ms": item.open_time_ms,
        "open": item.open,
        "high": item.high,
        "low": item.low,
        "close": item.close,
        "volume": item.volume,
        "quote_volume": item.quote_volume,
        "trade_num": item.trade_num,
        "taker_buy_base_asset_volume": item.taker_buy_base_asset_volume,
        "taker_buy_quote_asset_volume": item.taker_buy_quote_asset_volume,
        "source": item.source,
        "event_time_ms": item.event_time_ms,
        "receive_time_ms": item.receive_time_ms,
    }


def stored_entry(item: Candle | Note) -> dict[bytes, bytes]:
    """The fields of an item's entry as Redis answers them."""
    return {name.encode(): str(value).encode() for name, value in encode_entry(item).items()}


def decode_entry(market: Market, fields: Mapping[bytes, bytes]) -> Candle | Note:
    """What ``encode_entry`` wrote. Fields it does not know are ignored.

    Raises:
        MalformedCandleError: when a field is missing, is not UTF-8 or is out of range: whatever bytes come in,
            this is the only error.
    """
    try:
        text = {name.decode(): value.decode() for name, value in fields.items()}
        return _note(market, text) if "note" in text else _candle(market, text)
    except KeyError as missing:
        raise MalformedCandleError(f"field {missing} is missing") from None
    except UnicodeDecodeError as error:
        raise MalformedCandleError(f"a field is not UTF-8: {error.reason}") from None


def _candle(market: Market, text: Mapping[str, str]) -> Candle:
    source = text["source"]
    if not source.isidentifier() or len(source) > MAX_SYMBOL_LENGTH:
        raise MalformedCandleError(f"source {source!r:.40} is not a word")
    return checked_candle(
        market=market,
        symbol=text["symbol"],
        interval=text["interval"],
        open_time_ms=_integer(text["open_time_ms"]),
        decimals=(
            text["open"],
            text["high"],
            text["low"],
            text["close"],
            text["volume"],
            text["quote_volume"],
            text["taker_buy_base_asset_volume"],
            text["taker_buy_quote_asset_volume"],
        ),
        trade_num=_integer(text["trade_num"]),
        source=source,
        event_time_ms=_integer(text["event_time_ms"]),
        receive_time_ms=_integer(text["receive_time_ms"]),
    )


def _note(market: Market, text: Mapping[str, str]) -> Note:
    try:
        kind = NoteKind(text["note"])
    except ValueError:
        raise MalformedCandleError(f"note {text['note']!r:.40} is not known: {', '.join(NoteKind)}") from None
    series = checked_series(market, text["symbol"], text["interval"])
    begin = checked_time("from", _integer(text["from_ms"]))
    end = checked_time("to", _integer(text["to_ms"]))
    noted = checked_time("noted", _integer(text["noted_ms"]))
    if end < begin or (kind is NoteKind.ABSENT and end == begin):
        raise MalformedCandleError(f"the note's range from {begin} to {end} is not one")
    reason = text["reason"]
    if len(reason) > _MOST_REASON or not reason.isprintable():
        raise MalformedCandleError(f"the note's reason {reason!r:.40} is not a line of up to {_MOST_REASON} characters")
    return Note(series, kind, begin, end, noted, reason)


def _integer(text: str) -> int:
    if len(text) > 20 or not text.isascii() or not text.isdigit():  # noqa: PLR2004 # digits of a 64-bit integer
        raise MalformedCandleError(f"{text!r:.40} is not a whole number")
    return int(text)
