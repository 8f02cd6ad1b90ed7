"""What a process last said of itself, and when: whether it lives, and whether it does its work.

The process's own loop says so every two seconds, and the thread that is asked only looks at it. So a loop that hangs is
noticed, though the thread still answers.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

HANGS_AFTER_SECONDS = 60.0  # longer than any one step of a loop: a flush of a whole market takes seconds


class Said(NamedTuple):
    """One report, and when it was made, in monotonic seconds."""

    at: float
    report: Mapping[str, Any]


class Vitals:
    """The newest report. One thread notes, any thread looks."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._said = Said(monotonic(), {"troubles": ["it has just been started"]})

    def note(self, report: Mapping[str, Any]) -> None:
        """The process's loop turns; this is how it does. ``troubles`` are lines, none when all is well."""
        self._said = Said(self._monotonic(), report)

    @property
    def report(self) -> Mapping[str, Any]:
        """The newest report."""
        return self._said.report

    @property
    def hangs(self) -> str | None:
        """Why the process has to be taken for dead; None while it lives."""
        silent = self._monotonic() - self._said.at
        return f"no sign of life for {silent:.0f} s" if silent > HANGS_AFTER_SECONDS else None

    @property
    def troubles(self) -> Sequence[str]:
        """Why the process does not do its work, a line each."""
        hangs = self.hangs
        return [*([hangs] if hangs else []), *self.report.get("troubles", ())]
