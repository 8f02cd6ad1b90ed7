"""The gap tracker: what is expected, received, published and absent of every recorded series, and so what is missing.

Pure: candles and times in, questions and facts out. The words are those of ``shared.coverage``; what to ask and what an
answer means, ``producers.gaps.questions`` says. Nothing is asked twice at a time, and nothing in a tight loop: a series
whose question brought nothing waits for its patience. Time is the exchange's (docs/design.md, "Completeness").
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from producers.exchange.page import Answer
from producers.gaps.questions import Patience, next_question, take_answer
from producers.gaps.state import Life, Question, SeriesState
from shared.candle import Candle, Series
from shared.coverage import Coverage
from shared.series_fact import FactKind, SeriesFact
from shared.spans import Span, Spans

_LEAST_PATIENCE_MS = 1000
_OVERDUE_MS = 60_000  # beyond its patience: a question takes a moment, and may be put again


class MarketTally(NamedTuple):
    """How a market's candles stand, in candles."""

    due: int  # ended, within their grace
    missing: int  # beyond it, and not here
    repaired: int  # came over REST since the process started
    absent: int  # found absent since the process started


class Overdue(NamedTuple):
    """Candles that should be here, by the patience of their series and a minute more."""

    candles: int
    series: int
    oldest_ms: int  # open time of the oldest; 0 for none


