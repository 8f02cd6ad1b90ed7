"""What the exchange never had is noted once, asked for again, and let be."""

from itertools import pairwise

import pytest

from producers.exchange.page import Answer
from producers.gaps.questions import ABSENT_AGAIN_MS
from producers.gaps.tracker import GapTracker
from shared.candle import Series
from shared.interval import DAY_MS
from shared.series_fact import FactKind
from shared.spans import Spans
from tests.support.candles import BTC, make_candle
from tests.support.gaps import COIN, GRACE, QUIET, SPOT, minute, recorder


@pytest.mark.parametrize("series", [SPOT, BTC, COIN])
def test_a_hole_is_noted_once_and_exactly_as_soon_as_there_is_a_later_candle(series: Series) -> None:
    found = recorder(holes=[2, 3, 6], series=series, minutes=10)
    assert [(note.series, note.kind) for note in found.notes] == [(series, FactKind.ABSENT)] * 2
    assert list(found.absent) == [(minute(2), minute(4)), (minute(6), minute(7))]
    assert found.account.tally(found.now_ms).absent == 3


def test_nothing_is_absent_while_nothing_later_has_come() -> None:
    account = GapTracker(GRACE, QUIET)
    account.expect(BTC, minute(0))
    account.mark_received(make_candle(open_time_ms=minute(0)))
    (ask,) = account.questions(minute(5))
    account.start(ask)
    assert account.take_answer(ask, Answer([], minute(4)), [], minute(5)) == []
    assert account.checkpoint(BTC) is None
    assert account.tally(minute(5)).missing == 3


def test_a_candle_that_came_and_was_refused_is_not_absent() -> None:
    account = GapTracker(GRACE, QUIET)
    account.expect(BTC, minute(0))
    (ask,) = account.questions(minute(3.5))
    account.start(ask)
    came = [make_candle(open_time_ms=minute(number)) for number in (0, 2)]
    account.mark_received(came[1])
    (note,) = account.take_answer(ask, Answer(came, minute(3)), came[1:], minute(3.5))
    assert (note.from_ms, note.to_ms) == (minute(1), minute(2))
    assert account.is_wanted(came[0])


def test_an_answer_with_rows_that_are_no_candle_makes_nothing_absent_and_is_not_repeated_at_once() -> None:
    found = recorder(lost=[2, 3, 4], minutes=8, garbled={0, 1, 2})
    assert found.absent == Spans()
    assert sorted(found.held) == [minute(number) for number in range(8)]
    assert 4 <= found.questions <= 8


def test_what_the_exchange_has_only_in_its_next_answer_is_not_beyond_the_answer_that_is_there() -> None:
    """An answer covers what its page covers, not what has ended since."""
    account = GapTracker(GRACE, QUIET)
    account.expect(BTC, minute(0))
    (ask,) = account.questions(minute(1) + GRACE)
    account.start(ask)
    for number in (2, 3):
        account.mark_received(make_candle(open_time_ms=minute(number)))
    (note,) = account.take_answer(ask, Answer([], minute(1)), [], minute(4))
    assert (note.from_ms, note.to_ms) == (minute(0), minute(1))
    assert account.is_wanted(make_candle(open_time_ms=minute(1)))


def test_an_absence_is_asked_for_again_ever_more_slowly_and_then_let_be() -> None:
    found = recorder(holes=[2], minutes=5)
    found.run(minute(5000), 10_000, found.live(minute(number) for number in range(5, 5000)))
    before = found.questions - len(found.again)
    noted = found.notes[0].noted_ms
    waits = [after - before for before, after in pairwise([noted, *found.again])]
    assert len(waits) == len(ABSENT_AGAIN_MS)
    assert all(wanted <= wait <= wanted + 20_000 for wait, wanted in zip(waits, ABSENT_AGAIN_MS, strict=True))
    assert len(found.notes) == 1
    assert before <= 4


def test_a_late_answer_to_such_a_question_that_brings_the_candle_is_taken() -> None:
    late = {minute(2): minute(9), minute(3): minute(200)}
    found = recorder(lost=[2, 3], minutes=6, exchange={"shown_at": late})
    assert list(found.absent) == [(minute(2), minute(4))]
    found.run(minute(500.5), 10_000, found.live(minute(number) for number in range(6, 500)))
    assert sorted(found.held) == [minute(number) for number in range(500)]
    assert len(found.again) == 4
    assert len(found.notes) == 1


@pytest.mark.parametrize("again", range(len(ABSENT_AGAIN_MS)))
def test_an_absent_candle_that_is_refused_at_any_question_is_not_forgotten(again: int) -> None:
    account = GapTracker(GRACE, QUIET)
    account.expect(BTC, minute(0))
    candle = make_candle(open_time_ms=minute(0))
    for number in range(1, 4000):
        account.mark_received(make_candle(open_time_ms=minute(number)))
    now_ms = minute(1) + GRACE
    (ask,) = account.questions(now_ms)
    account.start(ask)
    assert len(account.take_answer(ask, Answer([], minute(1)), [], now_ms)) == 1
    for number in range(again + 1):
        now_ms += ABSENT_AGAIN_MS[number]
        (ask,) = account.questions(now_ms)
        assert ask.again
        account.start(ask)
        assert account.take_answer(ask, Answer([candle] if number == again else [], minute(1)), [], now_ms) == []
    assert account.is_wanted(candle)
    assert [ask.again for ask in account.questions(now_ms + DAY_MS)] == [True]


def test_a_damaged_answer_about_an_absence_is_not_asked_for_in_a_tight_loop() -> None:
    found = recorder(holes=[2], minutes=5)
    assert list(found.absent) == [(minute(2), minute(3))]
    found.garbled = set(range(found.questions, 1000))
    found.run(minute(60), 250, found.live(minute(number) for number in range(5, 60)))
    assert len(found.again) <= 4
