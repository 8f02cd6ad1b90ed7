"""Dead letters: entries that could not be stored, each with its reason, until somebody decides about them.

The writer puts a letter into the market's dead-letter stream in the same step that acknowledges the entry
(``consumer.group.reader``). Here they are read, put back into the stream they came from, or dropped. Putting back is
one transaction too, so that a letter is put back once. What a stream has acknowledged it keeps for a while all the
same: a replay meets the entry there too, and leaves it out again if it is no candle.

A letter holds its entry as it was, unless that is larger than any candle can be: then it holds a part of it, says so,
and cannot be put back.
"""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from redis.exceptions import WatchError

from shared.broker.keys import Keys
from shared.errors import BrokerError
from shared.interval import utc
from shared.market import Market

ENTRY_PREFIX = b"entry:"
_READ_AT_ONCE = 1000
_MOST_FIELDS, _MOST_NAME_BYTES, _MOST_VALUE_BYTES = 64, 256, 4096


@dataclass(frozen=True, slots=True)
class Letter:
    """One dead letter.

    Attributes:
        market: whose stream it came from.
        id: its own id in the dead-letter stream; its first part is when it was put there, in ms of the broker's clock.
        reason: why the entry could not be stored.
        entry_id: the entry's id in the stream of candles.
        consumer: which writer gave it up.
        fields: the entry as it was, or a part of it.
        is_cut: whether it is a part.
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


def letter_fields(entry: Mapping[bytes, bytes], reason: str, number: bytes, consumer: str) -> dict[bytes, bytes]:
    """A letter as the fields of its own entry.

    Args:
        entry: the fields that could not be stored.
        reason: why not.
        number: the entry's id.
        consumer: who gives it up.
    """
    letter = {b"reason": reason.encode(errors="replace"), b"id": number, b"consumer": consumer.encode()}
    kept = {name[:_MOST_NAME_BYTES]: value[:_MOST_VALUE_BYTES] for name, value in list(entry.items())[:_MOST_FIELDS]}
    if kept != entry:
        letter[b"cut"] = b"yes"
    return letter | {ENTRY_PREFIX + name: value for name, value in kept.items()}


def letters(client: Any, keys: Keys, market: Market) -> Iterator[Letter]:
    """A market's dead letters, oldest first."""
    after = "-"
    while page := client.xrange(keys.dead_letters(market), min=after, count=_READ_AT_ONCE):
        for number, body in page:
            yield _letter(market, number, body)
        after = f"({page[-1][0].decode()}"


def chosen(client: Any, keys: Keys, market: Market, ids: Sequence[str]) -> list[Letter]:
    """The letters with these ids.

    Raises:
        BrokerError: naming one that is not there.
    """
    found = {letter.id: letter for letter in letters(client, keys, market)}
    for number in ids:
        if number not in found:
            raise BrokerError(
                f"{market} has no dead letter {number}: `candlewick dead-letters list {market}` shows all"
            )
    return [found[number] for number in dict.fromkeys(ids)]


def requeue(client: Any, keys: Keys, letter: Letter) -> bool:
    """Put a letter's entry back into its stream, at the end, to be tried once more.

    Returns:
        False when somebody else has put it back or dropped it meanwhile.

    Raises:
        BrokerError: when the letter holds only a part of its entry.
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


def drop(client: Any, keys: Keys, letter: Letter) -> bool:
    """Forget a letter; False when it was gone already."""
    return bool(client.xdel(keys.dead_letters(letter.market), letter.id))


def _letter(market: Market, number: bytes, body: Mapping[bytes, bytes]) -> Letter:
    return Letter(
        market,
        number.decode(),
        body.get(b"reason", b"").decode(errors="replace"),
        body.get(b"id", b"").decode(errors="replace"),
        body.get(b"consumer", b"").decode(errors="replace"),
        {name.removeprefix(ENTRY_PREFIX): value for name, value in body.items() if name.startswith(ENTRY_PREFIX)},
        b"cut" in body,
    )
