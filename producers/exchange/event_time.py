"""The exchange's time as its WebSocket frames tell it. It costs nothing, and one frame may be wrong.

A time that is further ahead than frames can have come meanwhile is not believed before the exchange's own clock has
confirmed it. How far that is depends on how fast the exchange's time goes, which a simulated exchange decides.
"""

import time
from collections.abc import Callable

_SLACK_MS = 60_000  # one frame may be so far ahead of another
_FASTER = 5  # than it went, time may go for a while: frames come late, a machine is busy
_SAMPLE_SECONDS = 0.5


class EventTime:
    """The event times of one process's frames; before there is any, ``newest_ms`` and ``first_ms`` are 0."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self.newest_ms = 0
        self.first_ms = 0  # one of the first: the process was listening at that time
        self._monotonic = monotonic
        self._speed = 1.0  # the exchange's seconds a second
        self._sampled_ms, self._sampled_at = 0, 0.0

    def is_believable(self, time_ms: int) -> bool:
        """Whether the exchange's time may have come so far."""
        if time_ms <= self.newest_ms + _SLACK_MS or not self.newest_ms:
            return True
        elapsed_ms = (self._monotonic() - self._sampled_at) * 1000
        return time_ms <= self._sampled_ms + _SLACK_MS + _FASTER * self._speed * elapsed_ms

    def note(self, event_time_ms: int) -> None:
        """A frame was sent at this time of the exchange's, it says. One that is not newer tells nothing."""
        if event_time_ms <= self.newest_ms and self.first_ms:
            return
        if self.is_believable(event_time_ms):
            self._advance(event_time_ms)
            self.first_ms = self.first_ms or event_time_ms

    def confirm(self, time_ms: int) -> None:
        """The exchange's own clock says that it is this late."""
        self._advance(time_ms)

    def correct(self, time_ms: int) -> None:
        """The newest event time was wrong: by the exchange's own clock it is no later than this."""
        self.newest_ms = self._sampled_ms = min(self.newest_ms, time_ms)

    def _advance(self, time_ms: int) -> None:
        self.newest_ms = max(self.newest_ms, time_ms)
        now = self._monotonic()
        if not self._sampled_ms or now - self._sampled_at >= _SAMPLE_SECONDS:
            if self._sampled_ms:
                self._speed = max(1.0, (self.newest_ms - self._sampled_ms) / (now - self._sampled_at) / 1000)
            self._sampled_ms, self._sampled_at = self.newest_ms, now