class GapTracker:
    """What is known of one market's series.

    A candle is missing ``grace_ms`` of exchange time after its end; a quiet series' questions are put off for
    ``quiet_ms`` at most. A call about a series that is not tracked changes nothing.
    """

    def __init__(self, grace_ms: int, quiet_ms: int) -> None:
        self._patience = Patience(grace_ms, _LEAST_PATIENCE_MS, max(quiet_ms, grace_ms, _LEAST_PATIENCE_MS))
        self._states: dict[Series, SeriesState] = {}
        self._repaired = 0
        self._absent = 0

    def __contains__(self, series: Series) -> bool:
        return series in self._states

    @property
    def series(self) -> tuple[Series, ...]:
        """Every series that is tracked."""
        return tuple(self._states)

    # The life of a series

    def expect(self, series: Series, now_ms: int) -> None:
        """Expect every candle of a series that is open now, or opens later. Harmless when that is so already."""
        state = self._states.get(series)
        if state is None:
            coverage = Coverage(series.interval, series.interval.floor(now_ms))
            patience_ms = max(self._patience.grace_ms, self._patience.least_ms)
            self._states[series] = SeriesState(coverage, coverage.begin_ms, patience_ms)
        else:
            state.revive(now_ms)

    def resume(self, series: Series, from_ms: int | None = None, *, may_begin_later: bool = False) -> int:
        """Say where an expected series continues: at ``from_ms``, or where it was first expected, and return it.

        ``from_ms`` is an open time, or a moment in a candle that is wanted; what is older is published or not wanted.
        With ``may_begin_later`` the exchange may have nothing that old, and need not: a history, a new listing.
        """
        state = self._states[series]
        coverage = state.coverage
        if state.ending is not None:
            state.ending.was = Life.RECORDED
        else:
            state.life = Life.RECORDED
        if from_ms is None:
            return coverage.begin_ms
        open_ms = coverage.grid.floor(from_ms)
        is_later = may_begin_later and not coverage.settled.between(coverage.begin_ms, open_ms)
        if open_ms < coverage.begin_ms or is_later:
            coverage.begin_ms = open_ms  # later than first expected: a listing that was noticed by a clock that lags
            state.may_begin_later = may_begin_later
        return coverage.begin_ms

    def began_ms(self, series: Series) -> int:
        """The first open time that is expected of a series."""
        return self._states[series].coverage.begin_ms

    def is_resumed(self, series: Series) -> bool:
        """Whether it is known where a series continues."""
        return series in self._states and self._states[series].is_resumed

    def checkpoint(self, series: Series) -> int | None:
        """Up to where a series is published without a gap; None while that, or whether it has begun, is not known."""
        state = self._states.get(series)
        if state is None or not state.is_resumed or state.passed_over_from_ms is not None:
            return None
        return state.published.end_of_run(state.coverage.begin_ms)

    def end(self, series: Series, now_ms: int, reason: str, *, with_open: bool) -> list[SeriesFact]:
        """End a series: what is missing is asked for once more, then it is tracked no longer. It may be ending already.

        With ``with_open``, the candle that is open now is still waited for. Returns the end, if nothing has to be
        waited for.
        """
        state = self._states.get(series)
        if state is None or state.ending is not None:
            return []
        open_ms = state.coverage.grid.floor(now_ms)
        state.begin_ending(reason, series.interval.end(open_ms) if with_open else open_ms)
        state.not_before_ms = state.end_ms + self._patience.grace_ms
        return [] if state.coverage.gaps(state.end_ms) else self._close(series, state, now_ms)

    def release(self, series: Series) -> None:
        """Somebody else records a series now, from its checkpoint on: it is tracked no longer, and has not ended."""
        self._states.pop(series, None)

    def is_ending(self, series: Series) -> bool:
        """Whether a series is on its way out."""
        return series in self._states and self._states[series].ending is not None

    # What becomes of its candles

    def mark_received(self, candle: Candle) -> None:
        """A candle has come, and whoever publishes it has taken it."""
        state = self._states.get(candle.series)
        if state is not None:
            state.note_exists()
            state.exchange_has_none = False
            state.move_grid(candle.open_time_ms)
            state.coverage.add(candle.open_time_ms, candle.end_time_ms)

    def mark_published(self, item: Candle | SeriesFact) -> None:
        """The broker has answered for a candle, or for the fact that one is absent."""
        state, span = self._states.get(item.series), _span(item)
        if state is not None and span is not None:
            state.published.add(*span)

    def mark_unpublished(self, item: Candle | SeriesFact) -> None:
        """The broker has lost what it had answered for; it is received still, and published again."""
        state, span = self._states.get(item.series), _span(item)
        if state is not None and span is not None:
            state.published.remove(*span)

    def mark_published_elsewhere(self, series: Series, from_ms: int, to_ms: int) -> None:
        """Another producer has published all of a series in a range: what is missing of it here is not missing."""
        state = self._states.get(series)
        if state is not None and state.is_resumed and state.passed_over_from_ms is None:
            for gap in state.coverage.settled.gaps(max(from_ms, state.coverage.begin_ms), to_ms):
                for spans in (state.coverage, state.published, state.elsewhere):
                    spans.add(*gap)

    def doubt_elsewhere(self) -> None:
        """The broker may have lost what others published, and nobody here holds it: it is missing, until they tell."""
        for state in self._states.values():
            for span in state.elsewhere:
                state.published.remove(*span)
                state.coverage.remove(*span)
            state.elsewhere = Spans()

    def mark_stored(self, series: Series, to_ms: int) -> None:
        """The disk has all of a series up to a time."""
        state = self._states.get(series)
        if state is not None and state.passed_over_from_ms is None and state.coverage.begin_ms < to_ms:
            state.coverage.add(state.coverage.begin_ms, to_ms)
            state.published.add(state.coverage.begin_ms, to_ms)

    def mark_lost(self, series: Series, begin_ms: int, end_ms: int) -> None:
        """The broker may have lost candles that nobody holds any more: they are missing."""
        state = self._states.get(series)
        if state is not None:
            state.published.remove(begin_ms, end_ms)
            state.coverage.remove(begin_ms, end_ms)

    def is_wanted(self, candle: Candle) -> bool:
        """Whether a fetched candle is one that has not come yet."""
        state = self._states.get(candle.series)
        if state is None:
            return False
        return candle.open_time_ms not in state.coverage or candle.open_time_ms in state.coverage.absent

    # Questions and answers

    def questions(self, now_ms: int) -> list[Question]:
        """Questions whose time has come, small ones first, at most one a series and none that is under way."""
        return sorted(
            self._questions(now_ms), key=lambda question: (question.again, question.page.limit, question.page.from_ms)
        )

    def has_question(self, now_ms: int) -> bool:
        """Whether there is any question at that time."""
        return next(self._questions(now_ms), None) is not None

    def _questions(self, now_ms: int) -> Iterator[Question]:
        for series, state in self._states.items():
            question = next_question(series, state, now_ms, self._patience.grace_ms)
            if question is not None:
                yield question

    def start(self, question: Question) -> None:
        """A question has been sent: none about the same series until it is answered or has failed."""
        self._states[question.series].question = question

    def take_answer(self, question: Question, answer: Answer, taken: Sequence[Candle], now_ms: int) -> list[SeriesFact]:
        """Take an answer in, after ``mark_received`` was called for what it brought.

        ``taken`` are those of its candles that were missing and have been taken by whoever publishes. Returns what was
        found absent, and the end of a series that ends.
        """
        state = self._states.get(question.series)
        if state is None:
            return []
        state.question = None
        self._repaired += len(taken)
        if answer.candles:
            state.move_grid(answer.candles[-1].open_time_ms)
        facts = take_answer(question, state, answer, taken, now_ms, self._patience)
        holes = [(fact.from_ms, fact.to_ms) for fact in facts if fact.from_ms >= state.coverage.begin_ms]
        self._absent += state.coverage.grid.count(holes)
        if state.ending is not None and not state.left():
            facts += self._close(question.series, state, now_ms)
        return facts

    def give_up(self, question: Question, now_ms: int) -> list[SeriesFact]:
        """The exchange refuses a question: it waits as if its series were quiet. Returns the end of one that ends."""
        state = self._states.get(question.series)
        if state is None:
            return []
        state.question = None
        state.not_before_ms = now_ms + self._patience.quiet_ms
        state.exchange_has_none = True
        return self._close(question.series, state, now_ms) if state.ending is not None else []

    def put_back(self, question: Question, not_before_ms: int = 0) -> None:
        """A question was not answered, and may be put again at that time."""
        state = self._states.get(question.series)
        if state is not None:
            state.question = None
            state.not_before_ms = max(state.not_before_ms, not_before_ms)

    def tally(self, now_ms: int) -> MarketTally:
        """How the market's candles stand at the exchange's time ``now_ms``."""
        due = missing = 0
        for state in self._states.values():
            coverage = state.coverage
            judged_ms = coverage.due_to(now_ms, self._patience.grace_ms)
            missing += coverage.grid.count(coverage.gaps(judged_ms))
            due += coverage.grid.count(coverage.gaps(coverage.expected_to(now_ms), judged_ms))
        return MarketTally(due, missing, self._repaired, self._absent)

    def overdue(self, now_ms: int) -> Overdue:
        """What came to be expected since this process listens, should have come or been repaired, and is not here.

        A series of which the exchange has nothing newer, or refuses to tell, such as a halted one, is not among them,
        unless that is so of all.
        """
        candles, oldest = [], []
        states = [state for state in self._states.values() if state.ending is None]
        all_halted = all(state.exchange_has_none for state in states)
        for state in states:
            coverage = state.coverage
            due_ms = coverage.due_to(now_ms - state.patience_ms - _OVERDUE_MS, self._patience.grace_ms)
            gaps = coverage.gaps(due_ms, state.expected_since_ms)
            if gaps and (all_halted or not state.exchange_has_none):
                candles.append(coverage.grid.count(gaps))
                oldest.append(gaps[0].begin_ms)
        return Overdue(sum(candles), len(candles), min(oldest, default=0))

    def _close(self, series: Series, state: SeriesState, now_ms: int) -> list[SeriesFact]:
        """The end of a series: behind its last candle."""
        state.note_exists()  # or does not: then it ends where it began
        end_ms = max(state.coverage.settled.last_ms or 0, state.coverage.begin_ms)
        del self._states[series]
        reason = state.ending.reason if state.ending is not None else ""
        return [SeriesFact(series, FactKind.ENDED, end_ms, end_ms, now_ms, reason)]


def _span(item: Candle | SeriesFact) -> Span | None:
    """The range that an item settles; None for a fact that settles nothing."""
    if isinstance(item, Candle):
        return Span(item.open_time_ms, item.end_time_ms)
    return Span(item.from_ms, item.to_ms) if item.kind is FactKind.ABSENT else None
