"""How often something that ends is started again, and how often that is said: one rule for all that is supervised."""

import logging
import time

from shared.process.backoff import backoff
from shared.process.once import SayOnce

log = logging.getLogger(__name__)

_HEALTHY_SECONDS = 30.0
_REPEAT_SECONDS = 600.0


class Restarts:
    """The restarts of one thing: ever further apart, up to half a minute, until it has lived for as long.

    Each reason is said once, and again every ten minutes.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self._say = SayOnce(log.error, _REPEAT_SECONDS)
        self._delays = backoff(first_seconds=0.5, max_seconds=30)
        self._begun_at = self._due_at = 0.0

    @property
    def is_due(self) -> bool:
        """Whether it may be started now."""
        return time.monotonic() >= self._due_at

    def note_start(self) -> None:
        """It has been started."""
        self._begun_at = time.monotonic()

    def note_end(self, reason: str) -> None:
        """It has ended, or could not be started: say why, and when it is tried again."""
        if time.monotonic() - self._begun_at > _HEALTHY_SECONDS:
            self._delays = backoff(first_seconds=0.5, max_seconds=30)
            self._say.reset()
        delay = next(self._delays)
        self._due_at = time.monotonic() + delay
        self._say("%s %s; starting it again in %.1f s, then ever more slowly", self.name, reason, delay, same=reason)
