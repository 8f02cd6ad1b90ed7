"""A position in a market's stream: what has been published since, for readers without a consumer group.

A position is an entry, and holds as long as that entry stands where it stood. It is *lost* when it does not: the broker
was emptied, another one took over, or the stream was trimmed past a reader that is slow. Then nobody can say what came
between, and the reader has to look at what is there as it did at first.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from shared.broker.entry import EntryId
from shared.broker.paging import Paging

_BLOCK_MS = 500
_MAX_ENTRIES = 5000
_BEGINNING = EntryId(0, 0)

Entry = tuple[bytes, Mapping[bytes, bytes]]


class Position:
    """How far one stream has been read. Every method raises redis.RedisError while the broker is away.

    Attributes:
        at: the id of the newest entry that was read; 0-0 in a stream that was empty.
        is_drained: whether nothing else was in the stream when it was read last.
    """

    def __init__(self, client: Any, stream: str) -> None:
        self.at = _BEGINNING
        self.is_drained = True
        self._client = client
        self._stream = stream
        self._entry: Mapping[bytes, bytes] | None = None
        self._paging = Paging()

    def to_newest(self) -> None:
        """Go behind all that is published."""
        newest = self._client.xrevrange(self._stream, count=1)
        self.at, self._entry = (EntryId.parse(newest[0][0]), newest[0][1]) if newest else (_BEGINNING, None)

    def to_entry(self, at: EntryId) -> bool:
        """Go behind an entry, where it stands in the stream; whether it does."""
        found = self._client.xrange(self._stream, min=f"{at}", max=f"{at}")
        if found:
            self.at, self._entry = at, found[0][1]
        return bool(found)

    def read(self) -> Sequence[Entry] | None:
        """What has been published since, a page of it, waiting up to half a second; None when the position is lost."""
        count = self._paging.next_count(_MAX_ENTRIES)
        answer = self._client.xread({self._stream: f"{self.at}"}, count=count, block=_BLOCK_MS)
        if not self._stands(has_more=bool(answer)):
            return None
        entries: Sequence[Entry] = answer[0][1] if answer else []
        self._paging.note_answer(entries)
        self.is_drained = len(entries) < count
        if entries:
            self.at, self._entry = EntryId.parse(entries[-1][0]), entries[-1][1]
        return entries

    def _stands(self, *, has_more: bool) -> bool:
        """Whether the position still is one: its entry is where it was, or nothing was taken out of a new stream."""
        if self._entry is not None:
            found = self._client.xrange(self._stream, min=f"{self.at}", max=f"{self.at}")
            return bool(found) and found[0][1] == self._entry
        figures = self._client.xinfo_stream(self._stream) if has_more else {}
        return bool(figures.get("entries-added") == figures.get("length"))
