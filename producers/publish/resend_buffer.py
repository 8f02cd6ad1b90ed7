"""The resend buffer: what the broker has answered for and no writer has stored yet. Pure.

Entries are kept by their id, oldest first, to be compared with the stream (``producers.publish.verify``). Candles are
bounded: of those that fall out at the bound only a range of times a series is remembered; should the stream lose them,
they are fetched from the exchange once more. Facts are few, and can be had nowhere else: they are all kept.
"""

from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from itertools import takewhile

from shared.broker.entry import EntryId
from shared.candle import Candle, Series
from shared.series_fact import SeriesFact
from shared.spans import Span


class ResendBuffer:
    """Entries that are in the stream as far as we know."""

    def __init__(self, max_candles: int) -> None:
        self._max_candles = max_candles
        self._candles: OrderedDict[EntryId, Candle] = OrderedDict()  # quick to take from the front, again and again
        self._facts: OrderedDict[EntryId, SeriesFact] = OrderedDict()
        self._dropped: dict[Series, Span] = {}
        self._dropped_to = EntryId(0, 0)

    def __len__(self) -> int:
        return len(self._candles) + len(self._facts)

    @property
    def items(self) -> Mapping[EntryId, Candle | SeriesFact]:
        """What is kept."""
        return {**self._facts, **self._candles}

    @property
    def edges(self) -> Mapping[EntryId, Candle | SeriesFact]:
        """The oldest and the newest entry, of candles and of facts."""
        ends: dict[EntryId, Candle | SeriesFact] = {}
        for entries in (self._candles, self._facts):
            for number in (next(iter(entries)), next(reversed(entries))) if entries else ():
                ends[number] = entries[number]
        return ends

    def count_after(self, number: EntryId) -> int:
        """How many of the kept entries are newer than one."""
        return sum(
            sum(1 for _ in takewhile(number.__lt__, reversed(entries))) for entries in (self._candles, self._facts)
        )

    def add(self, number: EntryId, item: Candle | SeriesFact) -> None:
        """Keep what the broker has answered for; at the bound the oldest falls out."""
        if isinstance(item, SeriesFact):
            self._facts[number] = item
            return
        self._candles[number] = item
        if len(self._candles) > self._max_candles:
            oldest, dropped = self._candles.popitem(last=False)
            self._dropped_to = max(self._dropped_to, oldest)
            begin, end = self._dropped.get(dropped.series, (dropped.open_time_ms, dropped.end_time_ms))
            span = Span(min(begin, dropped.open_time_ms), max(end, dropped.end_time_ms))
            self._dropped[dropped.series] = span

    def forget_before(self, number: EntryId) -> None:
        """Forget what is older than the first entry that no writer has stored."""
        for entries in (self._candles, self._facts):
            for stored in list(takewhile(number.__gt__, entries)):
                del entries[stored]
        if self._dropped_to < number:
            self._dropped.clear()

    def take_lost(self, lost: Iterable[EntryId]) -> tuple[Sequence[Candle | SeriesFact], Mapping[Series, Span]]:
        """What the stream has lost, which is kept no longer: the items, to be published again, and ranges of time.

        If the oldest candle of all is lost, or one that has just fallen out, what fell out at the bound may be lost
        too: then the ranges tell, for each series, from when to when.
        """
        oldest = next(iter(self._candles), None)
        items: list[Candle | SeriesFact] = []
        is_edge = False
        for number in lost:
            item = self._facts.pop(number, None) or self._candles.pop(number, None)
            is_edge = is_edge or item is None or number == oldest
            if item is not None:
                items.append(item)
        if not is_edge:
            return items, {}
        dropped, self._dropped = self._dropped, {}
        return items, dropped
