"""Rows, and how two sets of them become one."""

import io
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer.storage.table import (
    EMPTY,
    INDEX_COLUMN,
    SCHEMA,
    TIME_COLUMN,
    VALUE_COLUMNS,
    Rows,
    concatenate,
    from_arrow,
    merge,
    rows_from_candles,
    to_arrow,
)
from shared.candle import Candle
from shared.interval import Interval
from tests.support.candles import JUNE_30, MINUTE, make_candle


def same(one: Rows, other: Rows) -> bool:
    return np.array_equal(one.times, other.times) and np.array_equal(one.values, other.values)


@st.composite
def few_candles(draw: Any) -> list[Candle]:
    """Candles under few keys with few values, so that repeats and contradictions are common."""
    picks = draw(st.lists(st.tuples(st.integers(0, 5), st.sampled_from("123"), st.integers(1, 2)), max_size=12))
    return [make_candle(open_time_ms=JUNE_30 + at * MINUTE, close=close, trades=n) for at, close, n in picks]


@given(few_candles(), st.randoms(use_true_random=False))
def test_the_order_of_arrival_does_not_matter(candles: list[Candle], rng: Any) -> None:
    shuffled = candles.copy()
    rng.shuffle(shuffled)
    assert same(rows_from_candles(candles).rows, rows_from_candles(shuffled).rows)


@given(few_candles(), few_candles(), few_candles())
def test_merging_is_commutative_associative_and_idempotent(
    one: list[Candle], two: list[Candle], three: list[Candle]
) -> None:
    a, b, c = (rows_from_candles(candles).rows for candles in (one, two, three))
    assert same(merge(a, b).rows, merge(b, a).rows)
    assert same(merge(merge(a, b).rows, c).rows, merge(a, merge(b, c).rows).rows)
    assert same(merge(merge(a, b).rows, b).rows, merge(a, b).rows)
    assert not merge(merge(a, b).rows, b).changed


@given(few_candles(), few_candles())
def test_merged_rows_are_sorted_unique_and_complete(one: list[Candle], two: list[Candle]) -> None:
    merged = merge(rows_from_candles(one).rows, rows_from_candles(two).rows).rows
    assert list(merged.times) == sorted({candle.open_time_ms for candle in one + two})


def test_of_two_candles_under_one_key_the_one_with_more_trades_stays_and_the_conflict_is_told() -> None:
    fuller, thinner = make_candle(close="2", trades=9), make_candle(close="3", trades=8)
    for first, second in ((fuller, thinner), (thinner, fuller)):
        merged = merge(rows_from_candles([first]).rows, rows_from_candles([second]).rows)
        assert merged.rows.values[VALUE_COLUMNS.index("close")][0] == 2
        assert merged.conflicts == (JUNE_30,)


def test_the_same_candle_twice_is_no_conflict_and_no_change() -> None:
    rows = rows_from_candles([make_candle()]).rows
    again = merge(rows, rows)
    assert (again.changed, again.conflicts) == (False, ())


def test_the_reference_row_comes_out_as_it_is_written_in_the_design() -> None:
    frame = to_arrow(rows_from_candles([make_candle(open_time_ms=1719765480000)]).rows, Interval.M1).to_pandas()
    assert frame.index.name == "candle_end_time"
    assert str(frame.index[0]) == "2024-06-30 16:39:00+00:00"
    row = frame.iloc[0]
    assert str(row["candle_begin_time"]) == "2024-06-30 16:38:00+00:00"
    assert row.drop("candle_begin_time").to_dict() == {
        "open": 61607.9,
        "high": 61624.9,
        "low": 61605.3,
        "close": 61624.9,
        "volume": 16.71,
        "quote_volume": 1029521.0047,
        "trade_num": 418.0,
        "taker_buy_base_asset_volume": 12.571,
        "taker_buy_quote_asset_volume": 774523.564,
    }
    assert list(frame.columns) == ["candle_begin_time", *VALUE_COLUMNS]


def test_the_handwritten_pandas_metadata_is_what_pandas_itself_would_write() -> None:
    frame = to_arrow(rows_from_candles([make_candle()]).rows, Interval.M1).to_pandas()
    theirs = pa.Table.from_pandas(frame).schema.pandas_metadata
    ours: Any = SCHEMA.pandas_metadata
    assert ours["index_columns"] == theirs["index_columns"]
    assert ours["columns"] == theirs["columns"]
    assert (frame.dtypes.drop("candle_begin_time") == "float64").all()
    assert str(frame.dtypes["candle_begin_time"]) == str(frame.index.dtype) == "datetime64[ms, UTC]"


@pytest.mark.parametrize(
    ("interval", "opens", "ends"),
    [
        ("1M", "2024-02-01", "2024-03-01"),
        ("1w", "2024-07-01", "2024-07-08"),
        ("1s", "2024-07-01", "2024-07-01 00:00:01"),
    ],
)
def test_the_end_of_a_candle_follows_the_calendar(interval: str, opens: str, ends: str) -> None:
    time_ms = int(pd.Timestamp(opens, tz="UTC").timestamp() * 1000)
    table = to_arrow(Rows(np.array([time_ms]), np.zeros((9, 1))), Interval(interval))
    assert table.column(INDEX_COLUMN)[0].as_py() == pd.Timestamp(ends, tz="UTC")


@given(few_candles())
def test_rows_survive_a_file(candles: list[Candle]) -> None:
    rows = rows_from_candles(candles).rows
    sink = io.BytesIO()
    pq.write_table(to_arrow(rows, Interval.M1), sink, compression="zstd", use_dictionary=False)
    assert same(from_arrow(pq.read_table(sink)), rows)


@pytest.mark.parametrize(
    ("table", "reason"),
    [
        (pa.table({"a": [1]}), "its columns are a int64"),
        (to_arrow(Rows(np.array([2, 1]), np.zeros((9, 2))), Interval.M1), "not sorted and unique"),
        (to_arrow(Rows(np.array([1, 1]), np.zeros((9, 2))), Interval.M1), "not sorted and unique"),
        (SCHEMA.empty_table().append_column("more", pa.array([], pa.int8())), "its columns are"),
        (pa.Table.from_pylist([dict.fromkeys(SCHEMA.names)], SCHEMA), "it holds nulls"),
    ],
)
def test_a_table_that_is_not_ours_is_refused_with_the_reason(table: pa.Table, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        from_arrow(table)


def test_rows_between_two_times_include_the_first_and_not_the_last() -> None:
    rows = rows_from_candles([make_candle(open_time_ms=JUNE_30 + at * MINUTE) for at in range(5)]).rows
    part = rows.between(JUNE_30 + MINUTE, JUNE_30 + 3 * MINUTE)
    assert list(part.times) == [JUNE_30 + MINUTE, JUNE_30 + 2 * MINUTE]
    assert part.values.shape == (9, 2)


def test_partitions_are_joined_in_the_order_of_time() -> None:
    parts = [rows_from_candles([make_candle(open_time_ms=JUNE_30 + at * MINUTE)]).rows for at in (2, 0, 1)]
    assert list(concatenate(parts).times) == [JUNE_30 + at * MINUTE for at in range(3)]
    assert concatenate([]) is EMPTY
    assert TIME_COLUMN in SCHEMA.names
