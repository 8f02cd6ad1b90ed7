"""Entries that were read and not yet written, and when to write them. Pure: the time is handed in.

A series is due a short pause after its first entry came, or at once when the batch is full. Those that have waited
longest are written first, so many at a time: what comes meanwhile is read in between, and a burst over many series is
on disk as soon as the disk can take it, each file written once. When nothing is due any more, the writer rests for as
long as the last round took, in which each series was written once at most: under a steady load it is busy for half of
the time, and a file takes several candles; behind a long backlog it rests no longer.

A series that could not be written is tried again at a time of its own and holds up no other. Its entries fill at most
half of a batch. Beyond that they are forgotten, which loses nothing: the broker holds them as pending, and they are
claimed again later.
"""

from collections.abc import Collection, Iterable
from math import inf

from shared.broker.entry import Entry
from shared.candle import Series


class Batch:
    """Waiting entries by series.

    Args:
        flush_seconds: a series is due so long after its first entry came.
        flush_max_seconds: longest rest.
        max_candles: of so many entries the batch is full.
        max_series: most series that are due at once.
    """

    def __init__(self, flush_seconds: float, flush_max_seconds: float, max_candles: int, max_series: int) -> None:
        self._flush_seconds = flush_seconds
        self._flush_max_seconds = flush_max_seconds
        self._max = max_candles
        self._max_series = max_series
        self._waiting: dict[Series, dict[bytes, Entry]] = {}  # that which has waited longest first
        self._due_at: dict[Series, float] = {}
        self._failing: dict[Series, None] = {}  # a set in the order in which they failed
        self._rests_until = -inf
        self._round: set[Series] = set()  # written since the last rest, each once
        self._round_seconds = 0.0

    def __len__(self) -> int:
        return sum(map(len, self._waiting.values()))

    @property
    def room(self) -> int:
        """How many more entries may be added before it is full."""
        return max(0, self._max - len(self))

    @property
    def failing(self) -> tuple[Series, ...]:
        """Series whose last write failed."""
        return tuple(self._failing)

    def add(self, entries: Iterable[Entry], now: float, within_seconds: float = inf) -> None:
        """Take entries in. One that is here already, claimed from ourselves, is not taken twice.

        They are due ``within_seconds`` at the latest, or after the rest: those that have waited once already.
        """
        due_at = now + min(self._flush_seconds, within_seconds)
        for entry in entries:
            series = entry.item.series
            self._waiting.setdefault(series, {})[entry.id] = entry
            if series not in self._failing:
                self._due_at[series] = min(self._due_at.get(series, inf), due_at)

    def due_in(self, now: float) -> float | None:
        """Seconds until something is to be written: 0 when it is, None when nothing waits."""
        if not self._waiting:
            return None
        healthy = min((at for series, at in self._due_at.items() if series not in self._failing), default=inf)
        if self.room == 0 and healthy < inf:
            return 0.0
        failing = min((self._due_at[series] for series in self._failing), default=inf)
        return max(0.0, min(failing, max(healthy, self._rests_until)) - now)

    def due(self, now: float) -> dict[Series, list[Entry]]:
        """What is to be written now, by series, in the order it came: of so many series at most."""
        latest = now if self._rests_until <= now else -inf
        if self.room == 0:
            latest = inf
        found: dict[Series, list[Entry]] = {}
        for series, entries in self._waiting.items():
            if self._due_at[series] <= (now if series in self._failing else latest):
                found[series] = list(entries.values())
                if len(found) == self._max_series:
                    break
        return found

    def everything(self) -> dict[Series, list[Entry]]:
        """All that waits, due or not, by series."""
        return {series: list(entries.values()) for series, entries in self._waiting.items()}

    def remove(self, entries: Iterable[Entry]) -> None:
        """Let go of entries that are on disk; their series are healthy."""
        for entry in entries:
            series = entry.item.series
            waiting = self._waiting.get(series, {})
            waiting.pop(entry.id, None)
            self._failing.pop(series, None)
            if not waiting:
                self._forget(series)

    def retry(self, series: Series, retry_at: float) -> None:
        """A series could not be written: what waits of it, if anything does, is due again at ``retry_at``."""
        if series in self._waiting:
            self._failing[series] = None
            self._due_at[series] = retry_at

    def note_flush(self, written: Collection[Series], cost_seconds: float, now: float) -> None:
        """A flush of these series is over and its failures were told."""
        if not self._round.isdisjoint(written):
            self._begin_round()
        self._round.update(written)
        self._round_seconds += cost_seconds
        if not any(at <= now for series, at in self._due_at.items() if series not in self._failing):
            self._rests_until = now + min(self._round_seconds, self._flush_max_seconds)
            self._begin_round()

    def forget_excess(self) -> int:
        """Forget entries of failing series while they fill more than half of the batch; how many were forgotten."""
        forgotten = 0
        for series in sorted(self._failing, key=lambda series: -len(self._waiting[series])):
            if sum(len(self._waiting[failing]) for failing in self._failing) <= self._max // 2:
                break
            forgotten += len(self._waiting[series])
            self._forget(series)
        return forgotten

    def clear(self) -> None:
        """Forget everything; the broker still holds it as pending."""
        for series in tuple(self._waiting):
            self._forget(series)
        self._rests_until = -inf
        self._begin_round()

    def _begin_round(self) -> None:
        self._round.clear()
        self._round_seconds = 0.0

    def _forget(self, series: Series) -> None:
        for known in (self._waiting, self._due_at, self._failing):
            known.pop(series, None)
