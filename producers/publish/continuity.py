"""What each look at the stream proves of what was published. Pure: what was seen comes in, a finding goes out.

Streams grow at their end. A broker that is emptied loses one whole; a replica that was behind, or a log without its
tail, loses its end. Nobody hears of it: the connection just works again, and the group of a stream that began anew
acknowledges entries just as well. So two rules hold:

- **What is kept is let go** only when one transaction saw that it stands in the stream and that the writers' group has
  acknowledged it. An acknowledgement alone may be one of another stream of that name.
- **What is not kept**, because it was let go or belongs to an earlier life of the process, is believed to be there as
  long as the history is unbroken: as long as the *anchor*, the newest entry of the look before, still stands in the
  stream, and nobody has deleted an entry or cut off the stream's beginning before writers had stored it.

A finding is COMPARE when only what is kept may be missing: the server or its history is another, the oldest or the
newest kept entry is gone, an id was given twice. It is BROKEN when what is not kept may be missing too: then only the
disk can tell what there is (``producers.live.resume``).
"""

import zlib
from collections.abc import Mapping
from enum import IntEnum
from typing import NamedTuple

from producers.publish.resend_buffer import ResendBuffer
from shared.broker.entry import EntryId, entry_fields
from shared.broker.paging import Fields
from shared.candle import Candle
from shared.series_fact import SeriesFact


class Finding(IntEnum):
    """What a look found."""

    WHOLE = 0
    COMPARE = 1
    BROKEN = 2


class Asked(NamedTuple):
    """What one look has to see of the stream, beside the state of server, stream and group."""

    anchor: tuple[EntryId, Fields] | None
    edges: Mapping[EntryId, Candle | SeriesFact]  # the oldest and newest of what is kept
    stored: tuple[EntryId, EntryId] | None  # entries from one id up to, and without, another: these are to be let go

    @property
    def ids(self) -> tuple[EntryId, ...]:
        """The entries that are asked for one by one."""
        return (*self.edges, *(() if self.anchor is None else (self.anchor[0],)))


class Seen(NamedTuple):
    """What one transaction saw.

    ``found`` has those of the entries asked for that are there. Of the range that was asked for these are all before
    ``covered_end``.
    """

    server: str  # which server it is, and which history it has: its replication id changes with a fail-over
    oldest: EntryId | None  # of the stream's entries; None: it has none
    newest: tuple[EntryId, Fields] | None
    max_deleted: EntryId  # the newest entry that somebody deleted; trimming is not counted
    first_unstored: EntryId  # the first that the writers' group has not acknowledged
    found: Mapping[EntryId, Fields]
    covered_end: EntryId


class Continuity:
    """The history of one stream, as far as one publisher's looks have seen it."""

    def __init__(self, resend: ResendBuffer) -> None:
        self._resend = resend
        self._server = ""
        self._anchor: tuple[EntryId, Fields] | None = None
        self._max_deleted = self._first_unstored = EntryId(0, 0)
        self._is_cut = False

    @property
    def anchor(self) -> str:
        """What proves a history later (``anchor_text``): as it was at the last look; empty while there is no entry."""
        return "" if self._anchor is None else anchor_text(*self._anchor, self._max_deleted)

    def ask(self) -> Asked:
        """What the next look has to see."""
        oldest, end = self._resend.oldest, self._first_unstored
        return Asked(self._anchor, self._resend.edges, (oldest, end) if oldest is not None and oldest < end else None)

    def take(self, asked: Asked, seen: Seen) -> Finding:
        """Take a look in. Unless it is WHOLE, all that is kept has to be compared before anything is relied on."""
        is_first = not self._server
        is_another = seen.server != self._server and not is_first
        is_lost = asked.anchor is not None and seen.found.get(asked.anchor[0]) != asked.anchor[1]
        is_deleted = seen.max_deleted > self._max_deleted and seen.max_deleted >= self._first_unstored and not is_first
        is_cut = _is_cut(seen)
        is_broken = is_lost or is_deleted or (is_cut and not self._is_cut)
        is_gone = any(seen.found.get(number) != entry_fields(item) for number, item in asked.edges.items())
        self._server, self._anchor = seen.server, seen.newest
        self._max_deleted, self._first_unstored, self._is_cut = seen.max_deleted, seen.first_unstored, is_cut
        if is_broken or is_another or asked.anchor is None:
            self._resend.doubt_dropped()
        if is_broken:
            return Finding.BROKEN
        return Finding.COMPARE if is_another or is_gone or self._resend.is_doubtful else Finding.WHOLE

    def settle(self, seen: Seen) -> list[EntryId]:
        """Let go of what a look saw stored; the ids of what should have stood there and did not: it is lost."""
        return self._resend.take_stored(seen.found, min(seen.covered_end, seen.first_unstored))


def anchor_text(newest: EntryId, fields: Fields, max_deleted: EntryId) -> str:
    """A moment of a stream's history: its newest entry, by id and content, and the newest that somebody had deleted.

    The content counts: a server whose clock is behind may give the same id to something else.
    """
    content = zlib.crc32(b"\0".join(part for pair in fields.items() for part in pair))
    return f"{newest}:{content:08x}" + (f"/{max_deleted}" if max_deleted > EntryId(0, 0) else "")


def _is_cut(seen: Seen) -> bool:
    """Whether the stream begins behind what no writer has stored. Writers leave the last entry that they were given."""
    return seen.first_unstored > EntryId(0, 1) and (seen.oldest is None or seen.oldest > seen.first_unstored)
