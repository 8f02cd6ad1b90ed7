"""Dead letters: entries that could not be stored, each with its reason, until somebody decides about them.

A writer puts a letter into the market's dead-letter stream in the same step that acknowledges the entry. Commands read
letters, put them back into the stream they came from, or drop them. Putting back is one transaction, so a letter is put
back once. The acknowledged entry stays in its stream for a while: a replay meets it there, and leaves it out again if
it is no candle.

A letter holds its entry whole, unless that is larger than any candle can be: then it holds a part of it, says so, and
cannot be put back.
"""

import contextlib
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from redis.exceptions import NoPermissionError, OutOfMemoryError, WatchError

from shared.broker.keys import Keys
from shared.broker.paging import pages
from shared.errors import BrokerError
from shared.interval import utc
from shared.market import Market
from shared.process.once import is_worth_a_line

log = logging.getLogger(__name__)

ENTRY_PREFIX = b"entry:"
_MAX_FIELDS, _MAX_NAME_BYTES, _MAX_VALUE_BYTES = 64, 256, 4096
_LOGGED_AT_FIRST = 20

_BURY = """
if #redis.call('XPENDING', KEYS[1], ARGV[1], ARGV[2], ARGV[2], 1) == 0 then return 0 end
redis.call('XADD', KEYS[2], '*', unpack(ARGV, 3))
return redis.call('XACK', KEYS[1], ARGV[1], ARGV[2])
"""  # a script: another consumer may have claimed and buried the same entry since it was read

Fields = Mapping[bytes, bytes]


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """One dead letter.

    Attributes:
        id: its own, in the dead-letter stream; the first part is when it was put there, in ms of the broker's clock.
        entry_id: the entry's id in the market's stream of candles.
        consumer: the writer that gave it up.
        fields: the entry as it was, or a part of it.
        is_cut: whether that is a part.
    """

    market: Market
    id: str
    reason: str
    entry_id: str
    consumer: str
    fields: Mapping[bytes, bytes]
    is_cut: bool = False

    @property
    def written(self) -> str:
        """When it was put there."""
        return f"{utc(int(self.id.partition('-')[0])):%Y-%m-%dT%H:%M:%SZ}"


class Burial:
    """Moves one consumer's entries to the dead letters, and counts them."""

    def __init__(self, client: Any, keys: Keys, group: str, consumer: str) -> None:
        self.count = 0
        self._client = client
        self._keys = keys
        self._group = group
        self._consumer = consumer

    def bury(self, market: Market, number: bytes, fields: Fields, reason: str) -> None:
        """Move an entry to the dead letters: there first, then acknowledged, in one step.

        What the broker refuses stays pending and is claimed again later.
        """
        letter = _letter_fields(fields, reason, number, self._consumer)
        try:
            if not self._bury_once(market, number, letter):
                return
        except OutOfMemoryError as error:  # a broker that is full; the good entries beside it need not wait
            text = "entry %s of %s cannot be stored (%s), and stays pending: the broker takes no dead letter: %s"
            log.error(text, number.decode(), market, reason, error)
            return
        self.count += 1
        if is_worth_a_line(self.count, _LOGGED_AT_FIRST):
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


def dead_letters(client: Any, keys: Keys, market: Market) -> Iterator[DeadLetter]:
    """A market's dead letters, oldest first."""
    for page in pages(client, keys.dead_letters(market)):
        for number, body in page:
            yield _letter(market, number, body)


def chosen(client: Any, keys: Keys, market: Market, ids: Sequence[str]) -> list[DeadLetter]:
    """The letters with these ids. BrokerError names one that is not there."""
    found = {letter.id: letter for letter in dead_letters(client, keys, market)}
    for number in ids:
        if number not in found:
            shows = f"`candlewick dead-letters list {market}` shows all"
            raise BrokerError(f"{market} has no dead letter {number}: {shows}")
    return [found[number] for number in dict.fromkeys(ids)]


def requeue(client: Any, keys: Keys, letter: DeadLetter) -> bool:
    """Put a letter's entry back into its stream, at the end, to be tried once more.

    False when somebody else has put it back or dropped it meanwhile; BrokerError when it holds a part of its entry.
    """
    if letter.is_cut:
        raise BrokerError(f"dead letter {letter.id} of {letter.market} was too large to be kept whole: drop it")
    stream = keys.dead_letters(letter.market)
    with client.pipeline(transaction=True) as pipeline:
        while True:
            pipeline.watch(stream)
            if not pipeline.xrange(stream, min=letter.id, max=letter.id):
                return False
            pipeline.multi()
            pipeline.xadd(keys.candles(letter.market), dict(letter.fields))
            pipeline.xdel(stream, letter.id)
            with contextlib.suppress(WatchError):  # a writer has put another letter there meanwhile
                pipeline.execute()
                return True


def drop(client: Any, keys: Keys, letter: DeadLetter) -> bool:
    """Forget a letter; False when it was gone already."""
    return bool(client.xdel(keys.dead_letters(letter.market), letter.id))


def _letter(market: Market, number: bytes, body: Mapping[bytes, bytes]) -> DeadLetter:
    reason, of, consumer = (body.get(name, b"").decode(errors="replace") for name in (b"reason", b"id", b"consumer"))
    entry = {name.removeprefix(ENTRY_PREFIX): value for name, value in body.items() if name.startswith(ENTRY_PREFIX)}
    return DeadLetter(market, number.decode(), reason, of, consumer, entry, b"cut" in body)


def _letter_fields(entry: Fields, reason: str, number: bytes, consumer: str) -> dict[bytes, bytes]:
    """A letter as the fields of its own entry."""
    letter = {b"reason": reason.encode(errors="replace"), b"id": number, b"consumer": consumer.encode()}
    part = {name[:_MAX_NAME_BYTES]: value[:_MAX_VALUE_BYTES] for name, value in list(entry.items())[:_MAX_FIELDS]}
    if part != entry:
        letter[b"cut"] = b"yes"
    return letter | {ENTRY_PREFIX + name: value for name, value in part.items()}
