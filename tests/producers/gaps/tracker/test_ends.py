"""A series that ends is asked for once more, and its account is closed."""

import pytest

from producers.exchange.page import Answer
from producers.gaps.tracker import GapTracker
from shared.candle import Series
from shared.interval import Interval
from shared.market import Market
from shared.series_fact import FactKind, SeriesFact
from shared.spans import Spans
from tests.support.candles import BTC, JUNE_30, make_candle
from tests.support.gaps import COIN, GRACE, QUIET, SPOT, Exchange, Recorder, minute, recorder


def test_a_series_of_which_nothing_is_missing_ends_at_once_behind_its_last_candle() -> None:
    found = recorder(minutes=5)
    (note,) = found.account.end(BTC, minute(5.5), "removed", with_open=False)
    assert note == SeriesFact(BTC, FactKind.ENDED, minute(5), minute(5), minute(5.5), "removed")
    assert BTC not in found.account
    assert found.account.questions(minute(99)) == []


def test_what_is_missing_is_asked_for_once_more_before_a_series_ends() -> None:
    found = recorder(lost=[3], holes=[2], minutes=5, unanswered=set(range(500)))
    found.unanswered = set()
    assert found.account.end(BTC, minute(5.5), "removed", with_open=False) == []
    assert found.account.is_ending(BTC)
    found.run(minute(8), 1000)
    assert sorted(found.held) == [minute(number) for number in (0, 1, 3, 4)]
    assert list(found.absent) == [(minute(2), minute(3))]
    assert found.end is not None
    assert (found.end.from_ms, found.end.reason) == (minute(5), "removed")


def test_a_candle_within_its_grace_is_not_given_up_when_its_series_ends() -> None:
    found = Recorder(Exchange(BTC, JUNE_30, minute(99)), JUNE_30)
    found.run(minute(5) + 500, 500, found.live(minute(number) for number in range(4)))
    assert found.account.end(BTC, found.now_ms, "removed", with_open=False) == []
    found.run(minute(6), 500)
    assert sorted(found.held) == [minute(number) for number in range(5)]
    assert found.end is not None
    assert found.end.from_ms == minute(5)


@pytest.mark.parametrize("comes", [True, False])
@pytest.mark.parametrize("series", [SPOT, BTC, COIN])
def test_the_open_candle_of_a_delisted_series_is_waited_for(series: Series, *, comes: bool) -> None:
    found = Recorder(Exchange(series, minute(-5000), minute(6)), JUNE_30)
    found.account.resume(series, minute(-3000))
    frames = found.live(minute(number) for number in range(5 + comes))
    found.run(minute(5.5), 500, frames)
    before = found.questions
    assert found.account.end(series, found.now_ms, "its status is BREAK", with_open=True) == []
    found.run(minute(9), 500, {when: one for when, one in frames.items() if when > minute(5.5)})
    assert sorted(found.held) == [minute(number) for number in range(-3000, 6)]
    assert found.end is not None
    assert found.end.from_ms == minute(6)
    assert found.questions == before + 1
    assert found.asked[-1][1].page.limit == 1


@pytest.mark.parametrize("series", [SPOT, BTC, COIN])
def test_a_series_that_ended_long_ago_ends_though_nothing_follows_its_last_candle(series: Series) -> None:
    """A producer that was away when a symbol was delisted: thousands of minutes that never were."""
    found = Recorder(Exchange(series, minute(-9000), minute(-7000)), JUNE_30)
    found.account.resume(series, minute(-8000))
    assert found.account.end(series, found.now_ms, "its status is BREAK", with_open=False) == []
    found.run(minute(60), 1000)
    assert sorted(found.held) == [minute(number) for number in range(-8000, -7000)]
    assert found.end is not None
    assert found.end.from_ms == minute(-7000)
    assert found.questions <= 25
    assert found.absent == Spans()


@pytest.mark.parametrize("market", list(Market))
def test_an_answer_that_was_under_way_when_a_series_ended_is_not_its_last(market: Market) -> None:
    series = Series(market, "BTCUSD_PERP", Interval.M1)
    found = recorder(lost=[3], series=series, minutes=4, delay_steps=2)
    assert found.questions == 0
    found.run(minute(4) + GRACE, 500)
    assert found.questions == 1
    assert found.account.end(series, found.now_ms, "its status is BREAK", with_open=True) == []
    found.run(minute(8), 500)
    assert sorted(found.held) == [minute(number) for number in range(5)]
    assert found.end is not None
    assert found.end.from_ms == minute(5)
    assert found.questions == 2


def test_a_candle_that_is_refused_at_the_last_question_is_not_lost() -> None:
    found = recorder(lost=[4], minutes=5)
    found.refused = {found.puts}
    found.account.end(BTC, minute(5.5), "removed", with_open=False)
    found.run(minute(12), 1000)
    assert minute(4) in found.held
    assert found.end is not None


def test_a_series_that_the_exchange_does_not_know_any_more_ends_when_it_says_so() -> None:
    found = recorder(lost=[4], minutes=5, forbidden=set(range(100)))
    found.account.end(BTC, minute(5.5), "no longer listed", with_open=False)
    found.run(minute(6), 500)
    assert found.end is not None
    assert found.end.from_ms == minute(4)
    assert found.questions == 1


def test_a_series_that_is_taken_up_again_while_it_ends_goes_on_where_it_was() -> None:
    found = recorder(lost=[4], minutes=5)
    found.account.end(BTC, found.now_ms, "removed", with_open=False)
    found.account.expect(BTC, minute(5.1))
    assert not found.account.is_ending(BTC)
    found.run(minute(9) + 500, 500, found.live(minute(number) for number in range(5, 9)))
    assert sorted(found.held) == [minute(number) for number in range(9)]
    assert found.end is None


def test_an_end_that_is_told_twice_is_one_end() -> None:
    found = recorder(lost=[4], minutes=5)
    assert found.account.end(BTC, found.now_ms, "removed", with_open=False) == []
    assert found.account.end(BTC, minute(7), "again", with_open=True) == []
    found.run(minute(9), 500)
    assert found.end is not None
    assert found.end.reason == "removed"
    assert found.account.end(BTC, minute(9), "again", with_open=True) == []


def test_an_answer_that_comes_after_the_end_changes_nothing() -> None:
    account = GapTracker(GRACE, QUIET)
    account.expect(BTC, minute(0))
    (ask,) = account.questions(minute(1) + GRACE)
    account.start(ask)
    account.mark_received(make_candle(open_time_ms=minute(0)))
    assert len(account.end(BTC, minute(1.5), "removed", with_open=False)) == 1
    assert account.take_answer(ask, Answer([], minute(1)), [], minute(2)) == []
    assert account.give_up(ask, minute(2)) == []
    account.put_back(ask)
    assert BTC not in account
