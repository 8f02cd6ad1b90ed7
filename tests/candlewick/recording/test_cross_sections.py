"""Cross-sections: all series of a close time at once, complete as soon as they are, or at the deadline with names."""

import itertools
import time
from collections.abc import Iterator

import msgspec

from candlewick.recording.cross_sections import CrossSection, MarketClock, Sections
from candlewick.recording.delivered import Arrived
from candlewick.recording.feed import Batch
from candlewick.recording.recording import Recording
from consumer.storage.metadata import SeriesMetadata
from shared.candle import Candle, Series
from shared.interval import Interval
from shared.market import Market
from shared.series_fact import FactKind, SeriesFact
from tests.support.candles import BTC, JUNE_30, MINUTE
from tests.support.recorded import Recorded, absent, began, minutes

ETH, XRP = (Series(Market.USDT_FUTURES, name, Interval.M1) for name in ("ETHUSDT", "XRPUSDT"))
START = "2024-06-30"
DEADLINE = 30_000
END = JUNE_30 + 3 * MINUTE
Shape = tuple[int, list[str | None], tuple[str, ...], tuple[str, ...]]


def shape(section: CrossSection) -> Shape:
    at = (int(section.time.timestamp() * 1000) - JUNE_30) // MINUTE
    return at, section.table.column("symbol").to_pylist(), section.missing, section.absent


def take(sections: Iterator[CrossSection], count: int) -> list[Shape]:
    return [shape(section) for section in itertools.islice(sections, count)]


def at_the_close(candles: list[Candle]) -> list[Candle]:
    """Received now, as the exchange sent them: no time has passed since."""
    return [msgspec.structs.replace(candle, receive_time_ms=time.time_ns() // 1_000_000) for candle in candles]


def test_a_section_comes_as_soon_as_every_recorded_series_is_there(recorded: Recorded, recording: Recording) -> None:
    recorded.store([began(), began(ETH), *minutes(2), *minutes(2, series=ETH), *minutes(1, series=XRP)])
    sections = recording.cross_sections("usdt_futures", "*USDT", "1m", START)
    assert take(sections, 2) == [
        (1, ["BTCUSDT", "ETHUSDT", "XRPUSDT"], (), ()),
        (2, ["BTCUSDT", "ETHUSDT"], (), ()),
    ]
    recorded.publish(at_the_close([*minutes(2, first=2), *minutes(1, first=2, series=ETH)]))
    (third,) = itertools.islice(sections, 1)
    assert third.is_complete
    assert third.frame["close"].to_dict() == {"BTCUSDT": 61608.5, "ETHUSDT": 61608.5}
    assert len(third) == 2
    recorded.publish([absent(3, series=ETH)])
    assert take(sections, 1) == [(4, ["BTCUSDT"], (), ("ETHUSDT",))]


def test_history_names_what_is_missing_and_what_is_absent(recorded: Recorded, recording: Recording) -> None:
    facts: list[SeriesFact] = [
        began(),
        began(ETH),
        absent(1, series=ETH),
        SeriesFact(ETH, FactKind.ENDED, END, END, END),
    ]
    recorded.store([*facts, *minutes(5), *minutes(1, series=ETH)])
    recorded.publish(minutes(1, first=4))  # the exchange's clock
    assert take(recording.cross_sections("usdt_futures", None, "1m", START), 5) == [
        (1, ["BTCUSDT", "ETHUSDT"], (), ()),
        (2, ["BTCUSDT"], (), ("ETHUSDT",)),
        (3, ["BTCUSDT"], ("ETHUSDT",), ()),
        (4, ["BTCUSDT"], (), ()),
        (5, ["BTCUSDT"], (), ()),
    ]


class Hand:
    """Sections with a clock in the test's hand."""

    def __init__(self, *series: Series) -> None:
        self.now_ms = JUNE_30
        clock = MarketClock(lambda: self.now_ms)
        clock.note(JUNE_30, JUNE_30)
        self.sections = Sections(Interval.M1, JUNE_30 + MINUTE, DEADLINE, clock)
        known = SeriesMetadata(began_ms=JUNE_30, began_noted_ms=JUNE_30)
        assert not self.take(Batch([], [], metadata=dict.fromkeys(series, known)))

    def take(self, batch: Batch) -> list[Shape]:
        return [shape(section) for section in self.sections.take(batch)]

    def arrive(self, series: Series, at: int) -> list[Shape]:
        open_ms = JUNE_30 + at * MINUTE
        return self.take(Batch([Arrived(series, open_ms, open_ms + MINUTE, (1.0,) * 9, False)], []))


def test_at_the_deadline_it_comes_with_the_names_of_what_is_missing_and_later_ones_wait_for_it() -> None:
    hand = Hand(BTC, ETH)
    assert hand.arrive(BTC, 0) == []
    assert hand.arrive(BTC, 1) == []
    assert hand.arrive(ETH, 1) == [], "the section before is not over"
    hand.now_ms = JUNE_30 + MINUTE + DEADLINE - 1
    assert hand.take(Batch([], [])) == []
    hand.now_ms += 1
    both = ["BTCUSDT", "ETHUSDT"]
    assert hand.take(Batch([], [])) == [(1, ["BTCUSDT"], ("ETHUSDT",), ()), (2, both, (), ())]
    assert hand.arrive(ETH, 0) == [], "it is too late for a section"


def test_a_market_that_is_silent_is_told_at_the_deadline() -> None:
    hand = Hand(BTC)
    hand.now_ms = JUNE_30 + MINUTE + DEADLINE
    assert hand.take(Batch([], [])) == [(1, [], ("BTCUSDT",), ())]


def test_whoever_takes_his_time_over_a_section_makes_the_next_one_no_later() -> None:
    hand = Hand(BTC, ETH)
    hand.arrive(BTC, 0)
    hand.arrive(BTC, 1)
    open_ms = JUNE_30
    last = Batch([Arrived(ETH, open_ms, open_ms + MINUTE, (1.0,) * 9, False)], [])
    sections = hand.sections.take(last)
    assert shape(next(sections)) == (1, ["BTCUSDT", "ETHUSDT"], (), ())
    hand.now_ms += 10 * MINUTE
    assert list(sections) == []
    waiting = Batch([], [], (open_ms + 2 * MINUTE, open_ms + 2 * MINUTE), is_drained=False)
    assert hand.take(waiting) == [], "its candle still waits in the stream"
    assert hand.arrive(ETH, 1)[0] == (2, ["BTCUSDT", "ETHUSDT"], (), ())


def test_nothing_is_over_while_the_broker_is_away_and_a_time_without_series_is_no_section() -> None:
    hand = Hand()
    hand.now_ms = JUNE_30 + 60 * MINUTE
    assert hand.take(Batch([], [], caught_up_ms=0)) == []
    known = SeriesMetadata(began_ms=JUNE_30 + 58 * MINUTE, began_noted_ms=JUNE_30)
    assert hand.take(Batch([], [], metadata={BTC: known})) == [(59, [], ("BTCUSDT",), ())]


def test_nobody_is_waited_for_who_ended_and_everybody_who_began() -> None:
    hand = Hand(BTC, ETH)
    assert hand.arrive(BTC, 0) == []
    fact = SeriesFact(ETH, FactKind.ENDED, JUNE_30, JUNE_30, JUNE_30 + MINUTE)
    assert hand.take(Batch([], [fact])) == [(1, ["BTCUSDT"], (), ())]
    hand.take(Batch([], [began(XRP, 1)]))
    assert hand.arrive(BTC, 1) == []
    assert hand.arrive(XRP, 1) == [(2, ["BTCUSDT", "XRPUSDT"], (), ())]
