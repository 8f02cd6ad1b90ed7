"""A simulated exchange and a recorder for the gap tracker."""

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Coroutine, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from producers.exchange.page import Answer
from producers.exchange.rest import RestClient, RestCounters
from producers.gaps.state import Question
from producers.gaps.tracker import GapTracker
from shared.candle import Candle, Series
from shared.interval import DAY_MS, Interval
from shared.market import Market
from shared.series_fact import BEFORE_ITS_FIRST, FactKind, SeriesFact
from shared.spans import Spans
from tests.support.candles import BTC, JUNE_30, MINUTE, make_candle

GRACE, QUIET = 5_000, 600_000


SPOT = Series(Market.SPOT, "BTCUSDT", Interval.M1)


COIN = Series(Market.COIN_FUTURES, "BTCUSD_PERP", Interval.M1)


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
        self.opens = [open_ms for open_ms in self.grid if open_ms not in self.holes]
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
        self._odd_answers = 0
        self.counters = RestCounters()

    async def _get(self, path: str, question: dict[str, str | int], weight: int) -> Any:
        assert path == "klines"
        assert weight <= 2, "a page that costs more than it has to"
        self.counters.requests += 1
        rows = self.exchange.rows(question, self.now_ms)
        if self.is_garbled and rows:
            del rows[len(rows) // 2][5:]
        return rows

    def answer(self, ask: Question, now_ms: int, grace_ms: int) -> Answer:
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
        self.account = GapTracker(self.grace_ms, self.quiet_ms)
        self.rest = ModelRest(self.exchange)
        self.held: list[int] = []
        self.notes: list[SeriesFact] = []
        self.before: list[SeriesFact] = []  # how much of a history the exchange never had
        self.asked: list[tuple[int, Question]] = []
        self.puts = 0
        self._answers: list[tuple[int, int, Question, Answer]] = []
        self._round = 0
        self.account.expect(self.series, self.start_ms)
        if self.resolved:
            self.account.resume(self.series)

    def take(self, candle: Candle) -> bool:
        self.puts += 1
        if self.puts - 1 in self.refused:
            return False
        self.held.append(candle.open_time_ms)
        self.account.mark_received(candle)
        return True

    def frame(self, open_ms: int) -> None:
        """The closing frame of a candle comes over the WebSocket."""
        self.take(self.exchange.candle(open_ms))

    def round(self, now_ms: int) -> None:
        """Put what there is to ask, and take in what was answered."""
        self.now_ms = now_ms
        self._round += 1
        asks = self.account.questions(now_ms)
        assert self.account.has_question(now_ms) == bool(asks)
        under_way = {ask.series for _, _, ask, _ in self._answers}
        for ask in asks:
            assert ask.series not in under_way, "two questions about one series at a time"
            assert not self.asked or (now_ms, ask) != self.asked[-1], "the same question twice in one moment"
            number = len(self.asked)
            self.asked.append((now_ms, ask))
            self.account.start(ask)
            if number in self.unanswered:
                self.account.put_back(ask, now_ms + 1000)
            elif number in self.forbidden:
                self.notes += self.account.give_up(ask, now_ms)
            else:
                self.rest.is_garbled = number in self.garbled
                answer = self.rest.answer(ask, now_ms, self.grace_ms)
                self._answers.append((self._round + self.delay_steps, now_ms, ask, answer))
        ripe = [one for one in self._answers if one[0] <= self._round]
        self._answers = [one for one in self._answers if one[0] > self._round]
        for _, asked_ms, ask, answer in ripe:
            taken = [candle for candle in answer.candles if self.account.is_wanted(candle) and self.take(candle)]
            notes = self.account.take_answer(ask, answer, taken, asked_ms)
            self.before += [note for note in notes if note.reason == BEFORE_ITS_FIRST]
            self.notes += [note for note in notes if note.reason != BEFORE_ITS_FIRST]

    def run(self, until_ms: int, step_ms: int = 1000, frames: Mapping[int, Iterable[int]] | None = None) -> None:
        """Let time go on; ``frames`` tells which candles' closing frames come at what time."""
        coming = sorted((when, open_ms) for when, opens in (frames or {}).items() for open_ms in opens)
        while self.now_ms < until_ms:
            now_ms = min(self.now_ms + step_ms, until_ms)
            while coming and coming[0][0] <= now_ms:
                self.frame(coming.pop(0)[1])
            self.round(now_ms)

    def live(self, opens: Iterable[int]) -> dict[int, list[int]]:
        """Closing frames that come in time."""
        return {self.series.interval.end(open_ms) + 40: [open_ms] for open_ms in opens}

    @property
    def absent(self) -> Spans:
        return Spans((note.from_ms, note.to_ms) for note in self.notes if note.kind is FactKind.ABSENT)

    @property
    def end(self) -> SeriesFact | None:
        ends = [note for note in self.notes if note.kind is FactKind.ENDED]
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
    missing = {minute(number) for number in (*lost, *holes)}
    first = minute(options.pop("first", 0))
    exchange = Exchange(
        series, first, minute(20_000), {minute(number) for number in holes}, **options.pop("exchange", {})
    )
    found = Recorder(exchange, JUNE_30 + 10_000, **options)
    frames = found.live(open_ms for open_ms in exchange.opens if open_ms >= JUNE_30 and open_ms not in missing)
    found.run(minute(minutes) + 500, 500, frames)
    return found


def grid_of(interval: Interval, phase: int, before: int, total: int) -> list[int]:
    """Open times from so many candles before mid-2024 on; those of 3d candles are shifted by some days."""
    open_ms = interval.floor(JUNE_30) + (phase * DAY_MS if interval is Interval.D3 else 0)
    for _ in range(before):
        open_ms = open_ms - 3 * DAY_MS if interval is Interval.D3 else interval.floor(open_ms - 1)
    found = [open_ms]
    while len(found) < total:
        found.append(interval.end(found[-1]))
    return found
