"""The clock of a loop that waits, handed in so that a test can be its master. The ``time`` module is one."""

from typing import Protocol


class Clock(Protocol):
    """Seconds that only go forwards, and waiting by them."""

    def monotonic(self) -> float:
        """Seconds since some moment."""

    def sleep(self, seconds: float) -> None:
        """Return that much later."""
