"""Tasks with an owner: each belongs to a block, and the block does not end before they have.

A cancellation that meets a time-out or a broken connection inside a library may be swallowed there, and the task goes
on as if nothing had been said. So whoever ends tasks here tells them again until they have ended.
"""

import asyncio
from collections.abc import Coroutine, Iterable
from types import TracebackType
from typing import Any, Self, TypeVar

_TOLD_AGAIN_SECONDS = 3.0  # a task that closes a connection in good order takes a moment

_T = TypeVar("_T")


class Tasks:
    """A task group whose tasks can be ended.

    When one of its tasks fails, all others are cancelled, the block is cancelled, and the error is raised at its end.

    Example:
        >>> async with Tasks() as tasks:
        ...     tasks.start(listen())
        ...     await stop.wait()
        ...     await tasks.cancel()
    """

    def __init__(self) -> None:
        self._group = asyncio.TaskGroup()
        self._running: set[asyncio.Task[Any]] = set()

    async def __aenter__(self) -> Self:
        await self._group.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if error is not None:
            await self.cancel()
        try:
            await self._group.__aexit__(kind, error, traceback)
        except BaseExceptionGroup as group:
            raise group.exceptions[0] from None

    @property
    def running(self) -> "frozenset[asyncio.Task[Any]]":
        """Its tasks that have not ended."""
        return frozenset(self._running)

    def start(self, coroutine: Coroutine[Any, Any, _T]) -> "asyncio.Task[_T]":
        """Run something beside the block, for as long as the block at most."""
        task = self._group.create_task(coroutine)
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return task

    async def cancel(self) -> None:
        """Cancel all that runs, and wait until it has ended."""
        await cancel(self._running)


async def cancel(tasks: "Iterable[asyncio.Task[Any]]", told_again_seconds: float = _TOLD_AGAIN_SECONDS) -> None:
    """Cancel tasks, again and again, and wait until all have ended; what they raise stays theirs."""
    waiting = {task for task in tasks if not task.done()}
    while waiting:
        for task in waiting:
            task.cancel()
        _, waiting = await asyncio.wait(waiting, timeout=told_again_seconds)
