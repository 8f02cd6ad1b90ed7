"""What is known of a series besides its candles: when recording began, what the exchange never had, when it ended.

Facts travel down the same stream as candles and are kept beside the dataset as the series' metadata, so that whoever
audits it later knows what to expect (docs/design.md, "Series metadata"). Merging them does not depend on order: the
earliest beginning counts, absences are united, and of a beginning and an end the one that was noted later decides
whether a series has ended.
"""

from dataclasses import dataclass
from enum import StrEnum

from shared.candle import Series


class FactKind(StrEnum):
    """What a fact tells."""

    BEGAN = "began"
    ABSENT = "absent"
    ENDED = "ended"


@dataclass(frozen=True, slots=True)
class SeriesFact:
    """One fact about a series."""

    series: Series
    kind: FactKind
    from_ms: int  # first open time that is recorded, or absent; after an end, the first that is not expected any more
    to_ms: int  # end of the absent range; for other kinds the same as ``from_ms``
    noted_ms: int  # the exchange's time when it was found out
    reason: str = ""
