"""Asking somebody who may be away: again after a while, and not for ever."""

import asyncio
import itertools
from collections.abc import Awaitable, Callable
from typing import TypeVar

from shared.process.backoff import backoff

_FIRST_TRIES, _TRIES = 4, 10  # a second or two before there was ever an answer, a minute or so after

_T = TypeVar("_T")


class Patience:
    """Bounded retries that many callers share: what is away for one is away for all, and is found out once.

    ``error`` is what is raised when there is no answer; it, and those of ``also``, mean that the same call may succeed
    later. ``trouble`` is why nothing is asked any more; None while it is.
    """

    def __init__(self, error: type[Exception], address: str = "", also: tuple[type[Exception], ...] = ()) -> None:
        self.trouble: str | None = None
        self._error = error
        self._address = f"{address}: " if address else ""
        self._retryable = (error, *also)
        self._has_answered = False

    async def call(self, ask: Callable[[], Awaitable[_T]]) -> _T:
        """What ``ask`` returns, after as many tries as it takes.

        Raises:
            Exception: the ``error`` that was named, after too many tries, now or before.
        """
        delays = backoff(0.2, 30.0)
        for tries in itertools.count(1):
            self._check()
            try:
                answer = await ask()
            except self._retryable as error:
                self._check()
                if tries >= (_TRIES if self._has_answered else _FIRST_TRIES):
                    self.give_up(f"{self._address}{str(error) or type(error).__name__}")
            else:
                self._has_answered = True
                return answer
            await asyncio.sleep(next(delays))
        raise AssertionError  # the loop returns or raises

    def give_up(self, trouble: str) -> None:
        """Nothing is asked any more. Raises the error that says so."""
        self.trouble = trouble
        self._check()

    def _check(self) -> None:
        if self.trouble is not None:
            raise self._error(self.trouble)
