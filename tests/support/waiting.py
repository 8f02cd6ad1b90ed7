"""Waiting for a condition, without a fixed sleep."""

import itertools
import time
from collections.abc import Callable


def wait_until(condition: Callable[[], bool], seconds: float = 30.0) -> None:
    """Poll until a condition holds; fail after so long."""
    deadline = time.monotonic() + seconds
    for pause in itertools.chain([0.001, 0.005, 0.01], itertools.repeat(0.03)):
        if condition():
            return
        assert time.monotonic() < deadline, "the condition did not come true"
        time.sleep(pause)
