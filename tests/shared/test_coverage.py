"""One definition of expected, present, absent, due and missing, compared with counting candle by candle."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.coverage import Coverage, Grid, Tally
from shared.interval import DAY_MS, Interval
from shared.spans import Span
from tests.support.candles import JUNE_30, MINUTE

STEPS = st.sets(st.integers(0, 30))


def opens(interval: Interval, count: int, phase: int = 0) -> list[int]:
    """Open times from mid-2024 on; those of 3d candles are shifted by some days."""
    found = [interval.floor(JUNE_30) + (phase * DAY_MS if interval is Interval.D3 else 0)]
    while len(found) < count:
        found.append(interval.end(found[-1]))
    return found


@given(
    interval=st.sampled_from(list(Interval)),
    phase=st.integers(0, 2),
    present=STEPS,
    absent=STEPS,
    gone=STEPS,
    now=st.integers(0, 32),
    grace=st.integers(0, 4),
)
def test_every_candle_is_counted_once(
    interval: Interval, phase: int, present: set[int], absent: set[int], gone: set[int], now: int, grace: int
) -> None:
    grid = opens(interval, 34, phase)
    coverage = Coverage(interval, grid[0])
    for at in sorted(absent):
        coverage.add_absent(grid[at], grid[at + 1])
    for at in sorted(present):
        coverage.add(grid[at], grid[at + 1])
    for at in sorted(gone):
        coverage.remove(grid[at], grid[at + 1])
    here, never = present - gone, absent - present - gone
    now_ms, judged = grid[now], max(now - grace, 0)
    left = set(range(now)) - here - never
    tally = coverage.tally(Span(grid[0], coverage.expected_to(now_ms)), grid[judged])
    assert tally == Tally(
        expected=now,
        present=len({at for at in here if at < now}),
        absent=len({at for at in never if at < now}),
        due=len({at for at in left if at >= judged}),
        missing=len({at for at in left if at < judged}),
    )
    missing = coverage.gaps(grid[judged])
    assert {at for at in range(34) if any(grid[at] in range(*gap) for gap in missing)} == {
        at for at in left if at < judged
    }
    assert coverage.grid.count(missing) == tally.missing


def test_what_is_present_is_not_absent_whoever_comes_first() -> None:
    for order in ((Coverage.add, Coverage.add_absent), (Coverage.add_absent, Coverage.add)):
        coverage = Coverage(Interval.M1, JUNE_30)
        for mark in order:
            mark(coverage, JUNE_30, JUNE_30 + MINUTE)
        assert not coverage.absent
        assert JUNE_30 in coverage


def test_a_candle_is_due_within_its_grace_and_missing_beyond_it() -> None:
    coverage = Coverage(Interval.M1, JUNE_30)
    assert coverage.expected_to(JUNE_30 + MINUTE - 1) == JUNE_30, "it has not ended"
    assert coverage.due_to(JUNE_30 + MINUTE, 5000) == JUNE_30 - MINUTE + MINUTE
    assert coverage.gaps(coverage.due_to(JUNE_30 + MINUTE + 4999, 5000)) == []
    assert coverage.gaps(coverage.due_to(JUNE_30 + MINUTE + 5000, 5000)) == [(JUNE_30, JUNE_30 + MINUTE)]


def test_nothing_is_expected_behind_the_end() -> None:
    coverage = Coverage(Interval.M1, JUNE_30)
    coverage.end_ms = JUNE_30 + 3 * MINUTE
    assert coverage.expected_to(JUNE_30 + DAY_MS) == JUNE_30 + 3 * MINUTE
    assert coverage.due_to(JUNE_30 + DAY_MS, 0) == JUNE_30 + 3 * MINUTE
    coverage.end_ms = JUNE_30 - MINUTE
    assert coverage.expected_to(JUNE_30 + DAY_MS) == JUNE_30, "never before the beginning"


def test_three_day_candles_are_counted_from_one_that_was_seen_and_other_grids_stay() -> None:
    days = Coverage(Interval.D3, JUNE_30)
    days.move_grid(JUNE_30 + 4 * DAY_MS)
    assert days.grid == Grid(Interval.D3, JUNE_30 + 4 * DAY_MS)
    assert days.begin_ms == JUNE_30 - 2 * DAY_MS
    minutes = Coverage(Interval.M1, JUNE_30)
    minutes.move_grid(JUNE_30 + 1)
    assert (minutes.begin_ms, minutes.grid.floor(JUNE_30 + 90_000)) == (JUNE_30, JUNE_30 + MINUTE)


@pytest.mark.parametrize("interval", [Interval.M1, Interval.W1, Interval.MONTH])
def test_the_first_open_time_at_or_after_a_time(interval: Interval) -> None:
    first, second, *_ = opens(interval, 2)
    grid = Grid(interval)
    assert (grid.ceil(first), grid.ceil(first + 1), grid.ceil(second)) == (first, second, second)


def test_tallies_add_up() -> None:
    assert Tally.sum([Tally(5, 2, 1, 1, 1), Tally(1, 1, 0, 0, 0)]) == Tally(6, 3, 1, 1, 1)
    assert Tally.sum([]) == Tally()


def test_a_3d_grid_that_proves_to_be_another_leaves_no_part_of_a_candle_missing() -> None:
    """Such a part can be no answer's: it would be asked for again and again."""
    coverage = Coverage(Interval.D3, 0)
    coverage.add(0, 9 * DAY_MS)
    assert coverage.move_grid(10 * DAY_MS)
    assert not coverage.move_grid(13 * DAY_MS)
    gaps = coverage.gaps(16 * DAY_MS)
    assert [gap.begin_ms // DAY_MS for gap in gaps] == [-2, 10], "each begins with a candle that an answer can hold"
    assert gaps[-1].end_ms == 16 * DAY_MS
