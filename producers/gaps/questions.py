"""What to ask the exchange about a series, and what its answers mean. Pure functions of one series' state.

A series is asked for from its oldest missing candle on, in one page, so that one request mends many gaps. A series
whose repaired candles hold no trade is quiet: the exchange may never close an empty minute on the WebSocket. Its
patience doubles with every such repair, and falls back when a repair brings a trade: fifteen hundred quiet series then
cost one small request each in ten minutes instead of one a minute.

A candle that an answer should hold and does not, while later ones exist, is *absent*. It is asked for again a few
times, ever more slowly, and then let be. Without a later candle nothing is absent: it may still come. Only a history,
or a listing, may begin later than it is asked for: what answers leave out at its beginning is noted and let be as soon
as there is a later candle, and passed over until then.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from producers.exchange.page import Answer, next_page, odd_on_grid, odd_reason, page_of_gaps
from producers.gaps.state import Absence, Question, SeriesState
from shared.candle import Candle, Series
from shared.interval import DAY_MS, HOUR_MS, MINUTE_MS
from shared.series_fact import BEFORE_ITS_FIRST, FactKind, SeriesFact
from shared.spans import Spans

ABSENT_AGAIN_MS = (MINUTE_MS, 10 * MINUTE_MS, HOUR_MS, 6 * HOUR_MS, DAY_MS)
"""How long after an absence was found, and after each further question, it is asked for again."""

_MAX_DOUBTFUL = 4  # answers in a row that may have left something out, before what is not in them counts as absent


class Patience(NamedTuple):
    """How long a market's questions wait, in ms of the exchange's time."""

    grace_ms: int  # after a candle's end it is missing
    least_ms: int  # the shortest wait between two questions about a series
    quiet_ms: int  # most that a quiet series' questions are put off


def next_question(series: Series, state: SeriesState, now_ms: int, grace_ms: int) -> Question | None:
    """The question about a series whose time has come; None when there is none."""
    if state.question is not None or state.not_before_ms > now_ms:
        return None
    end_ms = state.coverage.due_to(now_ms, grace_ms)
    if state.ending is not None:
        last = (state.coverage.grid.floor(end_ms - 1), end_ms)
        return Question(series, page_of_gaps(series, state.left() or [last]))  # all came: one row, to be answered
    gaps = state.coverage.gaps(end_ms)
    if gaps and series.interval.end(gaps[0].begin_ms) + state.patience_ms <= now_ms:
        return Question(series, page_of_gaps(series, gaps))
    for absence in state.absences:
        if absence.again_at_ms <= now_ms:
            return Question(series, next_page(series, absence.begin_ms, absence.end_ms), again=True)
    return None


def take_answer(
    question: Question, state: SeriesState, answer: Answer, taken: Sequence[Candle], now_ms: int, patience: Patience
) -> list[SeriesFact]:
    """Take an answer in: what was found absent, and when the series is asked for again.

    What the answer brought has been marked in ``state`` as received; ``taken`` are those of its candles that were
    missing and have been taken by whoever publishes.
    """
    if question.again:
        state.absences = list(_absences_left(question, state, answer, taken, now_ms))
        return []
    ends_history = state.may_begin_later and not answer.candles and question.page.end_ms is None
    # asked from a time on, it should hold the next candle there is; a row on the grid may be right the next time
    is_doubtful = answer.is_doubtful or ends_history or bool(odd_on_grid(question.series.interval, answer.odd))
    state.doubtful_answers = state.doubtful_answers + 1 if is_doubtful else 0
    state.exchange_has_none = not answer.candles and not answer.is_doubtful
    facts: list[SeriesFact] = []
    if not is_doubtful or state.doubtful_answers >= _MAX_DOUBTFUL:  # a row that never becomes a candle must not block
        facts = _find_absent(question, state, answer, now_ms, patience.grace_ms)
    _set_next_time(question, state, answer, taken, now_ms, patience)
    return facts


def _find_absent(
    question: Question, state: SeriesState, answer: Answer, now_ms: int, grace_ms: int
) -> list[SeriesFact]:
    """Mark as absent what the answer should hold and does not, though there are later candles."""
    coverage, series = state.coverage, question.series
    covered_to = coverage.grid.floor(min(answer.covered_to_ms, coverage.due_to(now_ms, grace_ms)))
    covered_from = coverage.grid.ceil(question.page.from_ms)  # the grid of 3d candles may have been another
    present = coverage.settled.copy()  # and what came and could not be taken, which is not absent either
    for candle in answer.candles:
        present.add(candle.open_time_ms, candle.end_time_ms)
    later = max((candle.open_time_ms for candle in answer.candles), default=0)
    later = max(later, (coverage.settled.last_ms or 1) - 1)
    facts = []
    for gap in present.gaps(covered_from, covered_to):
        if state.may_begin_later and not coverage.settled.between(coverage.begin_ms, gap.begin_ms):
            if gap.begin_ms > coverage.begin_ms:
                continue  # what was passed over before it is asked for first
            if gap.begin_ms >= later:
                state.pass_over(gap.end_ms)
                break
            coverage.add(*gap)  # not a hole: the exchange has nothing that old, and nothing that old is wanted
            coverage.begin_ms = gap.end_ms
            state.published.add(*gap)
            facts.append(SeriesFact(series, FactKind.ABSENT, *gap, now_ms, BEFORE_ITS_FIRST))
            continue
        if gap.begin_ms >= later:
            break  # nothing later: it may still come
        coverage.add_absent(*gap)
        state.absences.append(Absence(*gap, now_ms + ABSENT_AGAIN_MS[0]))
        odd = [row for row in answer.odd if gap.begin_ms <= row.open_time_ms < gap.end_ms]
        facts.append(SeriesFact(series, FactKind.ABSENT, *gap, now_ms, odd_reason(odd)))
    if coverage.begin_ms < coverage.settled.end_of_run(coverage.begin_ms):
        state.may_begin_later = False
    return facts


def _absences_left(
    question: Question, state: SeriesState, answer: Answer, taken: Sequence[Candle], now_ms: int
) -> Iterator[Absence]:
    """What is still absent, put off for longer, and let be after the last time, but not what was refused."""
    came = Spans((candle.open_time_ms, candle.end_time_ms) for candle in taken)
    refused = [candle.open_time_ms for candle in answer.candles if candle.open_time_ms not in came]
    for absence in state.absences:
        if absence.begin_ms != question.page.from_ms:
            yield absence
            continue
        for gap in came.gaps(absence.begin_ms, absence.end_ms):
            if any(gap.begin_ms <= open_ms < gap.end_ms for open_ms in refused):
                yield Absence(*gap, now_ms + ABSENT_AGAIN_MS[0], absence.questions)
            elif absence.questions < len(ABSENT_AGAIN_MS):
                yield Absence(*gap, now_ms + ABSENT_AGAIN_MS[absence.questions], absence.questions + 1)


def _set_next_time(
    question: Question, state: SeriesState, answer: Answer, taken: Sequence[Candle], now_ms: int, patience: Patience
) -> None:
    """How long the series' next question waits."""
    if any(candle.trade_num for candle in taken):
        state.patience_ms = max(patience.grace_ms, patience.least_ms)
    else:
        state.patience_ms = min(2 * state.patience_ms, patience.quiet_ms)
    went_on = state.coverage.settled.end_of_run(question.page.from_ms) > question.page.from_ms
    goes_on = went_on and not state.doubtful_answers
    if state.ending is not None:
        goes_on = _asked_farther(question, state, answer) or goes_on
    state.not_before_ms = now_ms if goes_on else now_ms + state.patience_ms
    if state.ending is not None:
        state.not_before_ms = max(state.not_before_ms, state.end_ms + patience.grace_ms)


def _asked_farther(question: Question, state: SeriesState, answer: Answer) -> bool:
    """Note how far a series that ends has been asked for; whether farther than before, not when one was refused."""
    ending = state.ending
    if ending is None or any(candle.open_time_ms not in state.coverage for candle in answer.candles):
        return False
    covered_to = answer.covered_to_ms
    if state.doubtful_answers:
        covered_to = max(covered_to, question.page.covers_to_ms)
    before, ending.asked_to_ms = ending.asked_to_ms, max(ending.asked_to_ms, state.coverage.grid.floor(covered_to))
    return ending.asked_to_ms > before
