"""What is known of a series besides its candles: when recording began, what the exchange never had, when it ended.

A series that nobody records, whose history was fetched, is expected where it was fetched. What was repaired is told by
whole days in UTC: on these part of the candles did not come as they closed, but over REST. A writer notes it by itself.

Facts travel down the same stream as candles and are kept beside the dataset as the series' metadata, so that whoever
audits it later knows what to expect (docs/design.md, "Series metadata"). Merging them does not depend on order: the
earliest beginning counts, absences are united, and of a beginning and an end the one that was noted later decides
whether a series has ended.
"""

from dataclasses import dataclass
from enum import StrEnum

from shared.candle import Series

BEFORE_ITS_FIRST = "before its first candle"
"""Reason of an absence that tells how much of a history, or of a listing's first minute, the exchange never had."""

NOT_AT_THE_EXCHANGE = "the exchange was asked and does not have it"
"""Why any other candle is absent."""


class FactKind(StrEnum):
    """What a fact tells."""

    BEGAN = "began"
    ABSENT = "absent"
    ENDED = "ended"
    FETCHED = "fetched"
    REPAIRED = "repaired"

    @property
    def is_range(self) -> bool:
        """Whether it is true of a range of time, and not from a time on."""
        return self in (FactKind.ABSENT, FactKind.FETCHED, FactKind.REPAIRED)


@dataclass(frozen=True, slots=True)
class SeriesFact:
    """One fact about a series."""

    series: Series
    kind: FactKind
    from_ms: int  # first open time that is recorded, absent or fetched; of an end the first that is not expected
    to_ms: int  # end of the absent or fetched range, or of repaired days; for other kinds the same as ``from_ms``
    noted_ms: int  # the exchange's time when it was found out
    reason: str = ""
