"""What a run came to."""

from collections import Counter
from dataclasses import dataclass, field

from chaos.whole.kinds import CUTS, KILLS
from chaos.whole.truth import Difference, candles_of


@dataclass(slots=True)
class Outcome:
    """What a run came to.

    Attributes:
        minutes: how long faults happened.
        survived: how often each kind did.
        at_the_exchange: how often each of the exchange's own faults did.
        differences: every series compared with the truth.
        absent: candles that the exchange does not have, as the ledger notes them and no row contradicts.
        troubles: whatever else is not as it must be; none when all is well.
    """

    minutes: float
    survived: Counter[str] = field(default_factory=Counter)
    at_the_exchange: Counter[str] = field(default_factory=Counter)
    differences: list[Difference] = field(default_factory=list)
    absent: int = 0
    troubles: list[str] = field(default_factory=list)

    @property
    def kills(self) -> int:
        """Processes that were killed."""
        return sum(self.survived[name] for name in KILLS)

    @property
    def cuts(self) -> int:
        """Times that the connections to the broker were cut."""
        return self.survived[CUTS]

    def count(self, kind: str) -> int:
        """How many candles are ``missing``, ``doubled``, ``different`` or ``extra``; or ``compared``."""
        return candles_of(self.differences, kind)

    @property
    def is_good(self) -> bool:
        """Whether nothing was lost, doubled or changed, and enough happened to say so."""
        return (
            bool(self.differences) and not self.troubles and all(difference.is_good for difference in self.differences)
        )
