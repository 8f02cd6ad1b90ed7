"""Bytes of one WebSocket message to what they mean. Pure: no clock, no network.

Whatever the bytes are, ``parse_frame`` returns one of the outcomes below and raises nothing. Most frames are open
klines, pushed many times before their candle closes: they are told from the rest by a byte search and never
decoded. A closed kline with the fields that the exchange sends today is decoded straight into what is checked. With
another field, or a value that does not pass, it is parsed piece by piece, which says what is wrong. The format is
Binance's "Kline/Candlestick Streams", with or without the combined stream's envelope (docs/binance.md has an example
and the variations seen).
"""

import re
from dataclasses import dataclass
from typing import Any

import msgspec
import orjson

from shared.candle import WEBSOCKET, Candle, checked_candle, checked_series
from shared.errors import MalformedCandleError
from shared.market import Market
from shared.text import printable, quoted

_EXCERPT_BYTES = 200
_CLOSED_KEY = b'"x":'
_OPEN = (b'"x":false', b'"x": false')
_DECIMALS = ("o", "h", "l", "c", "v", "q", "V", "Q")  # a kline's names of what ``shared.candle.DECIMALS`` are
_EVENT_TIME = re.compile(rb'"E":\s?(\d{1,15})\b')


@dataclass(frozen=True, slots=True)
class OpenKline:
    """A kline that has not closed yet: nothing to record."""


@dataclass(frozen=True, slots=True)
class Control:
    """The exchange's answer to one of our messages."""

    id: int | None  # the message's; None where the exchange named none
    error: str | None  # None when it was accepted
    channels: tuple[str, ...] | None = None  # the answer to LIST_SUBSCRIPTIONS


@dataclass(frozen=True, slots=True)
class Shutdown:
    """The exchange announces that it will close the connection."""


@dataclass(frozen=True, slots=True)
class NotKline:
    """A well-formed event of another kind, such as ``aggTrade``."""

    event: str


@dataclass(frozen=True, slots=True)
class Malformed:
    """Bytes that are nothing we know: what is wrong with them, and the first 200 of them."""

    reason: str
    excerpt: bytes


Frame = Candle | OpenKline | Control | Shutdown | NotKline | Malformed

OPEN_KLINE = OpenKline()


class _Kline(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """A kline with the fields that the exchange sends, and no others: then nothing in it is passed over unread."""

    t: int
    T: int
    s: str
    i: str
    f: int
    L: int
    o: str
    c: str
    h: str
    l: str  # noqa: E741 # the exchange's name
    v: str
    n: int
    x: bool
    q: str
    V: str
    Q: str
    B: str


class _Event(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    e: str
    E: int
    s: str
    k: _Kline


class _Envelope(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    stream: str
    data: _Event


_decode = msgspec.json.Decoder(_Envelope).decode
_OTHERWISE = (MalformedCandleError, msgspec.MsgspecError, UnicodeDecodeError, RecursionError)


def is_open_kline(frame: bytes) -> bool:
    """Whether a message is an open kline, told without decoding it.

    True only when its one and only ``"x"`` is false, in either of the exchange's spellings (USDT-M puts a space after
    commas and may after colons). False means no more than that it has to be decoded.
    """
    at = frame.rfind(b"x")  # one letter is found ten times as fast as a word; few symbols have it
    return frame.startswith(_OPEN, at - 1) and (frame.find(b"x", 0, at) < 0 or frame.find(_CLOSED_KEY, 0, at) < 0)


def parse_frame(frame: bytes, market: Market, receive_time_ms: int) -> Frame:
    """What one message of a market's connection means; the local clock's ``receive_time_ms`` goes into the candle."""
    if is_open_kline(frame):
        return OPEN_KLINE
    return closed_candle(frame, market, receive_time_ms) or parse_pieces(frame, market, receive_time_ms)


def closed_candle(frame: bytes, market: Market, receive_time_ms: int) -> Candle | None:
    """The candle of a closed kline in the combined stream's envelope; None says that ``parse_pieces`` is to tell."""
    try:
        event = _decode(frame).data
        kline = event.k
        if not kline.x or event.e != "kline":
            return None
        return checked_candle(
            checked_series(market, kline.s, kline.i),
            kline.t,
            (kline.o, kline.h, kline.l, kline.c, kline.v, kline.q, kline.V, kline.Q),
            kline.n,
            source=WEBSOCKET,
            event_time_ms=event.E,
            receive_time_ms=receive_time_ms,
        )
    except _OTHERWISE:
        return None


def parse_pieces(frame: bytes, market: Market, receive_time_ms: int) -> Frame:
    """What ``parse_frame`` says of a message that is no open kline told by its bytes, whatever its fields are."""
    try:
        message = orjson.loads(frame)
    except orjson.JSONDecodeError as error:
        return Malformed(f"not JSON: {error}", frame[:_EXCERPT_BYTES])
    if not isinstance(message, dict):
        return Malformed("not a JSON object", frame[:_EXCERPT_BYTES])
    try:
        return _parse_message(message, market, receive_time_ms)
    except MalformedCandleError as error:
        return Malformed(str(error), frame[:_EXCERPT_BYTES])


def _parse_message(message: dict[str, Any], market: Market, receive_time_ms: int) -> Frame:
    event = message.get("data") if "stream" in message else message
    if not isinstance(event, dict):
        raise MalformedCandleError("the envelope holds no event")
    name = event.get("e")
    if name == "kline":
        return _parse_kline(event, market, receive_time_ms)
    if name == "serverShutdown":
        return Shutdown()
    if isinstance(name, str):
        return NotKline(name)
    if "result" in message or "error" in message:
        return _parse_control(message)
    raise MalformedCandleError("neither an event nor an answer")


def _parse_kline(event: dict[str, Any], market: Market, receive_time_ms: int) -> Frame:
    kline = event.get("k")
    if not isinstance(kline, dict):
        raise MalformedCandleError("the event holds no kline")
    closed = kline.get("x")
    if closed is False:
        return OPEN_KLINE
    if closed is not True:
        raise MalformedCandleError(f"x is {quoted(closed)}, neither true nor false")
    return checked_candle(
        checked_series(market, kline.get("s"), kline.get("i")),
        kline.get("t"),
        tuple(map(kline.get, _DECIMALS)),
        kline.get("n"),
        source=WEBSOCKET,
        event_time_ms=event.get("E"),
        receive_time_ms=receive_time_ms,
    )


def _parse_control(message: dict[str, Any]) -> Control:
    number = message.get("id")
    number = number if type(number) is int else None
    error = message.get("error")
    if isinstance(error, dict):
        return Control(number, f"{printable(error.get('msg'))} (code {printable(error.get('code'))})")
    if error is not None:
        return Control(number, printable(error))
    result = message.get("result")
    channels = tuple(name for name in result if isinstance(name, str)) if isinstance(result, list) else None
    return Control(number, None, channels)


def peek_event_time_ms(frame: bytes) -> int | None:
    """The exchange's time in a frame, read without decoding it; None where it shows none."""
    found = _EVENT_TIME.search(frame)
    return int(found[1]) if found else None


def peek_channel(frame: bytes) -> str | None:
    """The channel that a combined-stream frame came through, read without decoding it; None without envelope."""
    if not frame.startswith(b'{"stream":"'):
        return None
    return frame[11 : frame.find(b'"', 11)].decode(errors="replace")
