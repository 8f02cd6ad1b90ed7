"""The account of one series: what is settled of it, what is safe, what is asked for again. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from shared.interval import DAY_MS, Interval
from shared.spans import Span, Spans


@dataclass(slots=True)
class Absence:
    """Candles that the exchange did not have: from when to when, when they are asked for again, how often they were."""

    begin_ms: int
    end_ms: int
    again_at_ms: int
    questions: int = 1


@dataclass(slots=True)
class Account:
    """One series.

    Attributes:
        anchor_ms: an open time; the grid of 3d candles is counted from it.
        began_ms: the first open time that must exist.
        settled: what need not be asked for: held, safe or absent.
        safe: what the broker has answered for, or is absent.
        absences: what is still asked for again.
        patience_ms: how long after its end the oldest missing candle is asked for.
        not_before_ms: no question before.
        doubts: how many answers in a row held rows that are no candles.
        is_asked: whether a question is under way.
        is_resolved: whether it is known where the series continues; before, its progress is nobody's business.
        reaches_back: whether nothing says that there are candles at ``began_ms``: a listing may be younger.
        ending: why it ends; None while it goes on.
        end_ms: nothing that opens then or later is expected; only while it ends.
        asked_to_ms: up to where it was asked for once more; only while it ends.
    """

    anchor_ms: int
    began_ms: int
    patience_ms: int
    settled: Spans = field(default_factory=Spans)
    safe: Spans = field(default_factory=Spans)
    absences: list[Absence] = field(default_factory=list)
    not_before_ms: int = 0
    doubts: int = 0
    is_asked: bool = False
    is_resolved: bool = False
    reaches_back: bool = False
    ending: str | None = None
    end_ms: int = 0
    asked_to_ms: int = 0

    def gaps(self, end_ms: int) -> Sequence[Span]:
        """What is not settled between the beginning and a time, ascending."""
        run_end = self.settled.end_of_run(self.began_ms)  # nearly always all there is to see
        return self.settled.gaps(run_end, end_ms) if run_end < end_ms else ()

    def left(self) -> Sequence[Span]:
        """What is missing of a series that ends, and was not asked for once more."""
        begin = max(self.settled.end_of_run(self.began_ms), self.asked_to_ms)
        return self.settled.gaps(begin, self.end_ms)

    def move_grid(self, open_time_ms: int) -> None:
        """Count 3d candles from one that was seen: which days they open on is not written anywhere."""
        if (open_time_ms - self.anchor_ms) % (3 * DAY_MS) == 0:
            return
        self.anchor_ms = open_time_ms
        self.began_ms = Interval.D3.floor(self.began_ms, open_time_ms)
