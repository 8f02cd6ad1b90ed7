"""Entries that end the writer: found one at a time, and given up after a set number of tries.

A writer that was ended in the middle of a flush finds its entries pending when it starts again. If it was one of them
that ended it (a fault of ours or of a library that takes the whole process along), it would end it for ever. So the
broker counts how often a writer has started since it last stored anything. Beyond ``tries`` such starts, its pending
entries are written one at a time, each under a mark of its own, which goes when the entry has been tried and the writer
lives. An entry that has ended the writer ``tries`` times while it was being written alone is a suspect. It is tried
again only when this writer has stored something else, since a fault that meets everything is not an entry's, and given
up when it has ended the writer ``tries`` times more even so.

Only the writer's own end counts. A disk that refuses ends nobody and is waited for as long as it takes.
"""

from typing import Any

from redis.exceptions import ResponseError

from shared.broker.client import SyncClient
from shared.broker.entry import Entry

_STARTS = "starts"
_KEPT_SECONDS = 7 * 86_400


class Starts:
    """One consumer's starts, counted in the broker. A broker that is full counts nothing, and nothing else changes.

    Args:
        client: connection to the broker.
        key: ``Keys.starts`` of the consumer.
        tries: how often is too often.
    """

    def __init__(self, client: SyncClient, key: str, tries: int) -> None:
        self._client: Any = client  # redis-py types its answers as whatever any protocol version may return
        self._key = key
        self._tries = tries
        self._is_counted = False
        self._marked = ""

    def begin(self) -> bool:
        """Count a start; whether pending entries have to be written one at a time."""
        try:
            starts = int(self._client.hincrby(self._key, _STARTS, 1))
            self._client.expire(self._key, _KEPT_SECONDS)
        except ResponseError:
            return False
        self._is_counted = True
        return starts > self._tries

    def may_try(self, entry: Entry, *, others_can: bool = False) -> bool:
        """Mark an entry as the only one that is being written; False when it has ended the writer too often.

        Args:
            entry: which.
            others_can: whether this writer has stored something else.
        """
        name = f"{entry.market}/{entry.id.decode()}"
        if name == self._marked:  # the broker was away in between, and we have not ended
            return True
        try:
            ended = int(self._client.hget(self._key, name) or 0)
            if ended >= self._tries * (2 if others_can else 1):
                return False
            self._client.hset(self._key, name, ended + 1)
            self._client.expire(self._key, _KEPT_SECONDS)
        except ResponseError:
            return True
        self._marked = name
        return True

    def lived(self) -> None:
        """The entry that is marked has been tried, whether or not it could be stored, and the writer goes on."""
        self._client.hdel(self._key, self._marked)
        self._marked = ""

    def over(self) -> None:
        """Entries have been stored, or the writer leaves in good order: the next start is the first again."""
        if self._is_counted:
            self._client.delete(self._key)
            self._is_counted = False
