"""The last hour in small plots: how long candles take to the broker and to disk. Pure.

Processes count in buckets since they began (``shared.metrics.measures``). A point of a plot is what was counted within
a minute, of all processes of a market together. One that began again counts from nothing. Of one that is new here
nobody knows when it counted what it has: it counts from now on.
"""

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from shared.metrics.measures import CLOSE_TO_BROKER_SECONDS, CLOSE_TO_DISK_SECONDS, quantile

_POINT_SECONDS = 10.0
_WINDOW_SECONDS = 60.0
_KEPT_SECONDS = 3600.0
_BOUNDS = {"broker": CLOSE_TO_BROKER_SECONDS, "disk": CLOSE_TO_DISK_SECONDS}

Counts = dict[tuple[str, str], list[int]]
"""How many values were in each bucket, by market, and by ``broker`` or ``disk``."""


class Point(NamedTuple):
    """All counts at a time in UTC seconds."""

    at: float
    counts: Counts


class Trends:
    """Points of the last hour."""

    def __init__(self) -> None:
        self._points: deque[Point] = deque()
        self._totals: Counts = {}
        self._seen: dict[tuple[str, str, str], Sequence[int]] = {}

    def note(self, found: Mapping[str, Any], at: float) -> bool:
        """Take in what processes say, at a time in UTC seconds; whether that made a point."""
        for process, market, kind, counts in _counted(found):
            before = self._seen.get((process, market, kind), counts)
            self._seen[process, market, kind] = counts
            grown = [new - old for new, old in zip(counts, before, strict=True)]
            if min(grown) < 0:  # it began again
                grown = list(counts)
            total = self._totals.setdefault((market, kind), [0] * len(counts))
            self._totals[market, kind] = [a + b for a, b in zip(total, grown, strict=True)]
        if self._points and at - self._points[-1].at < _POINT_SECONDS:
            return False
        self._points.append(Point(at, dict(self._totals)))
        while at - self._points[0].at > _KEPT_SECONDS + _WINDOW_SECONDS:
            self._points.popleft()
        return True

    def plots(self) -> dict[str, Any]:
        """By market and kind a list of points: UTC seconds, p50 and p99 in seconds, None where nothing came."""
        found: dict[str, dict[str, list[Any]]] = {}
        for market, kind in self._totals:
            found.setdefault(market, {})[kind] = list(self._plot(market, kind))
        return found

    def _plot(self, market: str, kind: str) -> Iterator[list[Any]]:
        window = deque[Point]()
        for point in self._points:
            window.append(point)
            while point.at - window[0].at > _WINDOW_SECONDS:
                window.popleft()
            newest = point.counts.get((market, kind), [])
            oldest = window[0].counts.get((market, kind), [0] * len(newest))
            counts = [new - old for new, old in zip(newest, oldest, strict=True)]
            yield [round(point.at), *(quantile(_BOUNDS[kind], counts, share) for share in (0.5, 0.99))]


def _counted(found: Mapping[str, Any]) -> Iterator[tuple[str, str, str, Sequence[int]]]:
    """Process, market, kind and counts of whatever processes say; what one of another version counts is left out."""
    every = [
        (producer["process"], market, "broker", producer.get("close_to_broker"))
        for market, state in found["markets"].items()
        for producer in state["producers"]
    ]
    for writer in found["writers"]:
        by_market = writer.get("close_to_disk") or {}
        every += [(writer["process"], market, "disk", counts) for market, counts in by_market.items()]
    for process, market, kind, counts in every:
        if isinstance(counts, list) and len(counts) == len(_BOUNDS[kind]) + 1:
            yield process, market, kind, counts
