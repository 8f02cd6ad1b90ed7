"""Frames to what they mean."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from producers.exchange.frames import (
    OPEN_KLINE,
    Control,
    Malformed,
    NotKline,
    OpenKline,
    Shutdown,
    closed_candle,
    is_open_kline,
    parse_frame,
    parse_pieces,
    peek_channel,
    peek_event_time_ms,
)
from shared.broker.entry import encode_entry
from shared.candle import Candle, Series
from shared.interval import Interval
from shared.market import Market

CLOSED = (
    b'{"stream":"btcusdt@kline_1m","data":{"e":"kline","E":1719765540037,"s":"BTCUSDT","k":{"t":1719765480000,'
    b'"T":1719765539999,"s":"BTCUSDT","i":"1m","f":5122041311,"L":5122041728,"o":"61607.90","c":"61624.90",'
    b'"h":"61624.90","l":"61605.30","v":"16.710","n":418,"x":true,"q":"1029521.00470","V":"12.571",'
    b'"Q":"774523.56400","B":"0"}}}'
)
OPEN = CLOSED.replace(b'"x":true', b'"x":false')
OUTCOMES = (Candle, OpenKline, Control, Shutdown, NotKline, Malformed)

CANDLE = Candle(
    Series(Market.USDT_FUTURES, "BTCUSDT", Interval.M1),
    1719765480000,
    "61607.90",
    "61624.90",
    "61605.30",
    "61624.90",
    "16.710",
    "1029521.00470",
    418,
    "12.571",
    "774523.56400",
    "websocket",
    1719765540037,
    99,
)


def parse(frame: bytes) -> Any:
    return parse_frame(frame, Market.USDT_FUTURES, 99)


def raw(frame: bytes) -> bytes:
    """The frame as a raw connection carries it, without the envelope."""
    return frame.partition(b'"data":')[2][:-1]


@pytest.mark.parametrize(
    "frame",
    [
        CLOSED,
        raw(CLOSED),
        CLOSED.replace(b",", b", "),
        CLOSED.replace(b",", b", ").replace(b":", b": ").replace(b"btcusdt@kline_1m", b"btcusdt@kline_1m"),
        CLOSED.replace(b'"B":"0"', b'"B":"0","st":{"x":false},"nq":[1]'),
        b" \n" + CLOSED,
    ],
    ids=["envelope", "raw", "spaces after commas", "spaces everywhere", "unknown fields", "leading space"],
)
def test_a_closed_kline_is_a_candle_in_every_spelling(frame: bytes) -> None:
    candle = parse(frame)
    assert candle == CANDLE
    assert (candle.source, candle.event_time_ms, candle.receive_time_ms) == ("websocket", 1719765540037, 99)


def test_the_exchanges_own_spelling_is_decoded_at_once_and_piece_by_piece_to_the_same() -> None:
    whole = closed_candle(CLOSED, Market.USDT_FUTURES, 99)
    pieces = parse_pieces(CLOSED, Market.USDT_FUTURES, 99)
    assert whole == pieces == CANDLE
    assert isinstance(whole, Candle)
    assert encode_entry(whole) == encode_entry(CANDLE)
    assert closed_candle(raw(CLOSED), Market.USDT_FUTURES, 99) is None


@pytest.mark.parametrize("frame", [OPEN, raw(OPEN), OPEN.replace(b",", b", "), OPEN.replace(b'"x":', b'"x": ')])
def test_an_open_kline_is_told_without_decoding(frame: bytes) -> None:
    assert is_open_kline(frame)
    assert parse(frame) is OPEN_KLINE


def test_an_open_kline_in_an_odd_spelling_is_told_by_decoding() -> None:
    assert parse(OPEN.replace(b'"x":', b'"x" : ')) is OPEN_KLINE


def test_a_kline_without_trades_is_a_candle_too() -> None:
    quiet = json.loads(CLOSED)
    quiet["data"]["k"] |= {"f": -1, "L": -1, "n": 0, "v": "0", "q": "0", "V": "0", "Q": "0"}
    candle = parse(json.dumps(quiet).encode())
    assert isinstance(candle, Candle)
    assert (candle.trade_num, candle.volume) == (0, "0")


@pytest.mark.parametrize("symbol", ["币安人生USDT", "1000000MOGUSDT", "BTCUSD_PERP", "BTCUSDT_240628"])
def test_symbols_of_every_kind_are_kept(symbol: str) -> None:
    candle = parse(CLOSED.replace(b"BTCUSDT", symbol.encode()))
    assert isinstance(candle, Candle)
    assert candle.series.symbol == symbol


@pytest.mark.parametrize(
    ("frame", "outcome"),
    [
        (b'{"result":null,"id":7}', Control(7, None)),
        (b'{"result":["btcusdt@kline_1m"],"id":8}', Control(8, None, ("btcusdt@kline_1m",))),
        (b'{"error":{"code":2,"msg":"Invalid"},"id":4}', Control(4, "Invalid (code 2)")),
        (b'{"error":{"code":3,"msg":"Invalid JSON"}}', Control(None, "Invalid JSON (code 3)")),
        (b'{"stream":"!serverShutdown","data":{"e":"serverShutdown","E":1}}', Shutdown()),
        (b'{"e":"serverShutdown","E":1}', Shutdown()),
        (
            b'{"e":"continuous_kline","E":1,"ps":"BTCUSDT","ct":"PERPETUAL","k":{"x":true}}',
            NotKline("continuous_kline"),
        ),
        (b'{"stream":"btcusdt@aggTrade","data":{"e":"aggTrade","E":1,"s":"BTCUSDT"}}', NotKline("aggTrade")),
    ],
)
def test_other_messages_are_told_apart(frame: bytes, outcome: object) -> None:
    assert parse(frame) == outcome


def changed(**fields: object) -> bytes:
    frame = json.loads(CLOSED)
    for name, value in fields.items():
        if value is ...:
            del frame["data"]["k"][name]
        else:
            frame["data"]["k"][name] = value
    return json.dumps(frame).encode()


@pytest.mark.parametrize(
    ("frame", "reason"),
    [
        (b"", "not JSON"),
        (CLOSED[:-20], "not JSON"),
        (b"\xff\xfe", "not JSON"),
        (b"[1,2]", "not a JSON object"),
        (b"{}", "neither an event nor an answer"),
        (b'{"stream":"a","data":5}', "the envelope holds no event"),
        (b'{"e":"kline","E":1}', "the event holds no kline"),
        (b"[" * 100_000, "not JSON"),
        (changed(x=1), "x is 1"),
        (changed(t=..., x=True), "open time None"),
        (changed(t=1719765480001), "not on the grid"),
        (changed(t="1719765480000"), "not a time"),
        (changed(i="7m"), "interval '7m'"),
        (changed(s="../../etc"), "is not allowed"),
        (changed(s=5), "symbol 5"),
        (changed(c=61624.9), "not plain decimals"),
        (changed(c="NaN"), "not plain decimals"),
        (changed(n=True), "not a count"),
        (changed(n=-1), "not a count"),
    ],
)
def test_anything_else_is_malformed_and_says_why(frame: bytes, reason: str) -> None:
    outcome = parse(frame)
    assert isinstance(outcome, Malformed)
    assert reason in outcome.reason
    assert len(outcome.excerpt) <= 200


@given(st.binary(max_size=400))
def test_whatever_bytes_come_in_the_result_is_a_named_outcome(frame: bytes) -> None:
    assert isinstance(parse(frame), OUTCOMES)


@given(st.data())
def test_a_damaged_kline_is_a_named_outcome_and_never_another_candle(data: st.DataObject) -> None:
    """Cut anywhere, or with some bytes replaced; a candle that comes out is stored under a key that is possible."""
    frame = bytearray(CLOSED)
    for _ in range(data.draw(st.integers(0, 4))):
        frame[data.draw(st.integers(0, len(frame) - 1))] = data.draw(st.integers(0, 255))
    outcome = parse(bytes(frame[: data.draw(st.integers(0, len(frame)))]))
    assert isinstance(outcome, OUTCOMES)
    if isinstance(outcome, Candle):
        assert outcome.series.interval.is_open_time(outcome.open_time_ms)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(list("ekxtsionc")), inner, max_size=5),
    max_leaves=20,
)


@given(JSON, JSON)
def test_whatever_json_stands_where_a_kline_should_the_result_is_a_named_outcome(event: Any, kline: Any) -> None:
    for message in (event, {"e": "kline", "E": 5, "k": kline}, {"stream": event, "data": kline}):
        assert isinstance(parse(json.dumps(message).encode()), OUTCOMES)


def test_time_and_channel_are_read_without_decoding() -> None:
    assert peek_event_time_ms(CLOSED) == 1719765540037
    assert peek_channel(CLOSED) == "btcusdt@kline_1m"
    assert peek_event_time_ms(b"{}") is None
    assert peek_channel(raw(CLOSED)) is None


@pytest.mark.parametrize(("market", "most"), [("spot", 157), ("usdt_futures", 166), ("coin_futures", 33)])
def test_recorded_frames_parse_as_a_plain_json_reader_sees_them(real_data: Path, market: str, most: int) -> None:
    lines = (real_data / "frames" / f"{market}.jsonl").read_bytes().splitlines()
    outcomes = [parse_frame(line, Market(market), 0) for line in lines]
    closed = [json.loads(line)["data"]["k"]["x"] for line in lines]
    assert len(lines) == most
    assert Counter(isinstance(one, Candle) for one in outcomes) == Counter(closed)
    assert all(isinstance(one, Candle | OpenKline) for one in outcomes)
