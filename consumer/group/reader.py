"""The consumer group: entries in, acknowledgements out.

Reading begins with this consumer's own pending entries (what it had read and not acknowledged when it last ended, or
when the connection broke) and goes on with new ones. Entries that another consumer has left idle are claimed. An
entry that is no candle goes to the dead letters, with its reason, in the same step that acknowledges it.

The group is created at the stream's beginning, again whenever it is found missing, and never at its end: what was
written while there was no group is still read.

Nothing here is safe to interrupt in the middle of a call: after any exception call ``recover`` and forget what was
read and not acknowledged; it will be read again.
"""

import logging
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from typing import Any

from redis.exceptions import NoPermissionError, ResponseError

from consumer.group.dead_letters import letter_fields
from shared.broker.client import SyncClient
from shared.broker.entry import Entry, EntryId, decode_entry, stored_entry
from shared.broker.keys import Keys
from shared.broker.paging import Paging
from shared.candle import Candle
from shared.errors import MalformedCandleError
from shared.market import Market
from shared.series_fact import Note

log = logging.getLogger(__name__)

_ACKNOWLEDGED_AT_ONCE = 1000
_CLAIMED_AT_ONCE = 500
_READ_AT_ONCE = 5000
_BEGINNING = b"0-0"
_LOGGED_AT_FIRST, _LOGGED_EVERY = 20, 1000  # of dead letters: a flood of them must not become one of lines

Fields = dict[bytes, bytes]

_BURY = """
if #redis.call('XPENDING', KEYS[1], ARGV[1], ARGV[2], ARGV[2], 1) == 0 then return 0 end
redis.call('XADD', KEYS[2], '*', unpack(ARGV, 3))
return redis.call('XACK', KEYS[1], ARGV[1], ARGV[2])
"""  # a script: another consumer may have claimed and buried the same entry since it was read

_REMOVE_DEAD = """
local removed = {}
for _, consumer in ipairs(redis.call('XINFO', 'CONSUMERS', KEYS[1], ARGV[1])) do
  local facts = {}
  for at = 1, #consumer, 2 do facts[consumer[at]] = consumer[at + 1] end
  if facts.name ~= ARGV[2] and facts.pending == 0 and facts.idle > tonumber(ARGV[3]) then
    redis.call('XGROUP', 'DELCONSUMER', KEYS[1], ARGV[1], facts.name)
    table.insert(removed, facts.name)
  end
end
return removed
"""  # a script, so that nobody reads between the look and the removal: with a consumer goes what is pending for it


