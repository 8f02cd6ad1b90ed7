"""Waiting for what another process does: always with an end, and with a word about what did not come."""

import time
from collections.abc import Callable

WAIT_SECONDS = 60.0
"""Longest wait for a step of a process that lives; a busy machine takes a few seconds for it."""


class NotInTimeError(Exception):
    """Something that had to happen did not; the text says what, and where to look."""


def wait_until(condition: Callable[[], bool], what: str, seconds: float = WAIT_SECONDS) -> None:
    """Poll until a condition holds.

    Args:
        condition: asked every 20 ms.
        what: what is waited for, for the error.
        seconds: longest wait.

    Raises:
        NotInTimeError: when it does not hold by then.
    """
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise NotInTimeError(f"not within {seconds:g} s: {what}")
        time.sleep(0.02)
