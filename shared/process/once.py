"""Each thing is said once: a trouble that lasts must not fill the log."""

import time
from collections.abc import Callable

_MAX_REMEMBERED = 1000  # texts that differ each time must not fill the memory


class SayOnce:
    """Says each thing once by calling ``say``, such as a logger's ``warning``.

    The same thing is said again after ``repeat_seconds``; if that is None, not before ``reset``.
    """

    def __init__(
        self,
        say: Callable[..., object],
        repeat_seconds: float | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._say = say
        self._repeat_seconds = repeat_seconds
        self._monotonic = monotonic
        self._said_at: dict[object, float] = {}

    def __call__(self, text: str, *values: object, same: object = None) -> None:
        """Say a text with its values, unless it was said already.

        ``same`` is what makes two sayings the same; by default the text with its values.
        """
        what = same if same is not None else text % values if values else text
        now, said_at = self._monotonic(), self._said_at.get(what)
        if said_at is None or (self._repeat_seconds is not None and now - said_at > self._repeat_seconds):
            if len(self._said_at) >= _MAX_REMEMBERED:
                self._said_at.clear()
            self._said_at[what] = now
            self._say(text, *values)

    def reset(self) -> bool:
        """The trouble is over: all may be said again. Whether anything had been said."""
        had_any = bool(self._said_at)
        self._said_at.clear()
        return had_any


def is_worth_a_line(number: int, first: int = 10) -> bool:
    """Whether the event of this number (from 1) is logged: the first few of a kind, then every thousandth."""
    return number <= first or number % 1000 == 0
