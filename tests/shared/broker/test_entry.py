"""Candles and notes as the fields of a stream entry, and back; and nothing else gets through."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.broker.entry import decode_entry, encode_entry
from shared.candle import Candle, Series
from shared.errors import MalformedCandleError
from shared.interval import Interval
from shared.market import Market
from shared.series_fact import FactKind, SeriesFact
from tests.support.candles import BTC, JUNE_30, MINUTE, make_candle

TIMES = st.integers(0, 4_102_444_800_000)
SERIES = st.builds(
    Series,
    st.sampled_from(Market),
    st.sampled_from(["BTCUSDT", "币安人生USDT", "BTCUSD_240628", "1000000MOGUSDT"]),
    st.sampled_from(Interval),
)
REASONS = st.text(max_size=300)


@st.composite
def notes(draw: st.DrawFn) -> SeriesFact:
    kind = draw(st.sampled_from(FactKind))
    begin, length = draw(TIMES), draw(st.integers(1, 10**10)) if kind.is_range else 0
    return SeriesFact(draw(SERIES), kind, begin, begin + length, draw(TIMES), draw(REASONS))


def on_the_wire(fields: dict[str, Any]) -> dict[bytes, bytes]:
    """As Redis keeps it."""
    return {name.encode(): str(value).encode() for name, value in fields.items()}


def absence(**changes: str) -> dict[bytes, bytes]:
    note = SeriesFact(BTC, FactKind.ABSENT, JUNE_30, JUNE_30 + MINUTE, JUNE_30 + 2 * MINUTE)
    return on_the_wire(encode_entry(note) | changes)


@given(notes())
def test_a_fact_comes_back_as_it_went_but_for_a_reason_that_is_too_long_or_cannot_be_shown(note: SeriesFact) -> None:
    fields = encode_entry(note)
    found = decode_entry(note.series.market, on_the_wire(fields))
    assert isinstance(found, SeriesFact)
    assert (found.series, found.kind, found.from_ms) == (note.series, note.kind, note.from_ms)
    assert (found.to_ms, found.noted_ms) == (note.to_ms, note.noted_ms)
    assert len(found.reason) == min(len(note.reason), 200)
    if note.reason.isprintable():
        assert found.reason == note.reason[:200]


@given(SERIES, st.integers(0, 10**6), st.sampled_from(["rest", "websocket", "archive"]))
def test_a_candle_comes_back_as_it_went(series: Series, trades: int, source: str) -> None:
    candle = make_candle(series, series.interval.floor(JUNE_30), trades=trades, source=source)
    found = decode_entry(series.market, on_the_wire(encode_entry(candle)))
    assert isinstance(found, Candle)
    assert found == candle
    assert found.source == source
    assert found.event_time_ms == candle.event_time_ms


def test_names_and_order_of_the_fields_never_vary_so_that_redis_keeps_them_once() -> None:
    notes = [SeriesFact(BTC, kind, 1, 2, 3, reason) for kind in FactKind for reason in ("", "its status is BREAK")]
    assert {tuple(encode_entry(note)) for note in notes} == {
        ("symbol", "interval", "note", "from_ms", "to_ms", "noted_ms", "reason")
    }
    assert len({tuple(encode_entry(make_candle(trades=trades))) for trades in (0, 1)}) == 1


def test_fields_that_a_later_version_adds_are_ignored() -> None:
    assert decode_entry(BTC.market, absence() | {b"more": b"1"}) == decode_entry(BTC.market, absence())


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"note": "vanished"}, "note 'vanished' is not known"),
        ({"note": ""}, "is not known"),
        ({"interval": "7m"}, "interval '7m' is not known"),
        ({"symbol": "../../etc"}, "is not allowed"),
        ({"symbol": "btcusdt"}, "is not allowed"),
        ({"from_ms": "-1"}, "is not a whole number"),
        ({"from_ms": "1e9"}, "is not a whole number"),
        ({"from_ms": "٣"}, "is not a whole number"),
        ({"to_ms": "9" * 21}, "is not a whole number"),
        ({"to_ms": str(10**15)}, "is not a time"),
        ({"noted_ms": str(10**15)}, "is not a time"),
        ({"to_ms": str(JUNE_30)}, "is not one"),
        ({"to_ms": str(JUNE_30 - 1)}, "is not one"),
        ({"reason": "two\nlines"}, "is not a line"),
        ({"reason": "\x1b[31m"}, "is not a line"),
        ({"reason": "r" * 201}, "is not a line of up to 200"),
    ],
)
def test_a_fact_that_is_wrong_is_refused_with_the_reason(changes: dict[str, str], why: str) -> None:
    with pytest.raises(MalformedCandleError, match=why):
        decode_entry(BTC.market, absence(**changes))


@pytest.mark.parametrize("kind", [FactKind.BEGAN, FactKind.ENDED])
def test_a_beginning_and_an_end_are_a_moment(kind: FactKind) -> None:
    note = SeriesFact(BTC, kind, JUNE_30, JUNE_30, JUNE_30, "removed")
    assert decode_entry(BTC.market, on_the_wire(encode_entry(note))) == note
    with pytest.raises(MalformedCandleError, match="is not one"):
        decode_entry(BTC.market, on_the_wire(encode_entry(note) | {"to_ms": JUNE_30 - 1}))


@pytest.mark.parametrize("kind", ["candle", "note"])
def test_an_entry_without_one_of_its_fields_is_refused_by_name(kind: str) -> None:
    whole = absence() if kind == "note" else on_the_wire(encode_entry(make_candle()))
    for name in whole.keys() - {b"note"}:
        with pytest.raises(MalformedCandleError, match=f"field '{name.decode()}' is missing"):
            decode_entry(BTC.market, {one: value for one, value in whole.items() if one != name})


NAMES = st.sampled_from([*absence(), *on_the_wire(encode_entry(make_candle()))])
VALUES = (
    st.binary(max_size=40) | st.text(max_size=40).map(str.encode) | st.integers(-1, 10**20).map(lambda n: b"%d" % n)
)


@given(
    st.sampled_from(Market),
    st.booleans(),
    st.dictionaries(NAMES | st.binary(max_size=20), VALUES, max_size=6),
    st.sets(NAMES, max_size=2),
)
def test_whatever_bytes_come_in_they_are_a_candle_a_fact_or_one_kind_of_error(
    market: Market, is_note: bool, changes: dict[bytes, bytes], gone: set[bytes]
) -> None:
    fields = (absence() if is_note else on_the_wire(encode_entry(make_candle()))) | changes
    try:
        found = decode_entry(market, {name: value for name, value in fields.items() if name not in gone})
    except MalformedCandleError as error:
        assert len(str(error)) < 1000  # noqa: PT017 # it may raise, or not
        return
    assert decode_entry(market, on_the_wire(encode_entry(found))) == found
