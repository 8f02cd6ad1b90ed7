"""Checkpoints, restarts, histories, and the grids of long intervals."""

import pytest

from producers.exchange.page import Answer
from producers.gaps.tracker import GapTracker
from shared.candle import Series
from shared.interval import DAY_MS, HOUR_MS, Interval
from shared.market import Market
from shared.series_fact import BEFORE_ITS_FIRST
from tests.support.candles import BTC, JUNE_30, make_candle
from tests.support.gaps import COIN, GRACE, QUIET, SPOT, Exchange, Recorder, grid_of, minute, recorder


def test_progress_is_nobodys_business_until_it_is_known_where_a_series_continues() -> None:
    account = GapTracker(GRACE, QUIET)
    account.expect(BTC, minute(3.5))
    account.mark_received(make_candle(open_time_ms=minute(3)))
    account.mark_published(make_candle(open_time_ms=minute(3)))
    assert not account.is_resumed(BTC)
    assert account.checkpoint(BTC) is None
    assert account.resume(BTC, minute(1)) == minute(1)
    assert account.is_resumed(BTC)
    assert account.checkpoint(BTC) == minute(1)


def test_progress_never_passes_what_the_broker_has_not_answered_for() -> None:
    account = GapTracker(GRACE, QUIET)
    account.expect(BTC, minute(0))
    account.resume(BTC)
    for number in (0, 1, 2):
        account.mark_received(make_candle(open_time_ms=minute(number)))
    assert account.checkpoint(BTC) == minute(0)
    for number, progress in ((1, 0), (0, 2), (2, 3)):
        account.mark_published(make_candle(open_time_ms=minute(number)))
        assert account.checkpoint(BTC) == minute(progress)


def test_progress_goes_over_what_is_absent_once_that_is_safe_too() -> None:
    found = recorder(holes=[1], minutes=5)
    for one in found.held:
        found.account.mark_published(make_candle(open_time_ms=one))
    assert found.account.checkpoint(BTC) == minute(1), "the note that one is absent is not in the stream yet"
    for note in found.notes:
        found.account.mark_published(note)
    assert found.account.checkpoint(BTC) == minute(5)


def test_a_series_begins_with_the_candle_that_is_open() -> None:
    account = GapTracker(GRACE, QUIET)
    account.expect(BTC, minute(3.9))
    account.expect(BTC, minute(77))
    assert account.resume(BTC) == minute(3)
    assert account.resume(BTC, minute(8)) == minute(3)
    assert account.resume(BTC, minute(1.5)) == minute(1)
    assert BTC in account
    assert account.series == (BTC,)


@pytest.mark.parametrize("series", [SPOT, BTC, COIN])
def test_a_restart_fetches_what_was_missed_in_pages_one_after_the_other(series: Series) -> None:
    exchange = Exchange(series, minute(-5000), minute(100), [minute(-1234)])
    found = Recorder(exchange, minute(0.2), resolved=False)
    found.account.resume(series, minute(-3000))
    found.run(minute(30.1), 1000, found.live(minute(number) for number in range(30)))
    assert sorted(found.held) == [open_ms for open_ms in exchange.opens if minute(-3000) <= open_ms < minute(30)]
    assert list(found.absent) == [(minute(-1234), minute(-1233))]
    assert len(found.asked) - len(found.again) <= 8


@pytest.mark.parametrize("series", [SPOT, BTC, COIN])
def test_a_history_that_is_longer_than_the_listing_is_no_hole(series: Series) -> None:
    exchange = Exchange(series, minute(-100), minute(100), [minute(-50)])
    found = Recorder(exchange, minute(0.2), resolved=False)
    found.account.resume(series, minute(-4000), may_begin_later=True)
    found.run(minute(30.1), 1000, found.live(minute(number) for number in range(30)))
    assert sorted(found.held) == [open_ms for open_ms in exchange.opens if open_ms < minute(30)]
    assert list(found.absent) == [(minute(-50), minute(-49))]


def test_an_empty_answer_does_not_end_a_history_unless_it_comes_again_and_again() -> None:
    """Asked for what opens from a time on, an exchange that has anything later answers it."""
    account = GapTracker(GRACE, QUIET)
    account.expect(BTC, minute(0))
    account.resume(BTC, minute(-4000), may_begin_later=True)
    account.mark_received(make_candle(open_time_ms=minute(0)))
    told = []
    for number in range(1, 5):
        (ask,) = account.questions(minute(60 * number))
        account.start(ask)
        told.append(account.take_answer(ask, Answer([], ask.page.covers_to_ms), [], minute(60 * number)))
    assert told[:3] == [[], [], []]
    assert [note.reason for note in told[3]] == [BEFORE_ITS_FIRST]


