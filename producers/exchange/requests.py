"""Control messages over one connection: sent no faster than the exchange allows, each waited for until its answer.

The exchange closes a connection that sends more messages a second than it allows, and it ignores a message over 4096
bytes without a word (docs/binance.md).
"""

import asyncio
import itertools
import time
from collections.abc import Awaitable, Callable

from producers.exchange.channels import Method, control_message
from producers.exchange.frames import Control
from shared.errors import ConnectionFailedError

Send = Callable[[bytes], Awaitable[None]]


class ControlRequests:
    """What one connection has asked for and is not answered yet."""

    def __init__(self, messages_per_second: int, timeout_seconds: float) -> None:
        self._gap_seconds = 1.25 / messages_per_second
        self._timeout_seconds = timeout_seconds
        self._answers: dict[int, asyncio.Future[Control]] = {}
        self._numbers = itertools.count(1)
        self._pace = asyncio.Lock()
        self._next_at = 0.0

    async def ask(self, send: Send, method: Method, channels: tuple[str, ...]) -> str | None:
        """Send one control message; None when it was accepted, else the exchange's reason.

        ConnectionFailedError says that there is no answer in time, or that the connection is lost. What ``send`` raises
        is raised.
        """
        number = next(self._numbers)
        answer = self._answers[number] = asyncio.get_running_loop().create_future()
        try:
            async with self._pace:
                await asyncio.sleep(self._next_at - time.monotonic())
                self._next_at = time.monotonic() + self._gap_seconds
                await send(control_message(method, channels, number))
            control: Control = await asyncio.wait_for(answer, self._timeout_seconds)
        except TimeoutError:
            text = f"{method} of {len(channels)} channels not answered in {self._timeout_seconds:g} s"
            raise ConnectionFailedError(text) from None
        finally:
            self._answers.pop(number, None)
            answer.cancel()  # whoever loses the connection now need not tell us
        return control.error

    def answer(self, control: Control) -> bool:
        """Hand an answer to whoever waits for it; False when nobody does."""
        waiting = self._answers.get(control.id) if control.id is not None else None
        if waiting is None:
            return False
        if not waiting.done():
            waiting.set_result(control)
        return True

    def fail(self, reason: str) -> None:
        """The connection is lost: nobody waits any longer."""
        failed = ConnectionFailedError(f"lost: {reason}")
        for waiting in self._answers.values():
            if not waiting.done():
                waiting.set_exception(failed)
