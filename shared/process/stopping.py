"""How a process stops: what a signal means the first time and again."""

import signal
import time
from collections.abc import Callable
from typing import Literal

SAME_STOP_SECONDS = 1.0
"""Signals closer together than this are one request: a terminal, a service manager, a supervisor may each send one."""


class StopRequests:
    """Tells the first request to stop from its echoes and from a second one."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._first_at: float | None = None

    @property
    def asked(self) -> bool:
        """Whether a stop was asked for."""
        return self._first_at is not None

    def ask(self) -> Literal["stop", "echo", "again"]:
        """Take a request: the first, an echo of it, or a second one, which wants the end at once."""
        now = self._clock()
        if self._first_at is None:
            self._first_at = now
            return "stop"
        return "again" if now - self._first_at > SAME_STOP_SECONDS else "echo"


def stop_signals() -> tuple[signal.Signals, ...]:
    """Signals that ask for a stop: SIGTERM, SIGINT, and SIGHUP unless ``nohup`` has it ignored."""
    hangup = () if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN else (signal.SIGHUP,)
    return (signal.SIGTERM, signal.SIGINT, *hangup)
