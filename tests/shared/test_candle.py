"""The candle and the one door through which values from outside become one."""

import contextlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.broker.entry import decode_entry, encode_entry
from shared.candle import Candle, Series, checked_symbol
from shared.errors import MalformedCandleError
from shared.interval import Interval
from shared.market import Market
from tests.support.candles import make_candle

decimals = st.decimals(0, 10**12, allow_nan=False, allow_infinity=False, places=8).map(lambda d: f"{d:f}")
symbols = st.text(st.characters(categories=["Lu", "Nd", "Lo"]), min_size=1, max_size=20).filter(
    lambda text: text == text.upper()
)


@st.composite
def candles(draw: Any) -> Candle:
    interval = draw(st.sampled_from(list(Interval)))
    opens = interval.floor(draw(st.integers(10**9, 4_102_444_800_000)))
    values = [draw(decimals) for _ in range(8)]
    series = Series(draw(st.sampled_from(list(Market))), draw(symbols), interval)
    trades = draw(st.integers(0, 2**53))
    return Candle(series, opens, *values[:6], trades, *values[6:], "websocket", opens, opens)  # type: ignore[call-arg] # mypy cannot count a list


def as_redis_returns(candle: Candle) -> dict[bytes, bytes]:
    return {name.encode(): str(value).encode() for name, value in encode_entry(candle).items()}


@given(candles())
def test_a_candle_survives_the_stream_to_the_last_digit(candle: Candle) -> None:
    assert decode_entry(candle.series.market, as_redis_returns(candle)) == candle


@given(candles(), candles())
def test_field_names_and_their_order_never_vary(one: Candle, other: Candle) -> None:
    assert list(encode_entry(one)) == list(encode_entry(other))


@given(st.dictionaries(st.binary(max_size=20), st.binary(max_size=50)), candles(), st.data())
def test_whatever_bytes_an_entry_holds_it_is_a_candle_or_malformed(
    noise: dict[bytes, bytes], candle: Candle, data: st.DataObject
) -> None:
    fields = as_redis_returns(candle)
    for name in data.draw(st.sets(st.sampled_from(sorted(fields)))):
        fields[name] = data.draw(st.binary(max_size=40))
    with contextlib.suppress(MalformedCandleError):
        decoded = decode_entry(Market.SPOT, fields | noise)
        assert isinstance(decoded, Candle)
        assert decoded.series.interval.is_open_time(decoded.open_time_ms)
        assert checked_symbol(decoded.series.symbol)


@pytest.mark.parametrize(
    ("field", "value", "reason"),
    [
        ("symbol", "../../x", "symbol '../../x' is not allowed"),
        ("symbol", "btcusdt", "uppercase"),
        ("symbol", "", "not text of 1 to"),
        ("symbol", "A" * 61, "not text of 1 to"),
        ("symbol", "A/B", "is not allowed"),
        ("symbol", ".", "is not allowed"),
        ("interval", "7m", "interval '7m' is not known"),
        ("open_time_ms", "1719765480001", "not on the grid"),
        ("open_time_ms", "1719765480000000", "not a time in milliseconds"),
        ("open_time_ms", "-60000", "not a whole number"),
        ("close", "nan", "not plain decimals"),
        ("close", "1e5", "not plain decimals"),
        ("close", "-1", "not plain decimals"),
        ("close", "1,2", "not plain decimals"),
        ("close", "9" * 400, "not plain decimals"),
        ("close", "1_0", "not plain decimals"),
        ("close", "١", "not plain decimals"),
        ("trade_num", "1.5", "not a whole number"),
        ("trade_num", str(2**60), "not a count"),
        ("source", "a b", "source"),
    ],
)
def test_an_entry_that_cannot_be_stored_says_why(field: str, value: str, reason: str) -> None:
    fields = as_redis_returns(make_candle()) | {field.encode(): value.encode()}
    with pytest.raises(MalformedCandleError, match=reason.replace("(", r"\(").replace(".", r"\.")):
        decode_entry(Market.USDT_FUTURES, fields)


@pytest.mark.parametrize("missing", list(encode_entry(make_candle())))
def test_a_missing_field_is_named(missing: str) -> None:
    fields = as_redis_returns(make_candle())
    del fields[missing.encode()]
    with pytest.raises(MalformedCandleError, match=f"field '{missing}' is missing"):
        decode_entry(Market.USDT_FUTURES, fields)


@pytest.mark.parametrize("symbol", ["BTCUSDT", "币安人生USDT", "1000000MOGUSDT", "4USDT", "BTCUSDT_240628", "BTC-USD"])
def test_symbols_that_the_exchange_lists_are_allowed(symbol: str) -> None:
    assert checked_symbol(symbol) == symbol


def test_equality_is_about_the_market_not_about_the_way_it_came() -> None:
    assert make_candle(source="rest", event_time_ms=1, receive_time_ms=2) == make_candle()
    assert make_candle(close="1") != make_candle()
