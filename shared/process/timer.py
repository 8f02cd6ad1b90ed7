"""What is due every so many seconds in a loop."""

from dataclasses import dataclass


@dataclass(slots=True)
class Timer:
    """Due every so many seconds, first at once."""

    seconds: float
    next_at: float = 0.0

    def ring(self, now: float) -> bool:
        """Whether it is due; then it is due again after its time."""
        if now < self.next_at:
            return False
        self.next_at = now + self.seconds
        return True
