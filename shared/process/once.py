"""Each thing is said once: a trouble that lasts must not fill the log."""

import time
from collections.abc import Callable
from dataclasses import dataclass

_QUIET = 4  # pauses without a word, and a trouble that comes back is a new one
_MAX_REMEMBERED = 1000  # texts that differ each time must not fill the memory


@dataclass(slots=True)
class _Said:
    at: float
    pause_seconds: float
    unsaid: int = 0


class SayOnce:
    """Says each thing once by calling ``say``, such as a logger's ``warning``.

    The same thing is said again after ``repeat_seconds``, and then ever more seldom, up to ``max_repeat_seconds``, with
    how often it happened meanwhile; if it is None, not before ``reset``.
    """

    def __init__(
        self,
        say: Callable[..., object],
        repeat_seconds: float | None = None,
        monotonic: Callable[[], float] = time.monotonic,
        *,
        max_repeat_seconds: float = 3600.0,
    ) -> None:
        self._say = say
        self._repeat_seconds = repeat_seconds
        self._max_repeat_seconds = max_repeat_seconds
        self._monotonic = monotonic
        self._said: dict[object, _Said] = {}

    def __call__(self, text: str, *values: object, same: object = None) -> None:
        """Say a text with its values, unless it was said already.

        ``same`` is what makes two sayings the same; by default the text with its values.
        """
        what = same if same is not None else text % values if values else text
        now, said = self._monotonic(), self._said.get(what)
        if said is None:
            if len(self._said) >= _MAX_REMEMBERED:
                self._said.clear()
            self._said[what] = _Said(now, self._repeat_seconds or 0.0)
            self._say(text, *values)
            return
        said.unsaid += 1
        if self._repeat_seconds is not None and now - said.at > said.pause_seconds:
            was_quiet = now - said.at > _QUIET * said.pause_seconds
            longer = min(2 * said.pause_seconds, max(self._max_repeat_seconds, self._repeat_seconds))
            pause_seconds = self._repeat_seconds if was_quiet else longer
            self._said[what] = _Said(now, pause_seconds)
            plain = text if values else text.replace("%", "%%")
            self._say(plain + " (%d times since it was said)", *values, said.unsaid)

    def reset(self) -> bool:
        """The trouble is over: all may be said again. Whether anything had been said."""
        had_any = bool(self._said)
        self._said.clear()
        return had_any


def is_worth_a_line(number: int, first: int = 10) -> bool:
    """Whether the event of this number (from 1) is logged: the first few of a kind, then every thousandth."""
    return number <= first or number % 1000 == 0
