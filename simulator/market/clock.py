"""The exchange's time: the real one's pace times a speed, or as fast as its listeners take what it sends."""

import asyncio
import time


class Clock:
    """Simulated UTC time in milliseconds. It stands still until ``start``.

    Args:
        start_ms: the time it begins with; None: the real one, now and once more when it begins to run.
        speed: simulated seconds a real second; None: as fast as possible, where time is that of the last event.
    """

    def __init__(self, start_ms: int | None, speed: float | None) -> None:
        self._is_real = start_ms is None
        self._start_ms = start_ms = _real_ms() if start_ms is None else start_ms
        self._speed = speed
        self._began: float | None = None
        self._reached_ms = start_ms

    @property
    def is_free(self) -> bool:
        """Whether it runs as fast as possible."""
        return self._speed is None

    def start(self) -> None:
        """Let time run. Harmless when it runs already."""
        if self._began is None:
            self._began = time.monotonic()
            if self._is_real and self._speed is not None:
                self._start_ms = _real_ms()

    def go_on(self) -> None:
        """Let time that ran as fast as possible go on at the real one's pace, from where it is."""
        if self._speed is None:
            self._start_ms, self._began, self._speed = self._reached_ms, time.monotonic(), 1.0

    @property
    def is_running(self) -> bool:
        """Whether ``start`` was called."""
        return self._began is not None

    def now_ms(self) -> int:
        """The exchange's time."""
        if self._began is None or self._speed is None:
            return self._reached_ms
        return self._start_ms + int((time.monotonic() - self._began) * 1000 * self._speed)

    def wait_seconds(self, time_ms: int) -> float:
        """Real seconds until ``time_ms``; nothing when time runs free or is past it."""
        if self._speed is None:
            return 0.0
        return max(0.0, (time_ms - self.now_ms()) / 1000 / self._speed)

    async def reach(self, time_ms: int) -> None:
        """Wait until ``time_ms``; when time runs free, let it be ``time_ms``."""
        if self._speed is None:
            self._reached_ms = max(self._reached_ms, time_ms)
            await asyncio.sleep(0)
        else:
            await asyncio.sleep(self.wait_seconds(time_ms))


def _real_ms() -> int:
    return time.time_ns() // 1_000_000
