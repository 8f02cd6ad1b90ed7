"""What is due, what is missing, what the exchange never had. Pure: candles and times in, questions and notes out.

For every recorded series it is known which open times must exist, from the start of recording to the exchange's time.
Each of them is one of

- *due*: it has ended, and its grace is not over;
- *held* or *safe*: it came, and the broker has not answered for it yet, or has;
- *missing*: its grace is over, so it is asked for over REST; repaired when it comes that way;
- *absent*: the exchange was asked and has later candles, but not this one. It is told in a note, asked for again a few
  times, ever more slowly, and then let be.

A series is asked for from its oldest missing candle on, in one page, so that one request mends many gaps. A series
whose repaired candles hold no trade is quiet: the exchange may never close an empty minute on the WebSocket. Its
patience doubles with every such repair, up to ``quiet_ms``, and falls back when a repair brings a trade: fifteen
hundred quiet series then cost one small request each in ten minutes instead of one a minute.

Nothing is asked twice at a time, and nothing is asked in a tight loop: a series whose question brought nothing waits
for its patience. Time is the exchange's (docs/design.md, "Completeness").
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from producers.exchange.page import Answer, Page, next_page, page_of_gaps
from producers.gaps.state import Absence, Account
from shared.candle import Candle, Series
from shared.interval import DAY_MS, HOUR_MS, MINUTE_MS, Interval
from shared.series_fact import Note, NoteKind
from shared.spans import Spans

ABSENT_AGAIN_MS = (MINUTE_MS, 10 * MINUTE_MS, HOUR_MS, 6 * HOUR_MS, DAY_MS)
"""How long after an absence was found, and after each further question, it is asked for again."""

BEFORE_ITS_FIRST = "before its first candle"
"""Reason of the note that tells how much of a history, or of a listing's first minute, the exchange never had."""

_LEAST_PATIENCE_MS = 1000
_MOST_DOUBTS = 4  # answers in a row with rows that are no candles, before what is not in them counts as absent


class Ask(NamedTuple):
    """One question to the exchange.

    Attributes:
        series: about which.
        page: from when, up to when, how many rows.
        again: whether it asks once more for what was absent.
    """

    series: Series
    page: Page
    again: bool = False


@dataclass(frozen=True, slots=True)
class Tally:
    """How a market's candles stand, in candles.

    Attributes:
        due: ended, within their grace.
        missing: beyond it, and not here.
        repaired: came over REST since the process started.
        absent: found absent since the process started.
    """

    due: int
    missing: int
    repaired: int
    absent: int


