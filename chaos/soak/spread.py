"""How values are spread, in a bounded number of counters: each to one percent, the greatest one exactly. Pure."""

import math
from collections import Counter

_STEP = math.log(1.01)
_LEAST = 0.001


class Spread:
    """Counts of values above 0.

    Attributes:
        count: how many.
        greatest: the greatest; 0 without any.
    """

    def __init__(self) -> None:
        self.count = 0
        self.greatest = 0.0
        self._counts: Counter[int] = Counter()

    def add(self, value: float) -> None:
        """Count a value; one below a thousandth as a thousandth."""
        self.count += 1
        self.greatest = max(self.greatest, value)
        self._counts[math.ceil(math.log(max(value, _LEAST)) / _STEP)] += 1

    def quantile(self, share: float) -> float | None:
        """What ``share`` of the values are at most; None without any."""
        below = 0
        for step in sorted(self._counts):
            below += self._counts[step]
            if below >= share * self.count:
                return min(math.exp(step * _STEP), self.greatest)
        return None
