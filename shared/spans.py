"""Sets of times as ranges. Pure arithmetic: what is covered, what is not, in time that follows the number of ranges.

A range is half-open, ``[begin_ms, end_ms)``. Open times of a series are put in as the whole candle, from its open time
to its end, so that neighbours join whatever the interval: a year without a gap is one range.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator
from typing import NamedTuple


class Span(NamedTuple):
    """Times from ``begin_ms`` up to, not including, ``end_ms``."""

    begin_ms: int
    end_ms: int


class Spans:
    """A set of times, kept as sorted ranges that neither overlap nor touch; those given at first may."""

    __slots__ = ("_begins", "_ends")

    def __init__(self, ranges: Iterable[tuple[int, int]] = ()) -> None:
        self._begins: list[int] = []
        self._ends: list[int] = []
        for begin, end in ranges:
            self.add(begin, end)

    def add(self, begin_ms: int, end_ms: int) -> None:
        """Put a range in; an empty one changes nothing."""
        if begin_ms >= end_ms:
            return
        if self._ends and self._begins[-1] <= begin_ms <= self._ends[-1]:  # nearly always: time goes on
            self._ends[-1] = max(self._ends[-1], end_ms)
            return
        first = bisect_left(self._ends, begin_ms)
        last = bisect_right(self._begins, end_ms)
        if first < last:
            begin_ms = min(begin_ms, self._begins[first])
            end_ms = max(end_ms, self._ends[last - 1])
        self._begins[first:last] = [begin_ms]
        self._ends[first:last] = [end_ms]

    def remove(self, begin_ms: int, end_ms: int) -> None:
        """Take a range out; what is not in the set changes nothing."""
        first = bisect_right(self._ends, begin_ms)
        last = bisect_left(self._begins, end_ms)
        if begin_ms >= end_ms or first >= last:
            return
        left = [(self._begins[first], begin_ms)] if self._begins[first] < begin_ms else []
        right = [(end_ms, self._ends[last - 1])] if self._ends[last - 1] > end_ms else []
        self._begins[first:last] = [begin for begin, _ in left + right]
        self._ends[first:last] = [end for _, end in left + right]

    def end_of_run(self, time_ms: int) -> int:
        """The end of the range that holds ``time_ms``; ``time_ms`` itself where none does."""
        index = bisect_right(self._begins, time_ms) - 1
        return max(time_ms, self._ends[index]) if index >= 0 else time_ms

    def gaps(self, begin_ms: int, end_ms: int) -> list[Span]:
        """What is not in the set between two times, ascending."""
        found = []
        at = begin_ms
        for index in range(bisect_right(self._ends, begin_ms), len(self._begins)):
            if self._begins[index] >= end_ms:
                break
            if self._begins[index] > at:
                found.append(Span(at, self._begins[index]))
            at = self._ends[index]
        if at < end_ms:
            found.append(Span(at, end_ms))
        return found

    def between(self, begin_ms: int, end_ms: int) -> list[Span]:
        """What is in the set between two times, ascending."""
        cut = (Span(max(begin, begin_ms), min(end, end_ms)) for begin, end in self)
        return [span for span in cut if span.begin_ms < span.end_ms]

    def copy(self) -> "Spans":
        """The same set, to be changed on its own."""
        other = Spans()
        other._begins, other._ends = self._begins.copy(), self._ends.copy()
        return other

    @property
    def last_ms(self) -> int | None:
        """The end of the last range; None for an empty set."""
        return self._ends[-1] if self._ends else None

    def __contains__(self, time_ms: int) -> bool:
        index = bisect_right(self._begins, time_ms) - 1
        return index >= 0 and time_ms < self._ends[index]

    def __iter__(self) -> Iterator[Span]:
        return map(Span, self._begins, self._ends)

    def __len__(self) -> int:
        return len(self._begins)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Spans) and (self._begins, self._ends) == (other._begins, other._ends)

    __hash__ = None  # type: ignore[assignment] # it changes

    def __repr__(self) -> str:
        return f"Spans({[tuple(span) for span in self]})"