class Completeness:
    """The account of one market's series.

    Args:
        grace_ms: exchange time after a candle's end from which it is missing.
        quiet_ms: most that a quiet series' questions are put off.
    """

    def __init__(self, grace_ms: int, quiet_ms: int) -> None:
        self._grace_ms = grace_ms
        self._quiet_ms = max(quiet_ms, grace_ms, _LEAST_PATIENCE_MS)
        self._accounts: dict[Series, Account] = {}
        self._repaired = 0
        self._absent = 0

    def __contains__(self, series: Series) -> bool:
        return series in self._accounts

    @property
    def series(self) -> tuple[Series, ...]:
        """Every series that there is an account of."""
        return tuple(self._accounts)

    def begin(self, series: Series, now_ms: int) -> None:
        """Expect every candle of a series that is open now, or opens later. Harmless when it has begun."""
        account = self._accounts.get(series)
        if account is None:
            open_ms = series.interval.floor(now_ms)
            self._accounts[series] = Account(open_ms, open_ms, max(self._grace_ms, _LEAST_PATIENCE_MS))
        elif account.ending is not None:
            account.ending, account.not_before_ms = None, now_ms

    def resolve(self, series: Series, from_ms: int | None = None, *, reaches_back: bool = False) -> int:
        """Say where a series continues: what is older than ``from_ms`` is safe or not wanted, what follows is expected.

        Args:
            series: one that has begun.
            from_ms: an open time, or a moment in a candle that is wanted; None: where it has begun.
            reaches_back: the exchange may have nothing that old, and need not: a history, a new listing.

        Returns:
            The first open time that is expected now.
        """
        account = self._accounts[series]
        account.is_resolved = True
        if from_ms is None:
            return account.began_ms
        open_ms = series.interval.floor(from_ms, account.anchor_ms)
        if open_ms < account.began_ms or (reaches_back and not account.settled.between(account.began_ms, open_ms)):
            account.began_ms = open_ms  # later than it began: a listing that was noticed by a clock that lags
            account.reaches_back = reaches_back
        return account.began_ms

    def began_ms(self, series: Series) -> int:
        """The first open time that is expected of a series that has begun."""
        return self._accounts[series].began_ms

    def is_resolved(self, series: Series) -> bool:
        """Whether it is known where a series continues."""
        return series in self._accounts and self._accounts[series].is_resolved

    def held(self, candle: Candle) -> None:
        """A candle has come, and whoever publishes it has taken it."""
        account = self._accounts.get(candle.series)
        if account is None:
            return
        if candle.series.interval is Interval.D3:
            account.move_grid(candle.open_time_ms)
        account.settled.add(candle.open_time_ms, candle.end_time_ms)

    def safe(self, item: Candle | Note) -> None:
        """The broker has answered for a candle, or for the note that one is absent."""
        account = self._accounts.get(item.series)
        if account is None:
            return
        if isinstance(item, Candle):
            account.safe.add(item.open_time_ms, item.end_time_ms)
        elif item.kind is NoteKind.ABSENT:
            account.safe.add(item.from_ms, item.to_ms)

    def unsafe(self, item: Candle | Note) -> None:
        """The broker has lost what it had answered for; it is held, and published again."""
        account = self._accounts.get(item.series)
        if account is None:
            return
        if isinstance(item, Candle):
            account.safe.remove(item.open_time_ms, item.end_time_ms)
        elif item.kind is NoteKind.ABSENT:
            account.safe.remove(item.from_ms, item.to_ms)

    def lost(self, series: Series, begin_ms: int, end_ms: int) -> None:
        """The broker may have lost candles that are not held any more: they are missing."""
        account = self._accounts.get(series)
        if account is not None:
            account.safe.remove(begin_ms, end_ms)
            account.settled.remove(begin_ms, end_ms)

    def is_missing(self, candle: Candle) -> bool:
        """Whether a fetched candle is one that has not come yet."""
        account = self._accounts.get(candle.series)
        if account is None:
            return False
        open_ms = candle.open_time_ms
        return open_ms not in account.settled or any(one.begin_ms <= open_ms < one.end_ms for one in account.absences)

    def progress(self, series: Series) -> int | None:
        """Up to where a series is safe without a gap; None while it is not known where it continues."""
        account = self._accounts.get(series)
        if account is None or not account.is_resolved:
            return None
        return account.safe.end_of_run(account.began_ms)

    def end(self, series: Series, now_ms: int, reason: str, *, with_open: bool) -> list[Note]:
        """A series is not recorded any more: what is missing is asked for once more, then its account is closed.

        Args:
            series: which; harmless when there is no account of it, or it ends already.
            now_ms: the exchange's time.
            reason: why, in a few words.
            with_open: whether the candle that is open now is still waited for.

        Returns:
            The end, if nothing has to be waited for.
        """
        account = self._accounts.get(series)
        if account is None or account.ending is not None:
            return []
        open_ms = series.interval.floor(now_ms, account.anchor_ms)
        end_ms = series.interval.end(open_ms) if with_open else open_ms
        account.ending, account.end_ms = reason, max(end_ms, account.settled.last_ms or 0)  # what came was there
        account.asked_to_ms, account.not_before_ms = 0, account.end_ms + self._grace_ms
        return [] if account.gaps(account.end_ms) else self._close(series, account, now_ms)

    def is_ending(self, series: Series) -> bool:
        """Whether a series is on its way out."""
        return series in self._accounts and self._accounts[series].ending is not None

    def asks(self, now_ms: int) -> list[Ask]:
        """Questions whose time has come, small ones first, at most one a series and none that is under way.

        Args:
            now_ms: the exchange's time.
        """
        found = []
        for series, account in self._accounts.items():
            if account.is_asked or account.not_before_ms > now_ms:
                continue
            ask = self._ask(series, account, now_ms)
            if ask is not None:
                found.append(ask)
        return sorted(found, key=lambda ask: (ask.again, ask.page.limit, ask.page.from_ms))

    def under_way(self, ask: Ask) -> None:
        """A question has been sent: none about the same series until it is answered or has failed."""
        self._accounts[ask.series].is_asked = True

    def wants(self, now_ms: int) -> bool:
        """Whether there is any question at that time."""
        return any(
            not account.is_asked and account.not_before_ms <= now_ms and self._ask(series, account, now_ms) is not None
            for series, account in self._accounts.items()
        )

    def answered(self, ask: Ask, answer: Answer, taken: Sequence[Candle], now_ms: int) -> list[Note]:
        """Take an answer in, after ``held`` was called for what it brought.

        Args:
            ask: the question.
            answer: all of it.
            taken: those of its candles that were missing and have been taken by whoever publishes.
            now_ms: the exchange's time.

        Returns:
            What was found absent, and the end of a series that ends.
        """
        account = self._accounts.get(ask.series)
        if account is None:
            return []
        account.is_asked = False
        self._repaired += len(taken)
        if ask.series.interval is Interval.D3 and answer.candles:
            account.move_grid(answer.candles[-1].open_time_ms)
        notes: list[Note] = []
        if ask.again:
            self._asked_again(ask, account, answer, taken, now_ms)
        else:
            is_doubtful = answer.is_doubtful or _gives_a_history_up(ask, account, answer)
            account.doubts = account.doubts + 1 if is_doubtful else 0
            if account.doubts >= _MOST_DOUBTS:  # one row that never becomes a candle must not block all behind it
                notes = self._note_absences(ask, account, answer, now_ms, "its row is no candle")
            elif not is_doubtful:
                notes = self._note_absences(ask, account, answer, now_ms)
            self._adapt(ask, account, answer, taken, now_ms)
        if account.ending is not None and not account.left():
            notes += self._close(ask.series, account, now_ms)
        return notes

    def failed(self, ask: Ask, now_ms: int) -> list[Note]:
        """The exchange refuses a question: it is put again as late as one about a quiet series.

        Returns:
            The end of a series that ends.
        """
        account = self._accounts.get(ask.series)
        if account is None:
            return []
        account.is_asked = False
        account.not_before_ms = now_ms + self._quiet_ms
        return self._close(ask.series, account, now_ms) if account.ending is not None else []

    def put_back(self, ask: Ask, not_before_ms: int = 0) -> None:
        """A question was not answered, by nobody's fault in it: it may be put again at that time."""
        account = self._accounts.get(ask.series)
        if account is not None:
            account.is_asked = False
            account.not_before_ms = max(account.not_before_ms, not_before_ms)

    def tally(self, now_ms: int) -> Tally:
        """How the market's candles stand at the exchange's time ``now_ms``."""
        due = missing = 0
        for series, account in self._accounts.items():
            late = self._due_end(series, account, now_ms)
            missing += _count(series.interval, account.gaps(late))
            recent = series.interval.floor(now_ms, account.anchor_ms)
            due += _count(series.interval, account.settled.gaps(max(late, account.began_ms), recent))
        return Tally(due, missing, self._repaired, self._absent)

    def _due_end(self, series: Series, account: Account, now_ms: int) -> int:
        """Everything that opens before is due for so long that it should be here."""
        if account.ending is not None:
            return account.end_ms
        return series.interval.floor(now_ms - self._grace_ms, account.anchor_ms)

    def _ask(self, series: Series, account: Account, now_ms: int) -> Ask | None:
        end_ms = self._due_end(series, account, now_ms)
        gaps = account.gaps(end_ms)
        if account.ending is not None:
            last = (series.interval.floor(end_ms - 1, account.anchor_ms), end_ms)
            return Ask(series, page_of_gaps(series, account.left() or [last]))  # all came: one row, to be answered
        if gaps and series.interval.end(gaps[0][0]) + account.patience_ms <= now_ms:
            return Ask(series, page_of_gaps(series, gaps))
        for absence in account.absences:
            if absence.again_at_ms <= now_ms:
                return Ask(series, next_page(series, absence.begin_ms, absence.end_ms), again=True)
        return None

    def _note_absences(self, ask: Ask, account: Account, answer: Answer, now_ms: int, reason: str = "") -> list[Note]:
        """What the answer should hold and does not, though there are later candles."""
        interval, anchor_ms = ask.series.interval, account.anchor_ms
        covered_to = min(answer.covered_to_ms, self._due_end(ask.series, account, now_ms))
        covered_to = interval.floor(covered_to, anchor_ms)  # whole candles only: a page may end inside a month
        covered_from = interval.floor(ask.page.from_ms, anchor_ms)
        if covered_from < ask.page.from_ms:  # the grid of 3d candles was another when it was asked
            covered_from = interval.end(covered_from)
        present = account.settled.copy()  # and what came and could not be taken, which is not absent either
        for candle in answer.candles:
            present.add(candle.open_time_ms, candle.end_time_ms)
        later = max((candle.open_time_ms for candle in answer.candles), default=0)
        later = max(later, (account.settled.last_ms or 1) - 1)
        notes = []
        for begin, end in present.gaps(covered_from, covered_to):
            if begin == account.began_ms and account.reaches_back:
                account.settled.add(begin, end)
                account.safe.add(begin, end)
                account.began_ms = end  # not a hole: the exchange has nothing that old
                notes.append(Note(ask.series, NoteKind.ABSENT, begin, end, now_ms, BEFORE_ITS_FIRST))
                continue
            if begin >= later:
                break  # nothing later: it may still come
            account.settled.add(begin, end)
            account.absences.append(Absence(begin, end, now_ms + ABSENT_AGAIN_MS[0]))
            self._absent += _count(interval, [(begin, end)])
            notes.append(Note(ask.series, NoteKind.ABSENT, begin, end, now_ms, reason))
        if account.began_ms < account.settled.end_of_run(account.began_ms):
            account.reaches_back = False
        return notes

    @staticmethod
    def _asked_again(ask: Ask, account: Account, answer: Answer, taken: Sequence[Candle], now_ms: int) -> None:
        """Put what is still absent off for longer, and let it be after the last time, but not what was refused."""
        came = Spans((candle.open_time_ms, candle.end_time_ms) for candle in taken)
        refused = [candle.open_time_ms for candle in answer.candles if candle.open_time_ms not in came]
        kept = []
        for absence in account.absences:
            if absence.begin_ms != ask.page.from_ms:
                kept.append(absence)
                continue
            for begin, end in came.gaps(absence.begin_ms, absence.end_ms):
                if any(begin <= open_ms < end for open_ms in refused):
                    kept.append(Absence(begin, end, now_ms + ABSENT_AGAIN_MS[0], absence.questions))
                elif absence.questions < len(ABSENT_AGAIN_MS):
                    again_at_ms = now_ms + ABSENT_AGAIN_MS[absence.questions]
                    kept.append(Absence(begin, end, again_at_ms, absence.questions + 1))
        account.absences = kept

    def _adapt(self, ask: Ask, account: Account, answer: Answer, taken: Sequence[Candle], now_ms: int) -> None:
        """How long the series' next question waits."""
        if any(candle.trade_num for candle in taken):
            account.patience_ms = max(self._grace_ms, _LEAST_PATIENCE_MS)
        else:
            account.patience_ms = min(2 * account.patience_ms, self._quiet_ms)
        settled = account.settled.end_of_run(ask.page.from_ms) > ask.page.from_ms
        goes_on = settled and not answer.is_doubtful
        if account.ending is not None:
            goes_on = self._asked_once_more(ask, account, answer) or goes_on
        account.not_before_ms = now_ms if goes_on else now_ms + account.patience_ms
        if account.ending is not None:
            account.not_before_ms = max(account.not_before_ms, account.end_ms + self._grace_ms)

    @staticmethod
    def _asked_once_more(ask: Ask, account: Account, answer: Answer) -> bool:
        """Whether a series that ends has been asked for farther than before; not when a candle was refused."""
        if any(candle.open_time_ms not in account.settled for candle in answer.candles):
            return False
        covered_to = max(answer.covered_to_ms, ask.page.covers_to_ms) if answer.is_doubtful else answer.covered_to_ms
        before, now = account.asked_to_ms, ask.series.interval.floor(covered_to, account.anchor_ms)
        account.asked_to_ms = max(before, now)
        return account.asked_to_ms > before

    def _close(self, series: Series, account: Account, now_ms: int) -> list[Note]:
        """The end of a series: behind its last candle."""
        last = account.settled.last_ms
        end_ms = account.began_ms if last is None else max(last, account.began_ms)
        del self._accounts[series]
        return [Note(series, NoteKind.ENDED, end_ms, end_ms, now_ms, account.ending or "")]


def _gives_a_history_up(ask: Ask, account: Account, answer: Answer) -> bool:
    """Whether an empty answer would end a history that is asked from a time on: that should hold the next candle."""
    return account.reaches_back and not answer.candles and ask.page.end_ms is None


def _count(interval: Interval, ranges: Iterable[tuple[int, int]]) -> int:
    """How many candles open in these ranges."""
    return sum(interval.candles(begin, end) for begin, end in ranges)