@pytest.mark.parametrize("series", [SPOT, BTC, COIN])
def test_of_a_series_that_has_ended_nothing_is_called_absent(series: Series) -> None:
    """A first start with a history, of a symbol whose last candle is older: nobody says that any is missing there."""
    exchange = Exchange(series, minute(-9000), minute(-8000))
    found = Recorder(exchange, minute(0.2), resolved=False)
    found.account.resume(series, minute(-4000), may_begin_later=True)
    found.run(minute(300), 10_000)
    assert (found.held, found.notes, found.before) == ([], [], [])
    assert found.account.checkpoint(series) is None
    assert found.questions < 80, "and it is asked for ever more slowly"


@pytest.mark.parametrize("series", [SPOT, BTC, COIN])
def test_what_was_passed_over_is_asked_for_as_soon_as_there_is_a_candle(series: Series) -> None:
    """A listing whose klines the exchange does not show for its first half hour."""
    grid = grid_of(Interval.M1, minute(-50), 0, 100)
    exchange = Exchange(series, minute(-50), minute(100), shown_at={open_ms: minute(30) for open_ms in grid})
    found = Recorder(exchange, minute(0.2), resolved=False)
    found.account.resume(series, minute(-60), may_begin_later=True)
    found.run(minute(60.1), 1000)
    assert sorted(found.held) == [open_ms for open_ms in exchange.opens if open_ms < minute(60)]
    assert found.notes == []
    assert [(note.from_ms, note.to_ms) for note in found.before] == [(minute(-60), minute(-50))]


@pytest.mark.parametrize("refused", [frozenset[int](), frozenset({0, 1, 2})])
@pytest.mark.parametrize("into_hours", [1, 25, 49, 71])
@pytest.mark.parametrize("phase", [0, 1, 2])
def test_three_day_candles_are_expected_on_the_days_on_which_they_open(
    phase: int, into_hours: int, refused: frozenset[int]
) -> None:
    """The WebSocket never closes one, so the first that is seen comes over REST, after the grid was guessed wrong."""
    series = Series(Market.SPOT, "BTCUSDT", Interval.D3)
    first = Interval.D3.floor(JUNE_30) + phase * DAY_MS
    exchange = Exchange(series, first - 30 * DAY_MS, first + 60 * DAY_MS, [first + 9 * DAY_MS])
    found = Recorder(exchange, first + into_hours * HOUR_MS, refused=set(refused))
    found.run(first + 40 * DAY_MS, HOUR_MS)
    assert {open_ms for open_ms in exchange.opens if first < open_ms < first + 37 * DAY_MS} <= set(found.held)
    assert list(found.absent) == [(first + 9 * DAY_MS, first + 12 * DAY_MS)]
    assert len(found.held) == len(set(found.held))


@pytest.mark.parametrize("before_days", [600, 900])
@pytest.mark.parametrize("phase", [0, 1, 2])
@pytest.mark.parametrize("market", list(Market))
def test_three_day_candles_with_a_history_that_reaches_beyond_their_first_are_all_fetched(
    market: Market, phase: int, before_days: int
) -> None:
    """COIN-M answers 200 days at most, so pages end where the grid is not known yet."""
    series = Series(market, "BTCUSD_PERP", Interval.D3)
    first = Interval.D3.floor(JUNE_30) + phase * DAY_MS - 501 * DAY_MS
    exchange = Exchange(series, first, JUNE_30 + 9 * DAY_MS)
    found = Recorder(exchange, JUNE_30 + HOUR_MS, resolved=False)
    found.account.resume(series, JUNE_30 - before_days * DAY_MS, may_begin_later=True)
    found.run(JUNE_30 + 6 * DAY_MS, HOUR_MS)
    closed = [open_ms for open_ms in exchange.opens if series.interval.end(open_ms) <= JUNE_30 + 5 * DAY_MS]
    assert sorted(found.held)[: len(closed)] == closed
    assert all(begin_ms < first and end_ms <= first for begin_ms, end_ms in found.absent)


@pytest.mark.parametrize("hole", range(12))
@pytest.mark.parametrize("market", list(Market))
def test_a_month_that_never_was_is_absent_as_a_whole(market: Market, hole: int) -> None:
    """200 days, the most that COIN-M answers, end inside a month."""
    series = Series(market, "BTCUSD_PERP", Interval.MONTH)
    months = grid_of(Interval.MONTH, 0, 24, 30)
    found = Recorder(Exchange(series, months[0], months[-1] + 1, [months[hole]]), months[24] + DAY_MS, resolved=False)
    found.account.resume(series, months[0] + HOUR_MS)
    found.frame(months[23])
    found.run(months[29], 6 * HOUR_MS, found.live(months[24:28]))
    assert sorted(found.held) == [one for one in months[:28] if one != months[hole]]
    noted = [(note.from_ms, note.to_ms) for note in found.notes]
    assert noted == [(months[hole], months[hole + 1])]
    assert found.account.tally(found.now_ms).absent == 1
