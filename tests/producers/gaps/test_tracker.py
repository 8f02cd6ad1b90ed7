"""Every candle the exchange has is held in the end, every hole is told, and little is asked. No network, no waiting."""

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Coroutine, Iterable, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, TypeVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from producers.exchange.page import Answer
from producers.exchange.rest import RestClient, RestCounters
from producers.gaps.tracker import ABSENT_AGAIN_MS, BEFORE_ITS_FIRST, Ask, Completeness, Tally
from shared.candle import Candle, Series
from shared.interval import DAY_MS, HOUR_MS, Interval
from shared.market import Market
from shared.series_fact import Note, NoteKind
from shared.spans import Spans
from tests.conftest import BTC, JUNE_30, MINUTE, make_candle

GRACE, QUIET = 5_000, 600_000
SPOT = Series(Market.SPOT, "BTCUSDT", Interval.M1)
COIN = Series(Market.COIN_FUTURES, "BTCUSD_PERP", Interval.M1)
DAY_OF_MINUTES = 1440
Result = TypeVar("Result")


def minute(number: float) -> int:
    return JUNE_30 + int(number * MINUTE)


class Exchange:
    """One series as the exchange has it.

    Args:
        series: which.
        first_ms: open time of its first candle; the grid of 3d candles is counted from it.
        last_ms: none opens then or later.
        holes: open times of candles that never were.
        shown_at: from when on REST shows a candle, for those that it shows late.
        trades: how many trades the candle that opens then holds.
    """

    def __init__(
        self,
        series: Series,
        first_ms: int,
        last_ms: int,
        holes: Iterable[int] = (),
        shown_at: Mapping[int, int] | None = None,
        trades: Callable[[int], int] = lambda _: 7,
    ) -> None:
        self.series = series
        self.grid, open_ms = list[int](), first_ms
        while open_ms < last_ms:
            self.grid.append(open_ms)
            open_ms = series.interval.end(open_ms)
        self.holes = frozenset(holes)
        self.opens = [one for one in self.grid if one not in self.holes]
        self.shown_at = shown_at or {}
        self.trades = trades

    def candle(self, open_ms: int) -> Candle:
        return make_candle(self.series, open_ms, trades=self.trades(open_ms))

    def rows(self, question: Mapping[str, Any], now_ms: int) -> list[list[Any]]:
        """What REST answers: spot and USDT-M the oldest first, COIN-M those nearest ``endTime``."""
        start, end, limit = question["startTime"], question.get("endTime", now_ms), question["limit"]
        found = self.opens[bisect_left(self.opens, start) : bisect_right(self.opens, min(end, now_ms))]
        found = [one for one in found if self.shown_at.get(one, 0) <= now_ms]
        if self.series.market is not Market.COIN_FUTURES:
            return [self._row(one) for one in found[:limit]]
        assert start < end <= start + 200 * DAY_MS, "COIN-M refuses more than 200 days"
        return [self._row(one) for one in found[-limit:]]

    def _row(self, open_ms: int) -> list[Any]:
        end_ms = self.series.interval.end(open_ms)
        return [open_ms, "1", "1", "1", "1", "0", end_ms - 1, "0", self.trades(open_ms), "0", "0", "0"]


