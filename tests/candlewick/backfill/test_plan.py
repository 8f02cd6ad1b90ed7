"""The account that a backfill goes by: every wanted candle is stored, absent, answered or a gap."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from candlewick.backfill.plan import Plan
from shared.interval import DAY_MS, HOUR_MS, Interval
from shared.spans import Span
from tests.support.candles import JUNE_30, MINUTE

MINUTES = st.sets(st.integers(0, 40))


def plan(begin: int = 0, end: int = 40, closed: int = 1000, interval: Interval = Interval.M1) -> Plan:
    times = (JUNE_30 + at * MINUTE for at in (begin, end, closed))
    first, last, closed_ms = times
    return Plan(interval, Span(first, last), closed_ms)


def times(minutes: "set[int] | list[int]") -> "np.ndarray[tuple[int], np.dtype[np.int64]]":
    return np.array(sorted(JUNE_30 + at * MINUTE for at in minutes), np.int64)


def minutes(spans: list[Span]) -> set[int]:
    return {(at - JUNE_30) // MINUTE for begin, end in spans for at in range(begin, end, MINUTE)}


@given(stored=MINUTES, absent=MINUTES, answered=MINUTES)
def test_what_is_neither_stored_absent_nor_answered_is_a_gap(
    stored: set[int], absent: set[int], answered: set[int]
) -> None:
    planned = plan()
    planned.note_stored(times(stored))
    for at in absent:
        planned.note_absent(JUNE_30 + at * MINUTE, JUNE_30 + (at + 1) * MINUTE)
    for at in answered:
        planned.note_answered(JUNE_30 + at * MINUTE, JUNE_30 + (at + 1) * MINUTE)
    assert minutes(planned.gaps()) == set(range(40)) - stored - absent - answered
    between = set(range(min(stored), max(stored) + 1)) if stored else set()
    assert minutes(planned.absent_now()) == (answered - stored - absent) & between


@pytest.mark.parametrize(
    ("interval", "from_ms", "to_ms", "closed_ms", "wanted"),
    [
        (Interval.M1, 30_000, 150_000, DAY_MS, (MINUTE, 3 * MINUTE)),
        (Interval.M1, 0, DAY_MS, 90_000, (0, MINUTE)),
        (Interval.H1, 1, DAY_MS, HOUR_MS, (HOUR_MS, HOUR_MS)),
        (Interval.MONTH, -20 * DAY_MS, 2 * DAY_MS, 40 * DAY_MS, (DAY_MS, DAY_MS + 31 * DAY_MS)),
    ],
)
def test_candles_that_open_in_the_span_and_are_closed_are_wanted(
    interval: Interval, from_ms: int, to_ms: int, closed_ms: int, wanted: tuple[int, int]
) -> None:
    planned = Plan(interval, Span(JUNE_30 + from_ms, JUNE_30 + to_ms), JUNE_30 + closed_ms)
    assert planned.wanted == (JUNE_30 + wanted[0], JUNE_30 + wanted[1])


def test_three_day_candles_are_counted_from_one_that_was_seen() -> None:
    planned = Plan(Interval.D3, Span(JUNE_30, JUNE_30 + 10 * DAY_MS), JUNE_30 + 10 * DAY_MS)
    planned.note_exists(JUNE_30 + DAY_MS)
    assert planned.wanted == (JUNE_30 + DAY_MS, JUNE_30 + 10 * DAY_MS)
    planned.note_stored(np.array([JUNE_30 + DAY_MS, JUNE_30 + 7 * DAY_MS], np.int64))
    assert planned.gaps() == [(JUNE_30 + 4 * DAY_MS, JUNE_30 + 7 * DAY_MS)]


def test_a_beginning_is_asked_for_only_where_nothing_earlier_is_known() -> None:
    assert plan().lacks_its_beginning
    planned = plan()
    planned.note_exists(JUNE_30 - MINUTE)
    assert not planned.lacks_its_beginning
    planned = plan()
    planned.note_stored(times([0]))
    assert not planned.lacks_its_beginning


def test_what_is_before_the_first_kline_is_not_wanted() -> None:
    planned = plan()
    planned.begin_at(JUNE_30 + 5 * MINUTE)
    assert minutes(planned.gaps()) == set(range(5, 40))
    planned.begin_at(JUNE_30 + 90 * MINUTE)
    assert planned.gaps() == []
