"""Whether a producer does what it is for: its own troubles, in words, once they have lasted.

Well means that the exchange is heard, that candles are here when they are due, with patience for quiet series, and that
the broker takes them. A trouble that repair or a reconnection mends in a moment is none. What a process says here goes
into its heartbeat; ``candlewick status`` and ``health`` judge by it.
"""

import time
from collections.abc import Callable, Iterator

from producers.exchange.clock import ExchangeClock
from producers.gaps.repair import Repairer
from producers.gaps.tracker import GapTracker
from producers.live.selection import Selection
from producers.live.sharing import Sharing
from producers.publish.publisher import Publisher
from shared.interval import utc
from shared.text import counted

_SILENT_SECONDS = 30.0  # neither a kline nor an answer to /time for so long
_LASTING_SECONDS = 10.0  # of any other trouble


class Health:
    """One producer's health, from the parts that know it."""

    def __init__(
        self,
        clock: ExchangeClock,
        selection: Selection,
        tracker: GapTracker,
        repairer: Repairer,
        publisher: Publisher,
        sharing: Sharing,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._clock = clock
        self._selection = selection
        self._tracker = tracker
        self._repairer = repairer
        self._publisher = publisher
        self._sharing = sharing
        self._monotonic = monotonic
        self._since: dict[str, float] = {}

    def troubles(self) -> dict[str, str]:
        """What is wrong now and has been for a while, a line a kind; nothing when all is well."""
        found, now = dict(self._found()), self._monotonic()
        self._since = {kind: self._since.get(kind, now) for kind in found}
        lasting = {"silent": 0.0}  # it counts by itself
        return {
            kind: text for kind, text in found.items() if now - self._since[kind] >= lasting.get(kind, _LASTING_SECONDS)
        }

    def _found(self) -> Iterator[tuple[str, str]]:
        """Each kind of trouble there is."""
        silent_seconds, now_ms = self._clock.silent_seconds, self._clock.now_ms
        if silent_seconds > _SILENT_SECONDS:
            because = f": {self._clock.trouble}" if self._clock.trouble else ""
            yield "silent", f"nothing heard from the exchange for {silent_seconds:.0f} s{because}"
        if self._selection.is_empty:
            is_known = self._selection.symbols.by_symbol is not None
            why = "nothing that is named or fits is traded" if is_known else "the exchange's list is not known"
            yield "nothing", f"nothing is recorded: {why}"
        overdue = self._tracker.overdue(now_ms)
        if overdue.candles:
            candles, oldest = counted(overdue.candles, "candle is", "candles are"), utc(overdue.oldest_ms)
            yield "overdue", f"{candles} overdue, of {overdue.series} series, the oldest of {oldest}"
        missing = self._tracker.tally(now_ms).missing
        if missing and self._repairer.trouble:
            candles = counted(missing, "candle is", "candles are")
            yield "repair", f"{candles} missing and cannot be fetched: {self._repairer.trouble}"
        if lacking := self._sharing.lacking:
            wanted = self._sharing.redundancy
            yield "redundancy", f"each series is recorded by {counted(wanted - lacking, 'producer')}, not by {wanted}"
        if lagging := self._publisher.replicas_missing:
            yield "replicas", f"{lagging} of {self._publisher.replicas} replicas of the broker lag behind or are gone"
        if self._publisher.trouble:
            yield "broker", f"{counted(self._publisher.held, 'candle waits', 'candles wait')} for the broker"
