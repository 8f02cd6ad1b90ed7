"""The resend buffer: what the broker has answered for and nobody has seen stored yet. Pure.

Entries are kept by their id, oldest first, to be compared with the stream (``producers.publish.continuity``). Candles
are bounded: of those that fall out at the bound only a range of times a series is remembered; should the stream lose
them, they are fetched from the exchange once more. Facts are few, and can be had nowhere else: they are all kept.
"""

from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from itertools import takewhile
from typing import Any

from shared.broker.entry import EntryId, entry_fields
from shared.broker.paging import Fields
from shared.candle import Candle, Series
from shared.series_fact import SeriesFact
from shared.spans import Span


class ResendBuffer:
    """Entries that are in the stream as far as we know."""

    def __init__(self, max_candles: int) -> None:
        self._max_candles = max_candles
        self._candles: OrderedDict[EntryId, Candle] = OrderedDict()  # quick to take from the front, again and again
        self._facts: OrderedDict[EntryId, SeriesFact] = OrderedDict()
        self._displaced: list[Candle | SeriesFact] = []  # their ids were given to others: their stream is gone
        self._dropped: dict[Series, Span] = {}
        self._dropped_to = EntryId(0, 0)
        self._dropped_in_doubt = False

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

    @property
    def oldest(self) -> EntryId | None:
        """The oldest entry of all."""
        return min(self.edges, default=None)

    @property
    def is_doubtful(self) -> bool:
        """Whether something is known to be lost, or may be, whatever stands in the stream: ``take_lost`` has it."""
        return bool(self._displaced) or (self._dropped_in_doubt and bool(self._dropped))

    def add(self, number: EntryId, item: Candle | SeriesFact) -> None:
        """Keep what the broker has answered for; at the bound the oldest candle falls out.

        Ids that go backwards, or come twice, are those of another server. What had such an id is ``take_lost``'s.
        """
        for entries in (self._candles, self._facts):
            if number in entries:
                self._displaced.append(entries.pop(number))
        if isinstance(item, SeriesFact):
            _insert(self._facts, number, item)
            return
        _insert(self._candles, number, item)
        if len(self._candles) > self._max_candles:
            oldest, dropped = self._candles.popitem(last=False)
            self._dropped_to = max(self._dropped_to, oldest)
            begin, end = self._dropped.get(dropped.series, (dropped.open_time_ms, dropped.end_time_ms))
            span = Span(min(begin, dropped.open_time_ms), max(end, dropped.end_time_ms))
            self._dropped[dropped.series] = span

    def take_stored(self, found: Mapping[EntryId, Fields], end: EntryId) -> list[EntryId]:
        """Forget what is older than ``end``, all of which is stored, and was found in the stream; the ids of the rest.

        A stream that has an entry has all that are older: with a candle, what fell out before it is forgotten.
        """
        absent = []
        for entries in (self._candles, self._facts):
            for number in list(takewhile(end.__gt__, entries)):
                if found.get(number) != entry_fields(entries[number]):
                    absent.append(number)
                    continue
                del entries[number]
                if self._dropped and number > self._dropped_to:
                    self._dropped.clear()
        return absent

    def doubt_dropped(self) -> None:
        """The stream may be another: what fell out at the bound may be lost, whatever stands in it now."""
        self._dropped_in_doubt = True

    def take_lost(self, lost: Iterable[EntryId]) -> tuple[Sequence[Candle | SeriesFact], Mapping[Series, Span]]:
        """What the stream has lost, which is kept no longer: the items, to be published again, and ranges of time.

        If the oldest candle of all is lost, or one that has just fallen out, or the stream may be another, what
        fell out at the bound may be lost too: then the ranges tell, for each series, from when to when.
        """
        oldest = next(iter(self._candles), None)
        items, self._displaced = self._displaced, []
        is_edge, self._dropped_in_doubt = bool(items) or self._dropped_in_doubt, False
        for number in lost:
            item = self._facts.pop(number, None) or self._candles.pop(number, None)
            is_edge = is_edge or item is None or number == oldest
            if item is not None:
                items.append(item)
        if not is_edge:
            return items, {}
        dropped, self._dropped = self._dropped, {}
        return items, dropped


def _insert(entries: "OrderedDict[EntryId, Any]", number: EntryId, item: Candle | SeriesFact) -> None:
    is_disordered = bool(entries) and number < next(reversed(entries))
    entries[number] = item
    if is_disordered:
        in_order = sorted(entries.items())
        entries.clear()
        entries.update(in_order)
