"""When a producer calls itself well: the exchange is heard, what is due is here, the broker takes it."""

from types import SimpleNamespace
from typing import Any

import pytest

from producers.exchange.page import Answer
from producers.gaps.tracker import GapTracker
from producers.health import Health
from tests.support.candles import BTC, JUNE_30, make_candle
from tests.support.gaps import GRACE, QUIET, minute


class Parts:
    """What a producer's parts say, and a clock; all is well at first."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.clock = SimpleNamespace(silent_seconds=0.0, now_ms=minute(0), trouble="")
        self.selection = SimpleNamespace(is_empty=False, symbols=SimpleNamespace(by_symbol={}))
        self.repairer = SimpleNamespace(trouble="")
        self.publisher = SimpleNamespace(trouble=False, held=0, replicas=1, replicas_missing=0)
        self.sharing = SimpleNamespace(lacking=0, redundancy=2)
        self.tracker = GapTracker(GRACE, QUIET)
        self.tracker.expect(BTC, minute(0))
        self.tracker.resume(BTC)
        parts: Any = self
        self.health = Health(
            parts.clock, parts.selection, self.tracker, parts.repairer, parts.publisher, parts.sharing, lambda: self.now
        )

    def after(self, seconds: float) -> list[str]:
        """What it says now and so much later, when nothing else has changed."""
        self.health.troubles()
        self.now += seconds
        return [*self.health.troubles().values()]


@pytest.fixture
def parts() -> Parts:
    return Parts()


def test_a_producer_that_hears_and_has_all_that_is_due_is_well(parts: Parts) -> None:
    for number in range(5):
        parts.tracker.mark_received(make_candle(open_time_ms=minute(number)))
    parts.clock.now_ms = minute(5)
    assert parts.after(3600) == []


def test_an_exchange_that_is_not_heard_is_a_trouble_after_half_a_minute(parts: Parts) -> None:
    parts.clock.silent_seconds = 29.0
    assert parts.after(0) == []
    parts.clock.silent_seconds, parts.clock.trouble = 31.0, "https://x answers 451"
    assert parts.after(0) == ["nothing heard from the exchange for 31 s: https://x answers 451"]


def test_candles_that_are_overdue_are_counted_and_the_oldest_is_named(parts: Parts) -> None:
    parts.tracker.mark_received(make_candle(open_time_ms=minute(0)))
    parts.clock.now_ms = minute(2) + GRACE + 59_000
    assert parts.after(60) == [], "a question takes a moment, and may be put again"
    parts.clock.now_ms = minute(4) + GRACE + GRACE
    assert parts.after(9) == []
    (said,) = parts.after(2)
    assert said == "2 candles are overdue, of 1 series, the oldest of 2024-06-30 00:01:00+00:00"
    parts.tracker.mark_received(make_candle(open_time_ms=minute(1)))
    parts.tracker.mark_received(make_candle(open_time_ms=minute(2)))
    assert parts.after(60) == []


def test_a_quiet_series_is_given_the_patience_that_repair_gives_it(parts: Parts) -> None:
    parts.tracker._states[BTC].patience_ms = QUIET
    parts.clock.now_ms = minute(1) + QUIET + 30_000
    assert parts.after(60) == []
    parts.clock.now_ms = minute(1) + QUIET + GRACE + 120_000
    assert len(parts.after(60)) == 1


def test_a_series_of_which_the_exchange_has_nothing_newer_is_halted_and_not_overdue(parts: Parts) -> None:
    parts.clock.now_ms = minute(180)
    assert len(parts.after(60)) == 1
    (ask,) = parts.tracker.questions(minute(180))
    parts.tracker.start(ask)
    parts.tracker.take_answer(ask, Answer([], ask.page.covers_to_ms), [], minute(180))
    assert len(parts.after(60)) == 1, "nothing at all is recorded"
    other = BTC._replace(symbol="ETHUSDT")
    parts.tracker.expect(other, minute(180))
    parts.tracker.resume(other)
    assert parts.after(60) == []
    parts.tracker.mark_received(make_candle(open_time_ms=minute(170)))
    assert len(parts.after(60)) == 1, "it goes on, and what is before is missing"


def test_history_that_is_still_to_be_fetched_is_not_overdue_but_missing_when_rest_refuses(parts: Parts) -> None:
    parts.tracker.resume(BTC, JUNE_30 - 86_400_000)
    assert parts.after(60) == []
    parts.repairer.trouble = "https://x answers 451"
    (said,) = parts.after(60)
    assert said == "1,439 candles are missing and cannot be fetched: https://x answers 451"


def test_nothing_to_record_and_a_broker_that_takes_nothing_are_troubles(parts: Parts) -> None:
    parts.selection.is_empty = True
    parts.publisher.trouble, parts.publisher.held = True, 7
    assert parts.after(0) == [], "it may only just have begun"
    assert parts.after(11) == [
        "nothing is recorded: nothing that is named or fits is traded",
        "7 candles wait for the broker",
    ]
    parts.publisher.replicas_missing = 1
    assert "1 of 1 replicas of the broker lag behind or are gone" in parts.after(11)
    parts.sharing.lacking = 1
    assert "each series is recorded by 1 producer, not by 2" in parts.after(11)
    parts.selection.symbols.by_symbol = None
    assert "nothing is recorded: the exchange's list is not known" in parts.after(0)
