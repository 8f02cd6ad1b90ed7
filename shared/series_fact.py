"""What is known of a series besides its candles: when recording began, what the exchange never had, when it ended.

Notes travel down the same stream as candles and are kept beside the dataset, so that whoever audits it later knows
what to expect (docs/design.md, "Completeness"). Merging them does not depend on order: the earliest beginning counts,
absences are united, and of a beginning and an end the one that was noted later decides whether a series has ended.
"""

from dataclasses import dataclass
from enum import StrEnum

from shared.candle import Series


class NoteKind(StrEnum):
    """What a note tells."""

    BEGAN = "began"
    ABSENT = "absent"
    ENDED = "ended"


@dataclass(frozen=True, slots=True)
class Note:
    """One fact about a series.

    Attributes:
        series: which.
        kind: what is told.
        from_ms: first open time that is recorded, or absent; after an end, the first that is not expected any more.
        to_ms: end of the absent range; for other kinds the same as ``from_ms``.
        noted_ms: the exchange's time when it was found out.
        reason: why, in a few words; may be empty.
    """

    series: Series
    kind: NoteKind
    from_ms: int
    to_ms: int
    noted_ms: int
    reason: str = ""
