"""What other producers have published of a series: it is not missing here, until the broker may have lost it."""

from producers.gaps.tracker import GapTracker
from tests.support.candles import BTC, make_candle
from tests.support.gaps import GRACE, QUIET, minute


def test_what_others_published_is_not_missing_and_is_doubted_with_the_broker_but_what_came_here_is_not() -> None:
    tracker = GapTracker(GRACE, QUIET)
    tracker.expect(BTC, minute(0))
    tracker.resume(BTC)
    own = make_candle(open_time_ms=minute(0))
    tracker.mark_received(own)
    tracker.mark_published(own)
    now_ms = minute(3) + GRACE
    assert tracker.tally(now_ms).missing == 2
    tracker.mark_published_elsewhere(BTC, 0, minute(3))
    assert tracker.tally(now_ms).missing == 0
    assert tracker.checkpoint(BTC) == minute(3)
    tracker.doubt_elsewhere()
    assert tracker.tally(now_ms).missing == 2
    assert tracker.checkpoint(BTC) == minute(1)


def test_what_was_not_wanted_here_is_not_taken_from_others() -> None:
    tracker = GapTracker(GRACE, QUIET)
    tracker.expect(BTC, minute(5))
    tracker.mark_published_elsewhere(BTC, 0, minute(7))
    assert tracker.checkpoint(BTC) is None, "where it continues is not known yet"
    tracker.resume(BTC)
    tracker.mark_published_elsewhere(BTC, 0, minute(4))
    assert tracker.checkpoint(BTC) == minute(5)