class EntrySource:
    """One consumer of the markets' streams.

    Args:
        client: a connection of its own; its time-out must be at least twice the longest ``block_ms``.
        keys: names of the streams.
        markets: whose streams are read.
        group: the consumer group.
        consumer: this consumer's name; no two living ones may share it.
    """

    def __init__(self, client: SyncClient, keys: Keys, markets: Sequence[Market], group: str, consumer: str) -> None:
        self.dead_letters = 0
        self.groups_created = 0
        self.lost = 0
        self._client: Any = client  # redis-py types its answers as whatever any protocol version may return
        self._keys = keys
        self._markets = {keys.candles(market).encode(): market for market in markets}
        self._group = group
        self._consumer = consumer
        self._paging = Paging()
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

    def create_groups(self) -> None:
        """Create the group on every stream that lacks it, from the stream's beginning. Harmless when it exists.

        Where it exists nothing is asked for that a broker at its memory limit would refuse.
        """
        for stream in self._markets:
            if self._client.exists(stream) and any(
                group["name"] == self._group.encode() for group in self._client.xinfo_groups(stream)
            ):
                continue
            try:
                self._client.xgroup_create(stream, self._group, id="0", mkstream=True)
                self.groups_created += 1
            except ResponseError as error:
                if not str(error).startswith("BUSYGROUP"):
                    raise

    def read(self, count: int, block_ms: int) -> list[Entry]:
        """Up to ``count`` entries a stream: own pending ones first, then new ones, waited for up to ``block_ms``.

        Raises:
            redis.RedisError: when the broker is away or refuses; call ``recover`` before the next ``read``.
        """
        try:
            if self._recovered_to:
                entries = self._read_pending(count)
                if entries or self._recovered_to:
                    return entries
            streams = dict.fromkeys(self._markets, b">")
            return self._decode(
                self._client.xreadgroup(
                    self._group,
                    self._consumer,
                    streams,
                    count=self._paging.count(count),
                    block=max(1, block_ms),
                )
            )
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
                cursor, entries, *deleted = self._client.xautoclaim(
                    stream,
                    self._group,
                    self._consumer,
                    idle_ms,
                    self._claimed_to[stream],
                    count=self._paging.count(_CLAIMED_AT_ONCE),
                )
                for number in deleted[0] if deleted else ():
                    self._lose(stream, number)
                self._claimed_to[stream] = cursor
                claimed.extend(self._decode([[stream, entries]]))
                if cursor == _BEGINNING:
                    break
        return claimed

    def remove_dead(self, idle_ms: int) -> list[str]:
        """Remove consumers that have nothing pending and have not asked for longer than ``idle_ms``; their names.

        One that is alive after all is made again by its next read.
        """
        removed: list[str] = []
        for stream in self._markets:
            try:
                names = self._client.eval(_REMOVE_DEAD, 1, stream, self._group, self._consumer, idle_ms)
            except ResponseError as error:  # no scripts for this user: the names stay, which harms nobody
                log.debug("dead consumers of %s are not removed: %s", stream.decode(), error)
                continue
            removed.extend(name.decode() for name in names)
        for name in dict.fromkeys(removed):
            log.info("consumer %s has been gone for long and had nothing pending: removed", name)
        return removed

    def acknowledge(self, entries: Iterable[Entry]) -> None:
        """Tell the group that these entries are safe. Only call it when they are."""
        by_market = sorted((entry.market, entry.id) for entry in entries)
        pipeline = self._client.pipeline(transaction=False)
        for market, pairs in groupby(by_market, key=lambda pair: pair[0]):
            ids = [number for _, number in pairs]
            for first in range(0, len(ids), _ACKNOWLEDGED_AT_ONCE):
                pipeline.xack(self._keys.candles(market), self._group, *ids[first : first + _ACKNOWLEDGED_AT_ONCE])
        pipeline.execute()

    def pending(self) -> int:
        """Entries that were delivered to some consumer of the group and not acknowledged."""
        return sum(int(self._client.xpending(stream, self._group)["pending"]) for stream in self._markets)

    def trim(self, retention_ms: int) -> int:
        """Drop entries older than ``retention_ms`` by the broker's clock that no group needs; how many.

        What a group has not been given, or has been given and not acknowledged, is needed. A stream without any
        group is not trimmed: nobody has read it.
        """
        seconds, micros = self._client.time()
        oldest = EntryId(int(seconds) * 1000 + int(micros) // 1000 - retention_ms, 0)
        return sum(self._trim(stream, oldest) for stream in self._markets)

    def _trim(self, stream: bytes, oldest: EntryId) -> int:
        groups = self._client.xinfo_groups(stream)
        if not groups or oldest.milliseconds <= 0:
            return 0
        for group in groups:
            oldest = min(oldest, EntryId.parse(group["last-delivered-id"]).next)
            first_pending = self._client.xpending(stream, group["name"])["min"]
            if first_pending:
                oldest = min(oldest, EntryId.parse(first_pending))
        return int(self._client.xtrim(stream, minid=f"{oldest}", approximate=True))

    def _read_pending(self, count: int) -> list[Entry]:
        count = self._paging.count(count)
        answer = self._client.xreadgroup(self._group, self._consumer, self._recovered_to, count=count)
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
            self._paging.took(entries)
            market = self._markets[stream]
            for number, fields in entries:
                if not fields:
                    self._lose(stream, number)
                    continue
                try:
                    decoded.append(Entry(market, number, decode_entry(market, fields)))
                except MalformedCandleError as error:
                    self._bury(market, number, fields, str(error))
        return decoded

    def give_up(self, entry: Entry, reason: str) -> None:
        """Move an entry that cannot be stored to the dead letters, and acknowledge it."""
        self._bury(entry.market, entry.id, stored_entry(entry.item), reason)

    def _bury(self, market: Market, number: bytes, fields: Fields, reason: str) -> None:
        """Move an entry to the dead letters: there first, then acknowledged, in one step.

        What the broker refuses stays pending and is claimed again later.
        """
        letter = letter_fields(fields, reason, number, self._consumer)
        try:
            if not self._bury_once(market, number, letter):
                return
        except ResponseError as error:  # a broker that is full; the good entries beside it need not wait
            log.error(
                "entry %s of %s cannot be stored (%s), and stays pending: the broker takes no dead letter: %s",
                number.decode(),
                market,
                reason,
                error,
            )
            return
        self.dead_letters += 1
        if self.dead_letters <= _LOGGED_AT_FIRST or self.dead_letters % _LOGGED_EVERY == 0:
            log.error("entry %s of %s goes to the dead letters: %s", number.decode(), market, reason)

    def _bury_once(self, market: Market, number: bytes, letter: Fields) -> bool:
        """Put a letter and acknowledge its entry in one step; False when somebody else has done so meanwhile."""
        stream, letters = self._keys.candles(market), self._keys.dead_letters(market)
        flat = [part for pair in letter.items() for part in pair]
        try:
            return bool(self._client.eval(_BURY, 2, stream, letters, self._group, number, *flat))
        except NoPermissionError:  # no scripts for this user: then perhaps twice, and never not at all
            pipeline = self._client.pipeline(transaction=True)
            pipeline.xadd(letters, letter)
            pipeline.xack(stream, self._group, number)
            pipeline.execute()
            return True

    def _lose(self, stream: bytes, number: bytes) -> None:
        """An entry that was pending and is no longer in the stream: somebody deleted or trimmed it."""
        self.lost += 1
        log.error(
            "entry %s of %s was removed from the stream before it was written",
            number.decode(),
            stream.decode(),
        )
        self._client.xack(stream, self._group, number)


def retained(client: Any, keys: Keys, market: Market) -> Iterator[Candle | Note | None]:
    """Every entry that a market's stream still holds, oldest first; None for one that is no candle. Uses no group."""
    after, paging = "-", Paging()
    while page := client.xrange(keys.candles(market), min=after, count=paging.count(_READ_AT_ONCE)):
        paging.took(page)
        for number, fields in page:
            try:
                yield decode_entry(market, fields)
            except MalformedCandleError as error:
                log.debug("entry %s of %s is no candle: %s", number, market, error)
                yield None
        after = f"({page[-1][0].decode()}"
