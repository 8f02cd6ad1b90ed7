"""When something was broken, or had been a moment ago: so that lateness of both times can be told apart. Pure."""

import math
from collections import deque

ECHO_SECONDS = 30.0
"""So long after everything was mended its effects may still be seen: the longest pause between two tries."""

_REMEMBERED = 1000


class Disturbances:
    """The spells in which something was broken; the newest thousand of them.

    Args:
        echo_seconds: how long each is felt after its end.
    """

    def __init__(self, echo_seconds: float = ECHO_SECONDS) -> None:
        self._echo_seconds = echo_seconds
        self._spells: deque[tuple[float, float]] = deque(maxlen=_REMEMBERED)

    def note(self, now: float, *, is_broken: bool) -> None:
        """Say how it is now; ``now`` never goes back."""
        is_open = bool(self._spells) and self._spells[-1][1] == math.inf
        if is_broken and not is_open:
            self._spells.append((now, math.inf))
        elif is_open and not is_broken:
            begin, _ = self._spells.pop()
            self._spells.append((begin, now + self._echo_seconds))

    def met(self, begin: float, end: float) -> bool:
        """Whether something was broken at any time from ``begin`` to ``end``."""
        return any(first <= end and last >= begin for first, last in reversed(self._spells))
