"""The consumer group: entries in, acknowledgements out.

Reading begins with this consumer's own pending entries: what it had read and not acknowledged when it last ended or
lost its connection. Then it goes on with new ones. Entries that another consumer has left idle are claimed. An entry
that is neither candle nor fact goes to the dead letters, with its reason, in the same step that acknowledges it.

The group is created at the stream's beginning, whenever it is found missing: what was published while there was no
group is still read.

No call is safe to interrupt: after any exception call ``recover``, and forget what was read and not acknowledged. It
will be read again.
"""

import itertools
import logging
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from redis.exceptions import ResponseError

from consumer.group.dead_letters import Burial
from shared.broker.client import SyncClient
from shared.broker.cluster import is_cluster
from shared.broker.entry import Entry, decode_entry, entry_fields
from shared.broker.keys import Keys
from shared.broker.paging import Paging
from shared.errors import MalformedCandleError
from shared.market import Market

log = logging.getLogger(__name__)

_ACKNOWLEDGED_AT_ONCE = 1000
_CLAIMED_AT_ONCE = 500
_TURN_MS = 100
_BEGINNING = b"0-0"


class EntryReader:
    """One consumer of the markets' streams; no two living ones may share a name.

    The client is the reader's own, with a time-out of at least twice the longest ``block_ms``.

    Attributes:
        lost: pending entries that somebody removed from the stream before they were written.
    """

    def __init__(self, client: SyncClient, keys: Keys, markets: Sequence[Market], group: str, consumer: str) -> None:
        self.lost = 0
        self._client: Any = client  # redis-py types its answers as whatever any protocol version may return
        self._keys = keys
        self._markets = {keys.candles(market).encode(): market for market in markets}
        self._group = group
        self._consumer = consumer
        self._burial = Burial(client, keys, group, consumer)
        self._paging = Paging()
        streams = [*self._markets]
        self._together = [[stream] for stream in streams] if is_cluster(client) else [streams]
        self._turns = itertools.cycle(streams)
        self._claimed_to = dict.fromkeys(self._markets, _BEGINNING)
        self._recovered_to: dict[bytes, bytes] = {}
        self.recover()

    def recover(self) -> None:
        """Begin again with this consumer's own pending entries."""
        self._recovered_to = dict.fromkeys(self._markets, b"0")

    @property
    def is_recovered(self) -> bool:
        """Whether this consumer's own pending entries have all been read again."""
        return not self._recovered_to

    @property
    def dead_letters(self) -> int:
        """How many dead letters this consumer has written."""
        return self._burial.count

    def create_groups(self) -> None:
        """Create the group on every stream that lacks it, from the stream's beginning. Harmless when it exists.

        Where it exists nothing is asked for that a broker at its memory limit would refuse.
        """
        for stream in self._markets:
            groups = self._client.xinfo_groups(stream) if self._client.exists(stream) else ()
            if any(group["name"] == self._group.encode() for group in groups):
                continue
            try:
                self._client.xgroup_create(stream, self._group, id="0", mkstream=True)
            except ResponseError as error:
                if not str(error).startswith("BUSYGROUP"):
                    raise

    def read(self, count: int, block_ms: int) -> list[Entry]:
        """Up to ``count`` entries a stream: own pending ones first, then new ones, waited for up to ``block_ms``.

        redis.RedisError when the broker is away or refuses; call ``recover`` before the next ``read``.
        """
        try:
            if self._recovered_to:
                entries = self._read_pending(count)
                if entries or self._recovered_to:
                    return entries
            return self._decode(self._read_new(self._paging.next_count(count), max(1, block_ms)))
        except ResponseError as error:
            if not str(error).startswith(("NOGROUP", "UNBLOCKED")):
                raise
            log.warning("the group %s is gone (%s): creating it from the stream's beginning", self._group, error)
            self.create_groups()
            self.recover()
            return []

    def claim(self, idle_ms: int, count: int) -> list[Entry]:
        """Entries that any consumer has left idle for longer than ``idle_ms``, now this one's.

        At most about ``count``; the next call goes on where this one ended.
        """
        claimed: list[Entry] = []
        for stream in self._markets:
            while len(claimed) < count:
                at, page = self._claimed_to[stream], self._paging.next_count(_CLAIMED_AT_ONCE)
                cursor, entries, *deleted = self._client.xautoclaim(
                    stream, self._group, self._consumer, idle_ms, at, count=page
                )
                for number in deleted[0] if deleted else ():
                    self._lose(stream, number)
                self._claimed_to[stream] = cursor
                claimed.extend(self._decode([[stream, entries]]))
                if cursor == _BEGINNING:
                    break
        return claimed

    def acknowledge(self, entries: Iterable[Entry]) -> None:
        """Tell the group that these entries are safe. Only call it when they are."""
        ids = defaultdict[bytes, list[bytes]](list)
        for entry in entries:
            ids[self._keys.candles(entry.market).encode()].append(entry.id)
        for streams in self._together:
            pipeline = self._client.pipeline(transaction=False)
            for stream in streams:
                for first in range(0, len(ids[stream]), _ACKNOWLEDGED_AT_ONCE):
                    pipeline.xack(stream, self._group, *ids[stream][first : first + _ACKNOWLEDGED_AT_ONCE])
            pipeline.execute()

    def give_up(self, entry: Entry, reason: str) -> None:
        """Move an entry that cannot be stored to the dead letters, and acknowledge it."""
        self._burial.bury(entry.market, entry.id, entry_fields(entry.item), reason)

    def _read_new(self, count: int, block_ms: int) -> Any:
        """New entries of all streams; where no command can wait for several, it waits for one in turn."""
        if len(self._together) == 1:
            return self._read_from(dict.fromkeys(self._markets, b">"), count, block_ms)
        answer = [found for stream in self._markets for found in self._read_from({stream: b">"}, count)]
        return answer or self._read_from({next(self._turns): b">"}, count, min(block_ms, _TURN_MS))

    def _read_from(self, streams: Mapping[bytes, bytes], count: int, block_ms: int | None = None) -> Any:
        return self._client.xreadgroup(self._group, self._consumer, streams, count=count, block=block_ms)

    def _read_pending(self, count: int) -> list[Entry]:
        count = self._paging.next_count(count)
        at = self._recovered_to
        asked = [{stream: at[stream] for stream in streams if stream in at} for streams in self._together]
        answer = [found for streams in asked if streams for found in self._read_from(streams, count)]
        for stream, entries in answer:
            if entries:
                self._recovered_to[stream] = entries[-1][0]
            else:
                del self._recovered_to[stream]
        if not answer:
            self._recovered_to.clear()
        return self._decode(answer)

    def _decode(self, answer: Any) -> list[Entry]:
        decoded = []
        for stream, entries in answer:
            self._paging.note_answer(entries)
            market = self._markets[stream]
            for number, fields in entries:
                if not fields:
                    self._lose(stream, number)
                    continue
                try:
                    decoded.append(Entry(market, number, decode_entry(market, fields)))
                except MalformedCandleError as error:
                    self._burial.bury(market, number, fields, str(error))
        return decoded

    def _lose(self, stream: bytes, number: bytes) -> None:
        """An entry that was pending and is no longer in the stream: somebody deleted or trimmed it."""
        self.lost += 1
        log.error("entry %s of %s was removed from the stream before it was written", number.decode(), stream.decode())
        self._client.xack(stream, self._group, number)
