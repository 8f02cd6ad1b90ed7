"""What is known of one series while it is recorded: its coverage, what is published of it, what is asked for. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import NamedTuple

from producers.exchange.page import Page
from shared.candle import Series
from shared.coverage import Coverage
from shared.spans import Span, Spans


class Life(Enum):
    """Where a series is in its life as a recorded one."""

    EXPECTED = auto()
    """Its candles are expected from now on; where it continues is not known yet. Until then, no checkpoint."""
    RECORDED = auto()
    """It is known where it continues."""
    ENDING = auto()
    """It is not recorded any more; what is missing of it is asked for once more."""


class Question(NamedTuple):
    """One question to the exchange."""

    series: Series
    page: Page
    again: bool = False  # whether it asks once more for what was absent


@dataclass(slots=True)
class Absence:
    """Candles that the exchange did not have: from when to when, when they are asked for again, how often they were."""

    begin_ms: int
    end_ms: int
    again_at_ms: int
    questions: int = 1


@dataclass(slots=True)
class Ending:
    """How a series ends."""

    reason: str
    was: Life  # its life before, which it takes up again should it be recorded after all
    asked_to_ms: int = 0  # up to where it was asked for once more


@dataclass(slots=True)
class SeriesState:
    """One series."""

    coverage: Coverage  # what is expected, received and absent
    expected_since_ms: int  # the open time at which it came to be expected; what is older is history
    patience_ms: int  # how long after its end the oldest missing candle is asked for
    life: Life = Life.EXPECTED
    published: Spans = field(default_factory=Spans)  # what the broker has answered for, or is absent
    elsewhere: Spans = field(default_factory=Spans)  # of that, what another producer has published, as it said
    absences: list[Absence] = field(default_factory=list)  # what is still asked for again
    not_before_ms: int = 0  # no question before
    doubtful_answers: int = 0  # how many answers in a row may have left something out
    exchange_has_none: bool = False  # it was asked for what is missing, and had neither that nor anything later
    question: Question | None = None  # the one that is under way
    may_begin_later: bool = False  # nothing says that there are candles at its beginning: a listing may be younger
    passed_over_from_ms: int | None = None  # where it began, while nothing is known to exist of what was asked for
    ending: Ending | None = None  # only while it ends

    @property
    def is_resumed(self) -> bool:
        """Whether it is, or was when it ended, known where it continues."""
        return (self.ending.was if self.ending is not None else self.life) is Life.RECORDED

    @property
    def end_ms(self) -> int:
        """Nothing that opens then or later is expected; 0 while it goes on."""
        return self.coverage.end_ms or 0

    def pass_over(self, end_ms: int) -> None:
        """The exchange has neither what was asked for nor anything later: expect it from here on, for now."""
        if self.passed_over_from_ms is None:
            self.passed_over_from_ms = self.coverage.begin_ms
        self.coverage.begin_ms = end_ms

    def note_exists(self) -> None:
        """There is a candle: what was passed over before it is expected after all, to be asked for again."""
        if self.passed_over_from_ms is not None:
            self.coverage.begin_ms, self.passed_over_from_ms = self.passed_over_from_ms, None

    def begin_ending(self, reason: str, end_ms: int) -> None:
        """It is not recorded any more, and what came already was there."""
        self.coverage.end_ms = max(end_ms, self.coverage.settled.last_ms or 0)
        self.ending, self.life = Ending(reason, self.life), Life.ENDING

    def revive(self, now_ms: int) -> None:
        """It is recorded after all."""
        if self.ending is not None:
            self.life, self.ending, self.coverage.end_ms = self.ending.was, None, None
            self.not_before_ms = now_ms

    def move_grid(self, open_time_ms: int) -> None:
        """Count 3d candles from one that was seen."""
        if self.coverage.move_grid(open_time_ms):
            self.coverage.grid.complete(self.published)

    def left(self) -> Sequence[Span]:
        """What is missing of a series that ends, and was not asked for once more."""
        asked_to_ms = self.ending.asked_to_ms if self.ending is not None else 0
        begin = max(self.coverage.settled.end_of_run(self.coverage.begin_ms), asked_to_ms)
        return self.coverage.settled.gaps(begin, self.end_ms)
