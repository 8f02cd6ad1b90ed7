"""Whether the stream still holds what the broker answered for, and what to do when it does not.

A broker that is replaced by a replica that was behind, starts again without the tail of its log, or is emptied, has
taken candles and lost them. Nobody hears of it: the connection just works again. So every look asks three things in one
transaction: which server this is, how many entries the stream was ever given, and up to where the writers have stored
them. What is stored is forgotten. When the server is another one, the stream was given fewer entries than it must have
been, or a pipeline was cut off, everything that is kept is compared with the stream, entry by entry, and published
again where it is missing. A server that came back unfit (it evicts, say) is as fatal as it would be at the start.

Until that is done, progress must not be saved: it would say that lost candles are safe.
"""

import asyncio
import logging
from collections.abc import Callable
from typing import Any

from redis.exceptions import ReadOnlyError, RedisError, ResponseError

from producers.kept import EntryId
from producers.publisher import Publisher
from shared.broker import CONNECTION_ERRORS, AsyncClient, Keys, broker_name, check_server
from shared.candle import Candle, Series
from shared.entry import encode_entry
from shared.errors import ReplicaError
from shared.market import Market
from shared.note import Note
from shared.settings import Settings

log = logging.getLogger(__name__)

_PAGE = 1000
_LOOK_SECONDS = 1.0


class StreamCheck:
    """Compares one market's stream with what one publisher handed to it.

    Args:
        client: connection to the broker.
        settings: the broker's name, its keys, and the writers' consumer group.
        market: which.
        publisher: whose entries; what is missing is handed to it again.
        on_lost: called with each candle and note that is published again; must not block and must not raise.
        on_forgotten: called with a series and a range of times (ms) of which candles may be lost that are no longer
            kept; the same.
    """

    def __init__(
        self,
        client: AsyncClient,
        settings: Settings,
        market: Market,
        publisher: Publisher,
        on_lost: Callable[[Candle | Note], None],
        on_forgotten: Callable[[Series, int, int], None],
    ) -> None:
        self.published_again = 0
        self._client = client
        self._stream = Keys(settings.broker.prefix).candles(market)
        self._group = settings.writer.group
        self._name = broker_name(settings)
        self._publisher = publisher
        self._on_lost = on_lost
        self._on_forgotten = on_forgotten
        self._looking = asyncio.Lock()
        self._server = ""
        self._entries_added = 0
        self._own_added = 0

    async def run(self) -> None:
        """Look once a second for as long as the process lives, whatever else it waits for.

        Raises:
            BrokerError: when the broker came back unfit.
        """
        while True:
            try:
                await self.look()
            except (*CONNECTION_ERRORS, RedisError) as error:
                log.debug("the stream cannot be looked at: %s", error)
            await asyncio.sleep(_LOOK_SECONDS)

    async def look(self) -> bool:
        """Look once; whether the broker may have lost something since the last look.

        When this returns, whatever it lost of what we handed over is held by the publisher again.

        Raises:
            redis.RedisError: (or another of ``CONNECTION_ERRORS``) while the broker is away or a replica.
            BrokerError: when it came back unfit.
        """
        async with self._looking:
            return await self._look()

    async def _look(self) -> bool:
        kept = self._publisher.kept
        own_added, was_cut_off = kept.added, self._publisher.was_cut_off
        server, entries_added, first_unstored = await self._state()
        is_same = server == self._server and entries_added >= self._entries_added + own_added - self._own_added
        lost = 0
        if was_cut_off or (self._server and not is_same):
            self._publisher.was_cut_off = False  # what is cut off from here on is seen by the next look
            try:
                lost = await self._compare()
            except BaseException:
                self._publisher.was_cut_off = True
                raise
        is_another = bool(self._server) and (server != self._server or entries_added < self._entries_added)
        self._server, self._entries_added, self._own_added = server, entries_added, own_added
        kept.stored_before(first_unstored)
        return was_cut_off or is_another or lost > 0

    async def _state(self) -> tuple[str, int, EntryId]:
        """Which server this is, how many entries the stream was ever given, and the first that is not stored."""
        pipeline = self._client.pipeline(transaction=True)
        pipeline.info()
        pipeline.xinfo_stream(self._stream)
        pipeline.xinfo_groups(self._stream)
        pipeline.xpending(self._stream, self._group)
        answers: list[Any] = await pipeline.execute(raise_on_error=False)
        info, stream, groups, pending = answers
        if isinstance(info, BaseException):
            raise info
        try:
            check_server(info, self._name)
        except ReplicaError as error:
            raise ReadOnlyError(str(error)) from None
        server = f"{info.get('run_id', '')} {info.get('tcp_port', '')}"
        if isinstance(stream, ResponseError):  # there is no stream: nobody has published anything, or it is gone
            return server, 0, EntryId(0, 0)
        added = int(stream.get("entries-added", 0))
        group = next((one for one in groups if one["name"] == self._group.encode()), None)
        if group is None or isinstance(pending, ResponseError):
            return server, added, EntryId(0, 0)
        if pending["min"]:
            return server, added, EntryId.parse(pending["min"])
        delivered = EntryId.parse(group["last-delivered-id"])
        return server, added, EntryId(delivered.milliseconds, delivered.sequence + 1)

    async def _compare(self) -> int:
        """Hand to the publisher again what the stream does not hold of what is kept; how many those are."""
        kept = self._publisher.kept
        expected = dict(kept.items)
        if not expected:
            return 0
        missing = set(expected)
        client: Any = self._client  # redis-py types its answers as whatever any protocol version may return
        after, last = f"{min(expected)}", f"{max(expected)}"
        while page := await client.xrange(self._stream, min=after, max=last, count=_PAGE):
            for text, fields in page:
                number = EntryId.parse(text)
                item = expected.get(number)  # another server may have given the same id to something else
                if item is not None and fields == _as_stored(item):
                    missing.discard(number)
            after = f"({page[-1][0].decode()}"
        lost, forgotten = kept.take_lost([number for number in expected if number in missing])
        for item in lost:
            self._on_lost(item)
        for series, span in forgotten.items():
            self._on_forgotten(series, *span)
        self._publisher.put_again(lost)
        self.published_again += len(lost)
        if lost:
            log.warning("the broker lost %d candles and notes that it had taken: they are published again", len(lost))
        if forgotten:
            log.warning("it may have lost older candles of %d series: they are fetched again", len(forgotten))
        return len(lost)


def _as_stored(item: Candle | Note) -> dict[bytes, bytes]:
    return {name.encode(): str(value).encode() for name, value in encode_entry(item).items()}
