"""Entries that were read and not yet written, and when to write them. Pure: the time is handed in.

A flush is due a short pause after the first entry came, or at once when the batch is full. The pause stretches to what
the last flush cost: few series are on disk at once, many are written in few large flushes. A series that could not be
written is tried again at a time of its own and holds up no other. Its entries fill at most half of a batch. Beyond that
they are forgotten, which loses nothing: the broker holds them as pending, and they are claimed again later.
"""

from collections.abc import Iterable
from math import inf

from shared.broker.entry import Entry
from shared.candle import Series


class Batch:
    """Waiting entries by series.

    A flush follows the first entry after ``flush_seconds``, stretched to ``flush_max_seconds`` at most. A batch of
    ``max_candles`` is full.
    """

    def __init__(self, flush_seconds: float, flush_max_seconds: float, max_candles: int) -> None:
        self._flush_seconds = flush_seconds
        self._flush_max_seconds = flush_max_seconds
        self._max = max_candles
        self._pause = flush_seconds
        self._waiting: dict[Series, dict[bytes, Entry]] = {}
        self._retry_at: dict[Series, float] = {}
        self._due_at: float | None = None

    def __len__(self) -> int:
        return sum(len(entries) for entries in self._waiting.values())

    @property
    def room(self) -> int:
        """How many more entries may be added before it is full."""
        return max(0, self._max - len(self))

    @property
    def failing(self) -> tuple[Series, ...]:
        """Series whose last write failed."""
        return tuple(self._retry_at)

    def add(self, entries: Iterable[Entry], now: float, within_seconds: float = inf) -> None:
        """Take entries in. One that is here already, claimed from ourselves, is not taken twice.

        They are written ``within_seconds`` at the latest, if nothing fails: those that have waited once already.
        """
        due_at = now + min(self._pause, within_seconds)
        for entry in entries:
            series = entry.item.series
            self._waiting.setdefault(series, {})[entry.id] = entry
            if series not in self._retry_at:
                self._due_at = due_at if self._due_at is None else min(self._due_at, due_at)

    def due_in(self, now: float) -> float | None:
        """Seconds until something is to be written: 0 when it is, None when nothing waits."""
        times = list(self._retry_at.values())
        if self._due_at is not None:
            times.append(now if self.room == 0 else self._due_at)
        return max(0.0, min(times) - now) if times else None

    def due(self, now: float) -> dict[Series, list[Entry]]:
        """What is to be written now, by series, in the order it came."""
        healthy = self._due_at is not None and (self._due_at <= now or self.room == 0)
        return {
            series: list(entries.values())
            for series, entries in self._waiting.items()
            if (self._retry_at[series] <= now if series in self._retry_at else healthy)
        }

    def everything(self) -> dict[Series, list[Entry]]:
        """All that waits, due or not, by series."""
        return {series: list(entries.values()) for series, entries in self._waiting.items()}

    def remove(self, entries: Iterable[Entry]) -> None:
        """Let go of entries that are on disk; their series are healthy."""
        for entry in entries:
            series = entry.item.series
            waiting = self._waiting.get(series, {})
            waiting.pop(entry.id, None)
            if not waiting:
                self._waiting.pop(series, None)
            self._retry_at.pop(series, None)

    def retry(self, series: Series, retry_at: float) -> None:
        """A series could not be written: what waits of it, if anything does, is due again at ``retry_at``."""
        if series in self._waiting:
            self._retry_at[series] = retry_at

    def note_flush(self, cost_seconds: float) -> None:
        """A flush is over and its failures were told; the next pause follows what it cost."""
        self._pause = min(max(self._flush_seconds, cost_seconds), self._flush_max_seconds)
        if all(series in self._retry_at for series in self._waiting):
            self._due_at = None

    def forget_excess(self) -> int:
        """Forget entries of failing series while they fill more than half of the batch; how many were forgotten."""
        forgotten = 0
        for series in sorted(self._retry_at, key=lambda series: -len(self._waiting.get(series, ()))):
            if sum(len(self._waiting.get(failing, ())) for failing in self._retry_at) <= self._max // 2:
                break
            forgotten += len(self._waiting.pop(series, ()))
            del self._retry_at[series]
        return forgotten

    def clear(self) -> None:
        """Forget everything; the broker still holds it as pending."""
        self._waiting.clear()
        self._retry_at.clear()
        self._due_at = None
