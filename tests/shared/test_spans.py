"""Sets of times as ranges, against plain sets of integers."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.spans import Span, Spans

TIMES = st.integers(-3, 40)
RANGES = st.lists(st.tuples(TIMES, TIMES), max_size=12)


def plain(ranges: object) -> set[int]:
    assert isinstance(ranges, Spans | list)
    return {time for begin, end in ranges for time in range(begin, end)}


def is_tidy(spans: Spans) -> bool:
    """Whether its ranges are ascending, none is empty, and none overlaps or touches another."""
    return all(begin < end for begin, end in spans) and all(
        one.end_ms < after.begin_ms for one, after in pairwise(spans)
    )


@given(RANGES)
def test_it_holds_what_was_put_in_whatever_the_order(ranges: list[tuple[int, int]]) -> None:
    spans = Spans(ranges)
    assert plain(spans) == plain(ranges)
    assert is_tidy(spans)
    assert spans == Spans(reversed(ranges)) == Spans(spans)


@given(RANGES, TIMES, TIMES)
def test_questions_are_answered_as_a_set_of_integers_answers_them(
    ranges: list[tuple[int, int]], begin: int, end: int
) -> None:
    spans, integers, asked = Spans(ranges), plain(ranges), set(range(begin, end))
    gaps, between = spans.gaps(begin, end), spans.between(begin, end)
    assert plain(gaps) == asked - integers
    assert plain(between) == asked & integers
    assert is_tidy(Spans(gaps))
    assert gaps == list(Spans(gaps)), "in order, and no two that touch"
    assert between == list(Spans(between))
    assert (begin in spans) == (begin in integers)
    assert spans.last_ms == (max(integers) + 1 if integers else None)
    assert bool(spans) == bool(integers)


@given(RANGES, TIMES)
def test_a_run_ends_with_the_first_time_that_is_not_in_the_set(ranges: list[tuple[int, int]], begin: int) -> None:
    integers, end = plain(ranges), begin
    while end in integers:
        end += 1
    assert Spans(ranges).end_of_run(begin) == end


@given(RANGES, RANGES)
def test_what_is_taken_out_is_gone_and_nothing_else(ranges: list[tuple[int, int]], out: list[tuple[int, int]]) -> None:
    spans, integers = Spans(ranges), plain(ranges)
    for begin, end in out:
        spans.remove(begin, end)
        integers -= set(range(begin, end))
        assert plain(spans) == integers
        assert is_tidy(spans)


@given(RANGES, RANGES)
def test_a_copy_is_changed_on_its_own(ranges: list[tuple[int, int]], more: list[tuple[int, int]]) -> None:
    spans = Spans(ranges)
    other = spans.copy()
    assert other == spans
    for begin, end in more:
        other.add(begin, end)
    assert plain(spans) == plain(ranges)
    assert plain(other) == plain(ranges + more)


def test_neighbours_join_so_that_a_year_without_a_gap_is_one_range() -> None:
    spans = Spans((minute, minute + 1) for minute in range(100_000))
    assert list(spans) == [Span(0, 100_000)]
    assert len(spans) == 1
    assert repr(spans) == "Spans([(0, 100000)])"


def test_it_is_equal_to_nothing_else_and_cannot_be_a_key() -> None:
    assert Spans([(1, 2)]) != [(1, 2)]
    assert Spans() == Spans([(2, 1), (3, 3)])
    with pytest.raises(TypeError):
        hash(Spans())
