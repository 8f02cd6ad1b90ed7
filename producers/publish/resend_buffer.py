"""What the broker has answered for and no writer has stored yet, kept to be compared with the stream. Pure.

Entries are kept by their id, oldest first. Candles are bounded: of those that fall out at the bound only a range of
times a series is remembered; should the stream lose them, they are fetched from the exchange once more. Notes are few,
and can be had nowhere else: they are all kept.
"""

from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from itertools import takewhile

from shared.broker.entry import EntryId
from shared.candle import Candle, Series
from shared.series_fact import Note
from shared.spans import Span


class Kept:
    """Entries that are in the stream as far as we know.

    Args:
        most: so many candles are kept.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._candles: OrderedDict[EntryId, Candle] = OrderedDict()  # quick to take from the front, again and again
        self._notes: OrderedDict[EntryId, Note] = OrderedDict()
        self._dropped: dict[Series, Span] = {}
        self._dropped_to = EntryId(0, 0)

    def __len__(self) -> int:
        return len(self._candles) + len(self._notes)

    @property
    def items(self) -> Mapping[EntryId, Candle | Note]:
        """What is kept."""
        return {**self._notes, **self._candles}

    @property
    def edges(self) -> Sequence[EntryId]:
        """The oldest and the newest entry, of candles and of notes."""
        return [
            number for one in (self._candles, self._notes) if one for number in (next(iter(one)), next(reversed(one)))
        ]

    def __getitem__(self, number: EntryId) -> Candle | Note:
        return self._notes[number] if number in self._notes else self._candles[number]

    def add(self, number: EntryId, item: Candle | Note) -> None:
        """Keep what the broker has answered for; at the bound the oldest falls out."""
        if isinstance(item, Note):
            self._notes[number] = item
            return
        self._candles[number] = item
        if len(self._candles) > self._most:
            self._drop(*self._candles.popitem(last=False))

    def stored_before(self, number: EntryId) -> None:
        """Forget what is older than the first entry that no writer has stored."""
        for entries in (self._candles, self._notes):
            for one in list(takewhile(lambda one: one < number, entries)):
                del entries[one]
        if self._dropped_to < number:
            self._dropped.clear()

    def take_lost(self, lost: Iterable[EntryId]) -> tuple[Sequence[Candle | Note], Mapping[Series, Span]]:
        """What the stream has lost, which is kept no longer.

        Returns:
            The items, to be published again; and, if the oldest candle of all is among them or one that has just
            fallen out, for each series from when to when what fell out at the bound may be lost too.
        """
        oldest = next(iter(self._candles), None)
        items: list[Candle | Note] = []
        is_edge = False
        for one in lost:
            item = self._notes.pop(one, None) or self._candles.pop(one, None)
            is_edge = is_edge or item is None or one == oldest
            if item is not None:
                items.append(item)
        if not is_edge:
            return items, {}
        dropped, self._dropped = self._dropped, {}
        return items, dropped

    def _drop(self, number: EntryId, candle: Candle) -> None:
        self._dropped_to = max(self._dropped_to, number)
        begin, end = self._dropped.get(candle.series, (candle.open_time_ms, candle.end_time_ms))
        self._dropped[candle.series] = Span(min(begin, candle.open_time_ms), max(end, candle.end_time_ms))
