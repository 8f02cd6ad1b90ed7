"""What a process measures of itself. Pure and cheap: a value counted costs less than a microsecond.

Names follow Prometheus's practice: ``candlewick_`` in front, base units, ``_total`` on what only grows, times as
timestamps and not as ages. Labels name a market or a reason, never a symbol: a process of 2,000 series has as many
figures as one of six.
"""

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Any, NamedTuple

CLOSE_TO_BROKER_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
CLOSE_TO_DISK_SECONDS = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 900.0)
STEP_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Upper bounds, in seconds: of a candle's way to the broker and to disk, and of one publish or flush."""


class Buckets:
    """Counts of observed values, a bucket an upper bound, and one for what is beyond them all."""

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = tuple(bounds)
        self.sum = 0.0
        self._counts = [0] * (len(self.bounds) + 1)

    def observe(self, value: float) -> None:
        """Count a value; one that is below 0, as skewed clocks make them, as 0."""
        if value < 0.0:  # noqa: PLR1730 # max takes as long as all the rest
            value = 0.0
        self._counts[bisect_left(self.bounds, value)] += 1
        self.sum += value

    @property
    def counts(self) -> list[int]:
        """How many values were in each bucket; the last is beyond every bound."""
        return list(self._counts)

    def cumulative(self) -> list[tuple[str, int]]:
        """How many values were at most each bound, as Prometheus wants them: the bounds as text, ``+Inf`` last."""
        names = [*map(str, self.bounds), "+Inf"]
        return list(zip(names, accumulate(self._counts), strict=True))


def quantile(bounds: Sequence[float], counts: Sequence[int], share: float) -> float | None:
    """Below which value ``share`` of the values lie, taken as spread evenly in each bucket; None without any.

    That is Prometheus's ``histogram_quantile``: what lies beyond every bound counts as the highest one.
    """
    rank = share * sum(counts)
    if not rank:
        return None
    below = 0
    for lower, upper, count in zip((0.0, *bounds), bounds, counts, strict=False):
        if below + count >= rank:
            return lower + (upper - lower) * (rank - below) / count
        below += count
    return bounds[-1]


class Family(NamedTuple):
    """One figure, with its values by their labels' values.

    Attributes:
        name: without ``candlewick_`` in front, and of a counter without ``_total`` behind.
        kind: ``counter``, ``gauge`` or ``histogram``.
        meaning: a line for people.
        labels: the names of its labels.
        values: by tuples of the labels' values, in their order; ``Buckets`` of a histogram, None where it is not known.
    """

    name: str
    kind: str
    meaning: str
    labels: tuple[str, ...]
    values: Mapping[Any, Any]
