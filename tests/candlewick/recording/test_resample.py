"""Resampling: against decimal arithmetic, for every interval, with offsets, holes and parts."""

import itertools
from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from candlewick.recording.resample import Resampled, Target, resample, resample_parts
from consumer.storage.table import VALUE_COLUMNS, Rows
from shared.errors import CandlewickError
from shared.interval import DAY_MS, HOUR_MS, MINUTE_MS, Interval
from shared.spans import Spans
from tests.support.candles import JUNE_30

NONE = Spans()


def _rows(count: int, seed: int = 1, begin_ms: int = JUNE_30, step_ms: int = MINUTE_MS) -> tuple[Rows, list[list[str]]]:
    """Rows with decimals as the exchange has them, and the decimals."""
    random = np.random.default_rng(seed)
    texts = []
    for _ in range(count):
        low, high = sorted(random.uniform(1, 1000, 2))
        texts.append(
            [
                *(f"{value:.2f}" for value in (random.uniform(low, high), high, low, random.uniform(low, high))),
                *(f"{random.uniform(0, 50_000):.8f}" for _ in range(2)),
                str(random.integers(0, 10_000)),
                *(f"{random.uniform(0, 50_000):.8f}" for _ in range(2)),
            ]
        )
    times = begin_ms + np.arange(count, dtype=np.int64) * step_ms
    return Rows(times, np.array(texts, np.float64).reshape(count, 9).T), texts


def _by_hand(rows: Rows, texts: list[list[str]], target: Target) -> dict[int, list[float]]:
    """One row at a time, in decimals."""
    found: dict[int, list[Decimal]] = {}
    for time, values in zip(rows.times.tolist(), texts, strict=True):
        new = [Decimal(value) for value in values]
        old = found.setdefault(target.floor(time), new)
        if old is not new:
            old[1], old[2], old[3] = max(old[1], new[1]), min(old[2], new[2]), new[3]
            old[4:] = [one + other for one, other in zip(old[4:], new[4:], strict=True)]
    return {open_ms: [float(value) for value in values] for open_ms, values in found.items()}


def _as_dict(made: Resampled) -> dict[int, list[float]]:
    return dict(zip(made.rows.times.tolist(), made.rows.values.T.tolist(), strict=True))


@pytest.mark.parametrize("interval", [one for one in Interval if one.typical_ms > MINUTE_MS])
def test_every_interval_equals_decimal_arithmetic(interval: Interval) -> None:
    rows, texts = _rows(1000, step_ms=max(MINUTE_MS, min(interval.typical_ms // 60, HOUR_MS)) // MINUTE_MS * MINUTE_MS)
    target = Target(interval)
    assert _as_dict(resample(rows, Interval.M1, target, NONE)) == _by_hand(rows, texts, target)


@pytest.mark.parametrize("offset", [MINUTE_MS, 30 * MINUTE_MS, 59 * MINUTE_MS])
def test_an_offset_moves_open_times_and_nothing_else(offset: int) -> None:
    rows, texts = _rows(1000)
    target = Target(Interval.H1, offset)
    made = resample(rows, Interval.M1, target, NONE)
    assert _as_dict(made) == _by_hand(rows, texts, target)
    assert set((made.rows.times % HOUR_MS).tolist()) == {offset}
    assert target.ends(made.rows.times).tolist() == (made.rows.times + HOUR_MS).tolist()


def test_one_with_a_missing_candle_is_not_complete_and_one_with_an_absent_candle_is() -> None:
    rows, _ = _rows(60)
    kept = np.array([at not in (20, 40) for at in range(60)])
    rows = Rows(rows.times[kept], rows.values[:, kept])
    absent = Spans([(JUNE_30 + 40 * MINUTE_MS, JUNE_30 + 41 * MINUTE_MS)])
    made = resample(rows.between(JUNE_30 + MINUTE_MS, JUNE_30 + DAY_MS), Interval.M1, Target(Interval.M15), absent)
    assert made.is_complete.tolist() == [False, False, True, True]


@given(st.lists(st.integers(0, 500), max_size=8), st.sampled_from([Interval.M3, Interval.M15, Interval.H1]))
def test_parts_give_what_the_whole_gives(cuts: list[int], interval: Interval) -> None:
    rows, _ = _rows(500)
    edges = [0, *sorted(cuts), 500]
    parts = [Rows(rows.times[a:b], rows.values[:, a:b]) for a, b in itertools.pairwise(edges)]
    target = Target(interval, 3 * MINUTE_MS % interval.typical_ms)
    found: dict[int, list[float]] = {}
    for made in resample_parts(parts, Interval.M1, target, NONE):
        assert not found.keys() & set(made.rows.times.tolist())
        found |= _as_dict(made)
    assert found == _as_dict(resample(rows, Interval.M1, target, NONE))


def test_sums_are_those_of_the_decimals_where_adding_floats_is_not() -> None:
    values = np.full((9, 10), 0.1)
    made = resample(
        Rows(JUNE_30 + np.arange(10, dtype=np.int64) * MINUTE_MS, values), Interval.M1, Target(Interval.H1), NONE
    )
    assert made.rows.values[VALUE_COLUMNS.index("volume"), 0] == 1.0
    assert sum([0.1] * 10) != 1.0


def test_sums_beyond_what_a_float_counts_are_rounded_once() -> None:
    values = np.full((9, 3), 99_999_999.000_001)
    made = resample(
        Rows(JUNE_30 + np.arange(3, dtype=np.int64) * MINUTE_MS, values), Interval.M1, Target(Interval.H1), NONE
    )
    assert made.rows.values[4, 0] == float(Decimal("99999999.000001") * 3)


def test_a_year_of_large_values_is_as_exact_as_its_days() -> None:
    count = 300_000
    values = np.full((9, count), 99_999_999.123_456_7)
    rows = Rows(JUNE_30 + np.arange(count, dtype=np.int64) * MINUTE_MS, values)
    made = resample(rows, Interval.M1, Target(Interval.H1), NONE)
    expected = float(Decimal(repr(99_999_999.123_456_7)) * 60)
    assert set(made.rows.values[4].tolist()) == {expected}
    month = resample(rows, Interval.M1, Target(Interval.MONTH), NONE)
    assert month.rows.values[4, 1] == float(Decimal(repr(99_999_999.123_456_7)) * (31 * 1440))


def test_what_is_absent_and_there_all_the_same_counts_once() -> None:
    rows, _ = _rows(60)
    kept = np.arange(60) != 30
    rows = Rows(rows.times[kept], rows.values[:, kept])
    absent = Spans([(JUNE_30 + 10 * MINUTE_MS, JUNE_30 + 11 * MINUTE_MS)])
    assert resample(rows, Interval.M1, Target(Interval.H1), absent).is_complete.tolist() == [False]


@pytest.mark.parametrize(
    ("source", "target", "text"),
    [
        (Interval.H1, Target(Interval.M1), "candles of 1h do not add up to 1m: 2h, 4h"),
        (Interval.M3, Target(Interval.M5), "candles of 3m do not add up to 5m: 15m"),
        (Interval.W1, Target(Interval.MONTH), "candles of 1w do not add up to 1M: no other can be"),
        (Interval.M1, Target(Interval.H1, HOUR_MS), "an offset is shorter than 1h"),
        (Interval.M5, Target(Interval.H1, MINUTE_MS), "a whole number of 5m"),
    ],
)
def test_what_does_not_add_up_is_named(source: Interval, target: Target, text: str) -> None:
    with pytest.raises(CandlewickError, match=text.split(":", maxsplit=1)[0]) as caught:
        target.check(source)
    assert text in str(caught.value)
