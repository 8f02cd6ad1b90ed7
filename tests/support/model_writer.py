"""A writer in a world in memory (tests/support/broker_world.py): reads, stores, acknowledges, tells what is on disk."""

from typing import TYPE_CHECKING

from shared.broker.entry import EntryId, decode_entry
from shared.broker.keys import ASKED, STORED_AT
from shared.candle import Candle
from shared.series_fact import SeriesFact
from tests.support.memory_broker import Stream
from tests.support.producer_life import KEYS, MARKET

if TYPE_CHECKING:
    from tests.support.broker_world import World


class Writer:
    """Reads the stream, stores, acknowledges; one thing at a time, and may die between any two."""

    def __init__(self, world: "World") -> None:
        self._world = world
        self._batch: dict[EntryId, Candle | SeriesFact] = {}
        self._unacknowledged: list[EntryId] = []
        self._answer: dict[str, str] | None = None

    def read(self) -> None:
        """What is pending and not in its hands, as after a claim; else up to three new entries."""
        stream = self._world.broker.data.stream = self._world.broker.data.stream or Stream()
        if stream.delivered is None:
            stream.delivered = EntryId(0, 0)
        stream.pending.intersection_update(stream.entries)  # what somebody deleted is let go
        ids = sorted(stream.pending.difference(self._batch, self._unacknowledged))
        if not ids:
            delivered = stream.delivered
            ids = sorted(number for number in stream.entries if number > delivered)[:3]
            stream.delivered = max([delivered, *ids])
            stream.pending.update(ids)
        self._batch |= {number: decode_entry(MARKET, stream.entries[number]) for number in ids}

    def flush(self) -> None:
        """What was read is on disk."""
        for item in self._batch.values():
            self._world.store(item)
        self._unacknowledged += self._batch
        self._batch.clear()

    def acknowledge(self) -> None:
        """What is on disk is acknowledged."""
        stream = self._world.broker.data.stream
        if stream is not None and stream.delivered is not None:
            stream.pending.difference_update(self._unacknowledged)
        self._unacknowledged.clear()

    def look_at_disk(self) -> None:
        """Somebody asks what is on disk: look."""
        stored = self._world.broker.data.hashes.get(KEYS.stored(MARKET), {})
        if STORED_AT not in stored or stored.get(ASKED, stored[STORED_AT]) != stored[STORED_AT]:
            self._answer = self._world.ends() | {STORED_AT: stored.get(ASKED, "-")}

    def answer(self) -> None:
        """Say what was found, whatever has happened meanwhile."""
        if self._answer is not None:
            stored = self._world.broker.data.hashes.setdefault(KEYS.stored(MARKET), {})
            asked = {ASKED: stored[ASKED]} if ASKED in stored else {}
            self._world.broker.data.hashes[KEYS.stored(MARKET)] = self._answer | asked
            self._answer = None
