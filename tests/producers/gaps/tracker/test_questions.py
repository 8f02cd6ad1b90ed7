"""What is missing is asked for once its grace is over, and no more often than need be."""

from itertools import pairwise

import pytest

from producers.exchange.page import Answer
from producers.gaps.tracker import GapTracker, MarketTally
from shared.candle import Series
from shared.interval import Interval
from shared.market import Market
from shared.spans import Spans
from tests.support.candles import BTC, JUNE_30, make_candle
from tests.support.gaps import COIN, GRACE, QUIET, SPOT, Exchange, Recorder, minute, recorder

DAY_OF_MINUTES = 1440


def test_a_healthy_series_costs_no_question() -> None:
    assert recorder(minutes=60).questions == 0


def test_a_lost_frame_is_asked_for_once_its_grace_is_over_and_not_a_moment_before() -> None:
    account = GapTracker(GRACE, QUIET)
    account.expect(BTC, minute(0.5))
    assert account.questions(minute(1) + GRACE - 1) == []
    assert not account.has_question(minute(1) + GRACE - 1)
    (ask,) = account.questions(minute(1) + GRACE)
    assert account.has_question(minute(1) + GRACE)
    assert (ask.series, ask.page.from_ms, ask.page.covers_to_ms, ask.page.limit) == (BTC, minute(0), minute(1), 1)
    assert not ask.again


@pytest.mark.parametrize("series", [SPOT, BTC, COIN])
def test_one_question_mends_many_gaps(series: Series) -> None:
    found = recorder(series=series, unanswered=set(range(1000)), minutes=2)
    found.run(minute(9) + GRACE - 1000, 1000, found.live(minute(number) for number in (4, 5, 7)))
    found.unanswered, before = set(), found.questions
    found.run(minute(9.5), 1000)
    assert sorted(found.held) == [minute(number) for number in range(9)]
    assert found.questions == before + 1
    assert (found.asked[before][1].page.from_ms, found.asked[before][1].page.limit) == (minute(2), 7)


def test_what_came_is_never_put_again() -> None:
    found = recorder(lost=[2, 5], minutes=12)
    assert sorted(found.held) == [minute(number) for number in range(12)]


def test_a_question_under_way_is_not_put_a_second_time() -> None:
    account = GapTracker(GRACE, QUIET)
    account.expect(BTC, minute(0))
    (ask,) = account.questions(minute(5))
    account.start(ask)
    assert account.questions(minute(5)) == account.questions(minute(50)) == []
    assert not account.has_question(minute(50))
    account.put_back(ask)
    assert [question.series for question in account.questions(minute(50))] == [BTC]


def test_a_question_that_was_put_back_waits_until_it_may_be_put_again() -> None:
    account = GapTracker(GRACE, QUIET)
    account.expect(BTC, minute(0))
    (ask,) = account.questions(minute(5))
    account.start(ask)
    account.put_back(ask, minute(7))
    assert account.questions(minute(7) - 1) == []
    assert len(account.questions(minute(7))) == 1


def test_small_questions_go_first_and_those_about_absences_last() -> None:
    account = GapTracker(GRACE, QUIET)
    quick, slow, absent = (Series(Market.SPOT, f"{name}USDT", Interval.M1) for name in "ABC")
    account.expect(slow, minute(0))
    account.expect(quick, minute(4))
    account.expect(absent, minute(3))
    account.mark_received(make_candle(absent, minute(4)))
    (ask,) = [question for question in account.questions(minute(5.5)) if question.series == absent]
    account.start(ask)
    assert account.take_answer(ask, Answer([], minute(4)), [], minute(5.5))
    for number in (5, 6):
        account.mark_received(make_candle(absent, minute(number)))
    assert [(question.series, question.again) for question in account.questions(minute(7))] == [
        (quick, False),
        (slow, False),
        (absent, True),
    ]


