"""Rows as a table and as files: every digit that was recorded, in a form that others read."""

import io
import json
from collections.abc import Sequence

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from candlewick.cli.export import export
from candlewick.cli.tables import render, text_columns
from consumer.storage.table import VALUE_COLUMNS, Rows, rows_from_candles, to_arrow
from shared.candle import Series, checked_candle
from shared.interval import Interval
from shared.market import Market
from shared.text import decimal_text
from tests.support.candles import JUNE_30, MINUTE

SHIB = ("0.00002761", "0.00002763", "0.00002759", "0.00002760", "8123456789.00", "224216.40737640")
BTC = ("61607.90", "61624.90", "61605.30", "61624.90", "16.71012345", "1029521.00470123")
DECIMALS = st.from_regex(r"[0-9]{1,7}(\.[0-9]{1,8})?", fullmatch=True)


def rows_of(*candles: Sequence[str]) -> Rows:
    series = Series(Market.SPOT, "SHIBUSDT", Interval.M1)
    made = [
        checked_candle(
            series,
            JUNE_30 + at * MINUTE,
            (*values, "123456789.00", "3407.40"),
            418,
            source="rest",
            event_time_ms=0,
            receive_time_ms=0,
        )
        for at, values in enumerate(candles)
    ]
    return rows_from_candles(made).rows


def lines_of(rows: Rows, width: int) -> list[str]:
    return list(render([to_arrow(rows, Interval.M1)], width))


def test_small_prices_and_large_volumes_are_shown_with_all_their_digits_and_aligned() -> None:
    names, *lines = lines_of(rows_of(SHIB, BTC), 300)
    assert names.split()[:3] == ["candle_end_time", "open", "high"]
    assert lines[0].split()[2:8] == [
        *("0.00002761", "0.00002763", "0.00002759", "0.00002760"),
        *("8123456789.00000000", "224216.40737640"),
    ]
    assert lines[1].split()[2:4] == ["61607.90000000", "61624.90000000"]
    assert len({line.index(".") for line in lines}) == 1, "points stand below each other"
    assert len({len(line) for line in (names, *lines)}) == 1


@given(st.lists(st.tuples(*[DECIMALS] * 6), min_size=1, max_size=5))
def test_a_table_leads_back_to_the_values(candles: list[tuple[str, ...]]) -> None:
    rows = rows_of(*candles)
    _, *lines = text_columns(to_arrow(rows, Interval.M1))
    shown = np.array([[float(text) for text in line[1:10]] for line in lines]).T
    assert np.array_equal(shown, rows.values)
    for line, values in zip(lines, candles, strict=True):
        assert [float(text) for text in line[1:5]] == [float(text) for text in values[:4]]
        assert "e" not in "".join(line)


@pytest.mark.parametrize(("value", "text"), [(4.5e-07, "0.00000045"), (1e22, "10000000000000000000000"), (7.0, "7")])
def test_no_number_is_shown_with_an_exponent(value: float, text: str) -> None:
    assert decimal_text(value) == text


@pytest.mark.parametrize("width", [80, 100, 120, 200])
def test_what_does_not_fit_is_left_out_from_the_last_column_on_and_named(width: int) -> None:
    lines = lines_of(rows_of(BTC, BTC), width)
    assert max(map(len, lines)) <= width
    named = " ".join(lines)
    assert all(name in named for name in VALUE_COLUMNS)
    assert ("not shown for want of room" in named) == (width < 200)


def test_of_many_rows_the_first_and_the_last_are_shown_and_how_many_are_between() -> None:
    lines = lines_of(rows_of(*[BTC] * 100), 80)
    assert lines[31] == "… 40 more (--tail, --from and --to choose; --format csv has all)"
    assert lines[1].startswith("2024-06-30 00:01:00")
    assert lines[61].startswith("2024-06-30 01:40:00")
    assert lines_of(rows_of(), 80) == ["no candles"]


@pytest.mark.parametrize("count", [0, 1, 2, 7])
@pytest.mark.parametrize("block", [1, 3, 1000])
def test_every_form_reads_back_to_the_same_frame(count: int, block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("candlewick.cli.export._BLOCK_ROWS", block)
    rows = rows_of(*([SHIB, BTC] * 4)[:count])
    expected = to_arrow(rows, Interval.M1).to_pandas().reset_index()
    for form in ("csv", "json", "jsonl", "parquet", "arrow"):
        sink = io.BytesIO()
        parts = [rows.between(0, JUNE_30 + 2 * MINUTE), rows.between(JUNE_30 + 2 * MINUTE, 2**62)]
        assert export(form, iter([to_arrow(part, Interval.M1) for part in parts]), sink) == count
        found = _frame(form, sink.getvalue())
        for name in expected:
            values = pd.to_datetime(found[name], utc=True) if "time" in str(name) else found[name].astype("float64")
            assert values.tolist() == expected[name].tolist(), (form, name)


def _frame(form: str, content: bytes) -> pd.DataFrame:
    sink = io.BytesIO(content)
    if form == "csv":
        return pd.read_csv(sink)
    if form == "parquet":
        return pd.read_parquet(sink).reset_index()
    if form == "arrow":
        return pa.ipc.open_stream(sink).read_all().to_pandas().reset_index()
    members = json.loads(content) if form == "json" else [json.loads(line) for line in content.splitlines()]
    return pd.DataFrame(members, columns=["candle_end_time", "candle_begin_time", *VALUE_COLUMNS])
