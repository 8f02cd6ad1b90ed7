"""How a process stops: what a signal means the first time and again, and how tasks are made to end."""

import asyncio
import signal
import time
from collections.abc import Callable, Iterable
from typing import Any, Literal

SAME_STOP_SECONDS = 1.0
"""Signals closer together than this are one request: a terminal, a service manager, a supervisor may each send one."""

_TOLD_AGAIN_SECONDS = 3.0  # a task that closes a connection in good order takes a moment


class StopRequests:
    """Tells the first request to stop from its echoes and from a second one.

    Args:
        clock: monotonic seconds.
    """

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


async def cancel(tasks: Iterable["asyncio.Task[Any]"]) -> None:
    """Cancel tasks and wait until all are done.

    A cancellation that meets a time-out or a broken connection inside a library may be swallowed there, and the task
    goes on as if nothing had been said: then it is told again.
    """
    told = list(tasks)
    waiting = {task for task in told if not task.done()}
    while waiting:
        for task in waiting:
            task.cancel()
        _, waiting = await asyncio.wait(waiting, timeout=_TOLD_AGAIN_SECONDS)
    await asyncio.gather(*told, return_exceptions=True)