class ModelRest(RestClient):
    """The product's own reading of klines answers, over an exchange in memory."""

    def __init__(self, exchange: Exchange) -> None:
        self.exchange = exchange
        self.now_ms = 0
        self.is_garbled = False
        self.counters = RestCounters()

    async def _get(self, path: str, question: dict[str, str | int], weight: int) -> Any:
        assert path == "klines"
        assert weight <= 2, "a page that costs more than it has to"
        self.counters.requests += 1
        rows = self.exchange.rows(question, self.now_ms)
        if self.is_garbled and rows:
            del rows[len(rows) // 2][5:]
        return rows

    def answer(self, ask: Ask, now_ms: int, grace_ms: int) -> Answer:
        self.now_ms = now_ms
        return at_once(self.klines(ask.series, ask.page, now_ms - grace_ms))


def at_once(coroutine: Coroutine[Any, Any, Result]) -> Result:
    """What a coroutine returns that waits for nothing."""
    try:
        coroutine.send(None)
    except StopIteration as end:
        result: Result = end.value
        return result
    raise AssertionError("it waits")


@dataclass
class Recorder:
    """A producer of one series without its network: frames in, questions put as the repairer puts them."""

    exchange: Exchange
    start_ms: int
    grace_ms: int = GRACE
    quiet_ms: int = QUIET
    refused: set[int] = field(default_factory=set)  # puts, counted from 0, that the publisher refuses
    garbled: set[int] = field(default_factory=set)  # questions, counted from 0, of whose answer a row is damaged
    unanswered: set[int] = field(default_factory=set)
    forbidden: set[int] = field(default_factory=set)
    delay_steps: int = 0  # how many rounds later an answer is taken in
    resolved: bool = True

    def __post_init__(self) -> None:
        self.series = self.exchange.series
        self.now_ms = self.start_ms
        self.account = Completeness(self.grace_ms, self.quiet_ms)
        self.rest = ModelRest(self.exchange)
        self.held: list[int] = []
        self.notes: list[Note] = []
        self.before: list[Note] = []  # how much of a history the exchange never had
        self.asked: list[tuple[int, Ask]] = []
        self.puts = 0
        self._answers: list[tuple[int, int, Ask, Answer]] = []
        self._round = 0
        self.account.begin(self.series, self.start_ms)
        if self.resolved:
            self.account.resolve(self.series)

    def take(self, candle: Candle) -> bool:
        self.puts += 1
        if self.puts - 1 in self.refused:
            return False
        self.held.append(candle.open_time_ms)
        self.account.held(candle)
        return True

    def frame(self, open_ms: int) -> None:
        """The closing frame of a candle comes over the WebSocket."""
        self.take(self.exchange.candle(open_ms))

    def round(self, now_ms: int) -> None:
        """Put what there is to ask, and take in what was answered."""
        self.now_ms = now_ms
        self._round += 1
        asks = self.account.asks(now_ms)
        assert self.account.wants(now_ms) == bool(asks)
        under_way = {ask.series for _, _, ask, _ in self._answers}
        for ask in asks:
            assert ask.series not in under_way, "two questions about one series at a time"
            assert not self.asked or (now_ms, ask) != self.asked[-1], "the same question twice in one moment"
            number = len(self.asked)
            self.asked.append((now_ms, ask))
            self.account.under_way(ask)
            if number in self.unanswered:
                self.account.put_back(ask, now_ms + 1000)
            elif number in self.forbidden:
                self.notes += self.account.failed(ask, now_ms)
            else:
                self.rest.is_garbled = number in self.garbled
                answer = self.rest.answer(ask, now_ms, self.grace_ms)
                self._answers.append((self._round + self.delay_steps, now_ms, ask, answer))
        ripe = [one for one in self._answers if one[0] <= self._round]
        self._answers = [one for one in self._answers if one[0] > self._round]
        for _, asked_ms, ask, answer in ripe:
            taken = [one for one in answer.candles if self.account.is_missing(one) and self.take(one)]
            notes = self.account.answered(ask, answer, taken, asked_ms)
            self.before += [note for note in notes if note.reason == BEFORE_ITS_FIRST]
            self.notes += [note for note in notes if note.reason != BEFORE_ITS_FIRST]

    def run(self, until_ms: int, step_ms: int = 1000, frames: Mapping[int, Iterable[int]] | None = None) -> None:
        """Let time go on; ``frames`` tells which candles' closing frames come at what time."""
        coming = sorted((when, one) for when, opens in (frames or {}).items() for one in opens)
        while self.now_ms < until_ms:
            now_ms = min(self.now_ms + step_ms, until_ms)
            while coming and coming[0][0] <= now_ms:
                self.frame(coming.pop(0)[1])
            self.round(now_ms)

    def live(self, opens: Iterable[int]) -> dict[int, list[int]]:
        """Closing frames that come in time."""
        return {self.series.interval.end(one) + 40: [one] for one in opens}

    @property
    def absent(self) -> Spans:
        return Spans((note.from_ms, note.to_ms) for note in self.notes if note.kind is NoteKind.ABSENT)

    @property
    def end(self) -> Note | None:
        ends = [note for note in self.notes if note.kind is NoteKind.ENDED]
        assert len(ends) <= 1, "a series ends once"
        return ends[0] if ends else None

    @property
    def questions(self) -> int:
        return len(self.asked)

    @property
    def again(self) -> list[int]:
        """When it was asked again for what was absent."""
        return [when for when, ask in self.asked if ask.again]


def recorder(
    lost: Iterable[float] = (), holes: Iterable[float] = (), minutes: int = 10, series: Series = BTC, **options: Any
) -> Recorder:
    """A recorder that has run for some minutes, frames of some of which were lost, and some of which never were."""
    missing = {minute(one) for one in (*lost, *holes)}
    first = minute(options.pop("first", 0))
    exchange = Exchange(series, first, minute(20_000), {minute(one) for one in holes}, **options.pop("exchange", {}))
    found = Recorder(exchange, JUNE_30 + 10_000, **options)
    frames = found.live(one for one in exchange.opens if one >= JUNE_30 and one not in missing)
    found.run(minute(minutes) + 500, 500, frames)
    return found


def spans_of(series: Series, opens: Iterable[int]) -> Spans:
    return Spans((one, series.interval.end(one)) for one in opens)


# What is asked, and when


def test_a_healthy_series_costs_no_question() -> None:
    assert recorder(minutes=60).questions == 0


def test_a_lost_frame_is_asked_for_once_its_grace_is_over_and_not_a_moment_before() -> None:
    account = Completeness(GRACE, QUIET)
    account.begin(BTC, minute(0.5))
    assert account.asks(minute(1) + GRACE - 1) == []
    assert not account.wants(minute(1) + GRACE - 1)
    (ask,) = account.asks(minute(1) + GRACE)
    assert account.wants(minute(1) + GRACE)
    assert (ask.series, ask.page.from_ms, ask.page.covers_to_ms, ask.page.limit) == (BTC, minute(0), minute(1), 1)
    assert not ask.again


@pytest.mark.parametrize("series", [SPOT, BTC, COIN])
def test_one_question_mends_many_gaps(series: Series) -> None:
    found = recorder(series=series, unanswered=set(range(1000)), minutes=2)
    found.run(minute(9) + GRACE - 1000, 1000, found.live(minute(one) for one in (4, 5, 7)))
    found.unanswered, before = set(), found.questions
    found.run(minute(9.5), 1000)
    assert sorted(found.held) == [minute(one) for one in range(9)]
    assert found.questions == before + 1
    assert (found.asked[before][1].page.from_ms, found.asked[before][1].page.limit) == (minute(2), 7)


def test_what_came_is_never_put_again() -> None:
    found = recorder(lost=[2, 5], minutes=12)
    assert sorted(found.held) == [minute(one) for one in range(12)]


def test_a_question_under_way_is_not_put_a_second_time() -> None:
    account = Completeness(GRACE, QUIET)
    account.begin(BTC, minute(0))
    (ask,) = account.asks(minute(5))
    account.under_way(ask)
    assert account.asks(minute(5)) == account.asks(minute(50)) == []
    assert not account.wants(minute(50))
    account.put_back(ask)
    assert [one.series for one in account.asks(minute(50))] == [BTC]


def test_a_question_that_was_put_back_waits_until_it_may_be_put_again() -> None:
    account = Completeness(GRACE, QUIET)
    account.begin(BTC, minute(0))
    (ask,) = account.asks(minute(5))
    account.under_way(ask)
    account.put_back(ask, minute(7))
    assert account.asks(minute(7) - 1) == []
    assert len(account.asks(minute(7))) == 1


def test_small_questions_go_first_and_those_about_absences_last() -> None:
    account = Completeness(GRACE, QUIET)
    quick, slow, absent = (Series(Market.SPOT, f"{name}USDT", Interval.M1) for name in "ABC")
    account.begin(slow, minute(0))
    account.begin(quick, minute(4))
    account.begin(absent, minute(3))
    account.held(make_candle(absent, minute(4)))
    (ask,) = [one for one in account.asks(minute(5.5)) if one.series == absent]
    account.under_way(ask)
    assert account.answered(ask, Answer([], minute(4)), [], minute(5.5))
    for number in (5, 6):
        account.held(make_candle(absent, minute(number)))
    assert [(one.series, one.again) for one in account.asks(minute(7))] == [
        (quick, False),
        (slow, False),
        (absent, True),
    ]


def test_nothing_is_known_of_series_that_never_began() -> None:
    account = Completeness(GRACE, QUIET)
    account.held(make_candle())
    account.safe(make_candle())
    assert not account.is_missing(make_candle())
    assert account.progress(BTC) is None
    assert account.end(BTC, minute(1), "removed", with_open=False) == []
    assert not account.is_ending(BTC)
    assert not account.is_resolved(BTC)
    assert BTC not in account
    assert account.asks(minute(9)) == []
    assert account.tally(0) == account.tally(minute(9)) == Tally(0, 0, 0, 0)


# Quiet, halted, refused


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
    exchange = Exchange(series, JUNE_30, minute(2000), [minute(one) for one in halted])
    found = Recorder(exchange, JUNE_30)
    found.run(minute(1700) + 5000, 5000, found.live(exchange.opens))
    assert list(found.absent) == [(minute(30), minute(1530))]
    assert sorted(found.held) == [one for one in exchange.opens if one < minute(1700)]
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


# What is absent


@pytest.mark.parametrize("series", [SPOT, BTC, COIN])
def test_a_hole_is_noted_once_and_exactly_as_soon_as_there_is_a_later_candle(series: Series) -> None:
    found = recorder(holes=[2, 3, 6], series=series, minutes=10)
    assert [(note.series, note.kind) for note in found.notes] == [(series, NoteKind.ABSENT)] * 2
    assert list(found.absent) == [(minute(2), minute(4)), (minute(6), minute(7))]
    assert found.account.tally(found.now_ms).absent == 3


def test_nothing_is_absent_while_nothing_later_has_come() -> None:
    account = Completeness(GRACE, QUIET)
    account.begin(BTC, minute(0))
    account.held(make_candle(open_time_ms=minute(0)))
    (ask,) = account.asks(minute(5))
    account.under_way(ask)
    assert account.answered(ask, Answer([], minute(4)), [], minute(5)) == []
    assert account.progress(BTC) is None
    assert account.tally(minute(5)).missing == 3


def test_a_candle_that_came_and_was_refused_is_not_absent() -> None:
    account = Completeness(GRACE, QUIET)
    account.begin(BTC, minute(0))
    (ask,) = account.asks(minute(3.5))
    account.under_way(ask)
    came = [make_candle(open_time_ms=minute(one)) for one in (0, 2)]
    account.held(came[1])
    (note,) = account.answered(ask, Answer(came, minute(3)), came[1:], minute(3.5))
    assert (note.from_ms, note.to_ms) == (minute(1), minute(2))
    assert account.is_missing(came[0])


def test_an_answer_with_rows_that_are_no_candle_makes_nothing_absent_and_is_not_repeated_at_once() -> None:
    found = recorder(lost=[2, 3, 4], minutes=8, garbled={0, 1, 2})
    assert found.absent == Spans()
    assert sorted(found.held) == [minute(one) for one in range(8)]
    assert 4 <= found.questions <= 8


def test_what_the_exchange_has_only_in_its_next_answer_is_not_beyond_the_answer_that_is_there() -> None:
    """An answer covers what its page covers, not what has ended since."""
    account = Completeness(GRACE, QUIET)
    account.begin(BTC, minute(0))
    (ask,) = account.asks(minute(1) + GRACE)
    account.under_way(ask)
    for number in (2, 3):
        account.held(make_candle(open_time_ms=minute(number)))
    (note,) = account.answered(ask, Answer([], minute(1)), [], minute(4))
    assert (note.from_ms, note.to_ms) == (minute(0), minute(1))
    assert account.is_missing(make_candle(open_time_ms=minute(1)))


def test_an_absence_is_asked_for_again_ever_more_slowly_and_then_let_be() -> None:
    found = recorder(holes=[2], minutes=5)
    found.run(minute(5000), 10_000, found.live(minute(one) for one in range(5, 5000)))
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
    found.run(minute(500.5), 10_000, found.live(minute(one) for one in range(6, 500)))
    assert sorted(found.held) == [minute(one) for one in range(500)]
    assert len(found.again) == 4
    assert len(found.notes) == 1


@pytest.mark.parametrize("again", range(len(ABSENT_AGAIN_MS)))
def test_an_absent_candle_that_is_refused_at_any_question_is_not_forgotten(again: int) -> None:
    account = Completeness(GRACE, QUIET)
    account.begin(BTC, minute(0))
    candle = make_candle(open_time_ms=minute(0))
    for number in range(1, 4000):
        account.held(make_candle(open_time_ms=minute(number)))
    now_ms = minute(1) + GRACE
    (ask,) = account.asks(now_ms)
    account.under_way(ask)
    assert len(account.answered(ask, Answer([], minute(1)), [], now_ms)) == 1
    for number in range(again + 1):
        now_ms += ABSENT_AGAIN_MS[number]
        (ask,) = account.asks(now_ms)
        assert ask.again
        account.under_way(ask)
        assert account.answered(ask, Answer([candle] if number == again else [], minute(1)), [], now_ms) == []
    assert account.is_missing(candle)
    assert [ask.again for ask in account.asks(now_ms + DAY_MS)] == [True]


def test_a_damaged_answer_about_an_absence_is_not_asked_for_in_a_tight_loop() -> None:
    found = recorder(holes=[2], minutes=5)
    assert list(found.absent) == [(minute(2), minute(3))]
    found.garbled = set(range(found.questions, 1000))
    found.run(minute(60), 250, found.live(minute(one) for one in range(5, 60)))
    assert len(found.again) <= 4


# Where it begins


def test_progress_is_nobodys_business_until_it_is_known_where_a_series_continues() -> None:
    account = Completeness(GRACE, QUIET)
    account.begin(BTC, minute(3.5))
    account.held(make_candle(open_time_ms=minute(3)))
    account.safe(make_candle(open_time_ms=minute(3)))
    assert not account.is_resolved(BTC)
    assert account.progress(BTC) is None
    assert account.resolve(BTC, minute(1)) == minute(1)
    assert account.is_resolved(BTC)
    assert account.progress(BTC) == minute(1)


def test_progress_never_passes_what_the_broker_has_not_answered_for() -> None:
    account = Completeness(GRACE, QUIET)
    account.begin(BTC, minute(0))
    account.resolve(BTC)
    for number in (0, 1, 2):
        account.held(make_candle(open_time_ms=minute(number)))
    assert account.progress(BTC) == minute(0)
    for number, progress in ((1, 0), (0, 2), (2, 3)):
        account.safe(make_candle(open_time_ms=minute(number)))
        assert account.progress(BTC) == minute(progress)


def test_progress_goes_over_what_is_absent_once_that_is_safe_too() -> None:
    found = recorder(holes=[1], minutes=5)
    for one in found.held:
        found.account.safe(make_candle(open_time_ms=one))
    assert found.account.progress(BTC) == minute(1), "the note that one is absent is not in the stream yet"
    for note in found.notes:
        found.account.safe(note)
    assert found.account.progress(BTC) == minute(5)


def test_a_series_begins_with_the_candle_that_is_open() -> None:
    account = Completeness(GRACE, QUIET)
    account.begin(BTC, minute(3.9))
    account.begin(BTC, minute(77))
    assert account.resolve(BTC) == minute(3)
    assert account.resolve(BTC, minute(8)) == minute(3)
    assert account.resolve(BTC, minute(1.5)) == minute(1)
    assert BTC in account
    assert account.series == (BTC,)


@pytest.mark.parametrize("series", [SPOT, BTC, COIN])
def test_a_restart_fetches_what_was_missed_in_pages_one_after_the_other(series: Series) -> None:
    exchange = Exchange(series, minute(-5000), minute(100), [minute(-1234)])
    found = Recorder(exchange, minute(0.2), resolved=False)
    found.account.resolve(series, minute(-3000))
    found.run(minute(30.1), 1000, found.live(minute(one) for one in range(30)))
    assert sorted(found.held) == [one for one in exchange.opens if minute(-3000) <= one < minute(30)]
    assert list(found.absent) == [(minute(-1234), minute(-1233))]
    assert len(found.asked) - len(found.again) <= 8


@pytest.mark.parametrize("series", [SPOT, BTC, COIN])
def test_a_history_that_is_longer_than_the_listing_is_no_hole(series: Series) -> None:
    exchange = Exchange(series, minute(-100), minute(100), [minute(-50)])
    found = Recorder(exchange, minute(0.2), resolved=False)
    found.account.resolve(series, minute(-4000), reaches_back=True)
    found.run(minute(30.1), 1000, found.live(minute(one) for one in range(30)))
    assert sorted(found.held) == [one for one in exchange.opens if one < minute(30)]
    assert list(found.absent) == [(minute(-50), minute(-49))]


def test_an_empty_answer_does_not_end_a_history_unless_it_comes_again_and_again() -> None:
    """Asked for what opens from a time on, an exchange that has anything later answers it."""
    account = Completeness(GRACE, QUIET)
    account.begin(BTC, minute(0))
    account.resolve(BTC, minute(-4000), reaches_back=True)
    account.held(make_candle(open_time_ms=minute(0)))
    told = []
    for number in range(1, 5):
        (ask,) = account.asks(minute(60 * number))
        account.under_way(ask)
        told.append(account.answered(ask, Answer([], ask.page.covers_to_ms), [], minute(60 * number)))
    assert told[:3] == [[], [], []]
    assert [note.reason for note in told[3]] == [BEFORE_ITS_FIRST]


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
    assert {one for one in exchange.opens if first < one < first + 37 * DAY_MS} <= set(found.held)
    assert list(found.absent) == [(first + 9 * DAY_MS, first + 12 * DAY_MS)]
    assert len(found.held) == len(set(found.held))


@pytest.mark.parametrize("hole", range(12))
@pytest.mark.parametrize("market", list(Market))
def test_a_month_that_never_was_is_absent_as_a_whole(market: Market, hole: int) -> None:
    """200 days, the most that COIN-M answers, end inside a month."""
    series = Series(market, "BTCUSD_PERP", Interval.MONTH)
    months = grid_of(Interval.MONTH, 0, 24, 30)
    found = Recorder(Exchange(series, months[0], months[-1] + 1, [months[hole]]), months[24] + DAY_MS, resolved=False)
    found.account.resolve(series, months[0] + HOUR_MS)
    found.frame(months[23])
    found.run(months[29], 6 * HOUR_MS, found.live(months[24:28]))
    assert sorted(found.held) == [one for one in months[:28] if one != months[hole]]
    noted = [(note.from_ms, note.to_ms) for note in found.notes]
    assert noted == [(months[hole], months[hole + 1])]
    assert found.account.tally(found.now_ms).absent == 1


# How it ends


def test_a_series_of_which_nothing_is_missing_ends_at_once_behind_its_last_candle() -> None:
    found = recorder(minutes=5)
    (note,) = found.account.end(BTC, minute(5.5), "removed", with_open=False)
    assert note == Note(BTC, NoteKind.ENDED, minute(5), minute(5), minute(5.5), "removed")
    assert BTC not in found.account
    assert found.account.asks(minute(99)) == []


def test_what_is_missing_is_asked_for_once_more_before_a_series_ends() -> None:
    found = recorder(lost=[3], holes=[2], minutes=5, unanswered=set(range(500)))
    found.unanswered = set()
    assert found.account.end(BTC, minute(5.5), "removed", with_open=False) == []
    assert found.account.is_ending(BTC)
    found.run(minute(8), 1000)
    assert sorted(found.held) == [minute(one) for one in (0, 1, 3, 4)]
    assert list(found.absent) == [(minute(2), minute(3))]
    assert found.end is not None
    assert (found.end.from_ms, found.end.reason) == (minute(5), "removed")


def test_a_candle_within_its_grace_is_not_given_up_when_its_series_ends() -> None:
    found = Recorder(Exchange(BTC, JUNE_30, minute(99)), JUNE_30)
    found.run(minute(5) + 500, 500, found.live(minute(one) for one in range(4)))
    assert found.account.end(BTC, found.now_ms, "removed", with_open=False) == []
    found.run(minute(6), 500)
    assert sorted(found.held) == [minute(one) for one in range(5)]
    assert found.end is not None
    assert found.end.from_ms == minute(5)


@pytest.mark.parametrize("comes", [True, False])
@pytest.mark.parametrize("series", [SPOT, BTC, COIN])
def test_the_open_candle_of_a_delisted_series_is_waited_for(series: Series, *, comes: bool) -> None:
    found = Recorder(Exchange(series, minute(-5000), minute(6)), JUNE_30)
    found.account.resolve(series, minute(-3000))
    frames = found.live(minute(one) for one in range(5 + comes))
    found.run(minute(5.5), 500, frames)
    before = found.questions
    assert found.account.end(series, found.now_ms, "its status is BREAK", with_open=True) == []
    found.run(minute(9), 500, {when: one for when, one in frames.items() if when > minute(5.5)})
    assert sorted(found.held) == [minute(one) for one in range(-3000, 6)]
    assert found.end is not None
    assert found.end.from_ms == minute(6)
    assert found.questions == before + 1
    assert found.asked[-1][1].page.limit == 1


@pytest.mark.parametrize("series", [SPOT, BTC, COIN])
def test_a_series_that_ended_long_ago_ends_though_nothing_follows_its_last_candle(series: Series) -> None:
    """A producer that was away when a symbol was delisted: thousands of minutes that never were."""
    found = Recorder(Exchange(series, minute(-9000), minute(-7000)), JUNE_30)
    found.account.resolve(series, minute(-8000))
    assert found.account.end(series, found.now_ms, "its status is BREAK", with_open=False) == []
    found.run(minute(60), 1000)
    assert sorted(found.held) == [minute(one) for one in range(-8000, -7000)]
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
    assert sorted(found.held) == [minute(one) for one in range(5)]
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
    found.account.begin(BTC, minute(5.1))
    assert not found.account.is_ending(BTC)
    found.run(minute(9) + 500, 500, found.live(minute(one) for one in range(5, 9)))
    assert sorted(found.held) == [minute(one) for one in range(9)]
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
    account = Completeness(GRACE, QUIET)
    account.begin(BTC, minute(0))
    (ask,) = account.asks(minute(1) + GRACE)
    account.under_way(ask)
    account.held(make_candle(open_time_ms=minute(0)))
    assert len(account.end(BTC, minute(1.5), "removed", with_open=False)) == 1
    assert account.answered(ask, Answer([], minute(1)), [], minute(2)) == []
    assert account.failed(ask, minute(2)) == []
    account.put_back(ask)
    assert BTC not in account


# The account as a whole


def test_the_tally_tells_due_from_missing() -> None:
    account = Completeness(GRACE, QUIET)
    account.begin(BTC, minute(0))
    account.begin(COIN, minute(2))
    account.held(make_candle(open_time_ms=minute(1)))
    assert account.tally(minute(3)) == Tally(due=2, missing=1, repaired=0, absent=0)
    assert account.tally(minute(3) + GRACE) == Tally(due=0, missing=3, repaired=0, absent=0)


INTERVALS = [Interval.M1, Interval.M15, Interval.H1, Interval.D1, Interval.D3, Interval.W1, Interval.MONTH]
FATES = ["in time"] * 6 + ["lost"] * 3 + ["hole"] * 2 + ["late", "twice", "very late"]


@dataclass(frozen=True)
class Story:
    """A run: what happens to each candle, and where recording begins."""

    series: Series
    phase: int
    history: int
    born: int
    reaches_back: bool
    fates: tuple[str, ...]
    traded: tuple[bool, ...]
    refused: frozenset[int]
    garbled: frozenset[int]
    unanswered: frozenset[int]
    delay_steps: int
    quiet_ms: int


@st.composite
def stories(draw: st.DrawFn) -> Story:
    market = draw(st.sampled_from(list(Market)))
    interval = draw(st.sampled_from(INTERVALS))
    fates = tuple(draw(st.lists(st.sampled_from(FATES), min_size=1, max_size=25)))
    few = st.frozensets(st.integers(0, 40), max_size=6)
    history = draw(st.sampled_from([0, 0, 1, 3, 30, 300]))
    return Story(
        series=Series(market, "BTCUSD_PERP", interval),
        phase=draw(st.integers(0, 2)) if interval is Interval.D3 else 0,
        history=history,
        born=draw(st.integers(0, history)) if history else 0,
        reaches_back=draw(st.booleans()),
        fates=fates,
        traded=tuple(draw(st.lists(st.booleans(), min_size=1, max_size=5))),
        refused=draw(few),
        garbled=draw(few),
        unanswered=draw(few),
        delay_steps=draw(st.integers(0, 3)),
        quiet_ms=draw(st.sampled_from([0, GRACE, QUIET])),
    )


def grid_of(interval: Interval, phase: int, before: int, total: int) -> list[int]:
    """Open times from so many candles before mid-2024 on; those of 3d candles are shifted by some days."""
    open_ms = interval.floor(JUNE_30) + (phase * DAY_MS if interval is Interval.D3 else 0)
    for _ in range(before):
        open_ms = open_ms - 3 * DAY_MS if interval is Interval.D3 else interval.floor(open_ms - 1)
    found = [open_ms]
    while len(found) < total:
        found.append(interval.end(found[-1]))
    return found


@settings(max_examples=400)
@given(stories(), st.integers(0, 99))
def test_whatever_happens_every_candle_is_held_and_every_hole_and_nothing_else_is_absent(
    story: Story, into_candle: int
) -> None:
    series, interval = story.series, story.series.interval
    # given an exchange that is older than the recording, or younger than its history
    grid = grid_of(interval, story.phase, story.history, story.history + len(story.fates) + 60)
    length = interval.end(grid[story.history]) - grid[story.history]
    holes, frames = set[int](), dict[int, list[int]]()
    tail = grid[story.history + len(story.fates) :]
    for open_ms, fate in zip(grid[story.history :], story.fates, strict=False):
        end_ms = interval.end(open_ms)
        delays = {"in time": [40], "late": [GRACE + 700], "twice": [40, 90_000], "very late": [2 * length + 30_000]}
        if fate == "hole":
            holes.add(open_ms)
        for delay in delays.get(fate, []):
            frames.setdefault(end_ms + delay, []).append(open_ms)
    born = grid[min(story.born, len(grid) - 1)]
    exchange = Exchange(
        series,
        born,
        grid[-1] + 1,
        holes,
        trades=lambda open_ms: int(story.traded[(open_ms // HOUR_MS) % len(story.traded)]),
    )
    start_ms = grid[story.history] + (length * into_candle) // 100
    found = Recorder(
        exchange,
        start_ms,
        quiet_ms=story.quiet_ms,
        refused=set(story.refused),
        garbled=set(story.garbled),
        unanswered=set(story.unanswered),
        delay_steps=story.delay_steps,
        resolved=False,
    )
    expected_from = grid[0] if story.history else grid[story.history]
    reaches_back = story.reaches_back or born > grid[0]
    if story.history:
        found.account.resolve(series, expected_from, reaches_back=reaches_back)
    else:
        found.account.resolve(series)
    # when time goes on until the exchange has been healthy for a while
    frames |= found.live(tail)
    found.run(interval.end(grid[-1]) + 1000, max(length // 9, 1000), frames)
    # then nothing is missing, and no more was asked than there were causes
    wanted = [one for one in exchange.opens if one >= expected_from]
    assert set(wanted) <= set(found.held)
    is_history = bool(story.history) and reaches_back
    expected_holes = spans_of(series, [one for one in holes if not is_history or one >= exchange.opens[0]])
    before = Spans([(0, exchange.opens[0] if is_history else born)])
    noted = Spans(gap for note in found.absent for gap in before.gaps(note.begin_ms, note.end_ms))
    assert noted == expected_holes
    if interval is not Interval.D3:
        assert found.absent == expected_holes
    absences = [note for note in found.notes if note.kind is NoteKind.ABSENT]
    assert all(interval is Interval.D3 or interval.is_open_time(note.to_ms) for note in absences)
    causes = len(story.fates) + len(story.refused) + len(story.garbled) + len(story.unanswered)
    pages = story.history // 6 + 2
    assert found.questions <= 12 * causes + pages + 20
    assert found.end is None