def test_nothing_is_known_of_series_that_never_began() -> None:
    account = GapTracker(GRACE, QUIET)
    account.mark_received(make_candle())
    account.mark_published(make_candle())
    assert not account.is_wanted(make_candle())
    assert account.checkpoint(BTC) is None
    assert account.end(BTC, minute(1), "removed", with_open=False) == []
    assert not account.is_ending(BTC)
    assert not account.is_resumed(BTC)
    assert BTC not in account
    assert account.questions(minute(9)) == []
    assert account.tally(0) == account.tally(minute(9)) == MarketTally(0, 0, 0, 0)


@pytest.mark.parametrize("series", [SPOT, BTC, COIN])
def test_a_quiet_series_that_never_closes_on_the_websocket_costs_a_question_in_ten_minutes(series: Series) -> None:
    exchange = Exchange(series, JUNE_30, minute(DAY_OF_MINUTES + 60), trades=lambda _: 0)
    found = Recorder(exchange, JUNE_30)
    found.run(minute(DAY_OF_MINUTES), 1000)
    assert 130 <= found.questions <= 160
    assert found.absent == Spans()
    assert sorted(found.held) == exchange.opens[: len(found.held)]
    assert len(found.held) >= DAY_OF_MINUTES - 12


def test_patience_falls_back_when_a_repair_brings_a_trade() -> None:
    exchange = Exchange(BTC, JUNE_30, minute(300), trades=lambda open_ms: int(open_ms >= minute(200)))
    found = Recorder(exchange, JUNE_30)
    found.run(minute(220), 1000)
    late = [when for when, _ in found.asked if when > minute(212)]
    assert late == [minute(number) + GRACE for number in range(212, 220)]


@pytest.mark.parametrize("series", [SPOT, BTC, COIN])
def test_a_series_that_the_exchange_halts_is_asked_about_seldom_and_nothing_of_it_is_absent(series: Series) -> None:
    found = Recorder(Exchange(series, JUNE_30, minute(30)), JUNE_30)
    found.run(minute(30), 1000, found.live(found.exchange.opens))
    found.run(minute(DAY_OF_MINUTES + 30), 1000)
    assert found.questions <= 160
    assert found.notes == []
    assert sorted(found.held) == found.exchange.opens


@pytest.mark.parametrize("series", [SPOT, BTC, COIN])
def test_a_halt_that_is_over_is_noted_to_the_minute_and_recording_goes_on(series: Series) -> None:
    halted = range(30, 1530)
    exchange = Exchange(series, JUNE_30, minute(2000), [minute(number) for number in halted])
    found = Recorder(exchange, JUNE_30)
    found.run(minute(1700) + 5000, 5000, found.live(exchange.opens))
    assert list(found.absent) == [(minute(30), minute(1530))]
    assert sorted(found.held) == [open_ms for open_ms in exchange.opens if open_ms < minute(1700)]
    assert found.account.tally(found.now_ms).absent == len(halted)


@pytest.mark.parametrize(("grace_ms", "quiet_ms"), [(0, 0), (GRACE, 0), (0, QUIET), (GRACE, QUIET)])
def test_a_question_that_the_exchange_refuses_is_not_put_in_a_tight_loop(grace_ms: int, quiet_ms: int) -> None:
    found = Recorder(Exchange(BTC, JUNE_30, minute(300)), JUNE_30, grace_ms, quiet_ms, forbidden=set(range(1_000_000)))
    found.run(minute(60), 100)
    assert found.questions <= 3600
    assert all(after - before >= 1000 for (before, _), (after, _) in pairwise(found.asked))
    if quiet_ms:
        assert found.questions <= 7


def test_without_grace_and_patience_a_series_without_answers_is_asked_about_once_a_second() -> None:
    found = Recorder(Exchange(BTC, JUNE_30, minute(5)), JUNE_30, grace_ms=0, quiet_ms=0)
    found.run(minute(15), 100)
    assert sorted(found.held) == found.exchange.opens
    assert all(after - before >= 1000 for (before, _), (after, _) in pairwise(found.asked))
