"""Waiting for a condition, without a fixed sleep."""

import itertools
import time
from collections.abc import Callable

_REST = 4  # a condition that is dear to ask is asked for a fifth of the time: who is waited for needs the processor


def wait_until(condition: Callable[[], bool], seconds: float = 30.0) -> None:
    """Poll until a condition holds; fail after so long."""
    deadline = time.monotonic() + seconds
    for pause in itertools.chain([0.001, 0.005, 0.01], itertools.repeat(0.03)):
        asked = time.monotonic()
        if condition():
            return
        answered = time.monotonic()
        assert answered < deadline, "the condition did not come true"
        time.sleep(max(pause, _REST * (answered - asked)))
