"""Whether the stream still holds what the broker answered for, and what to do when it does not.

A broker that is replaced by a replica that was behind, starts again without the tail of its log, or is emptied, has
taken candles and lost them. Nobody hears of it: the connection just works again. So every look asks in one transaction
which server this is and which history it has (its replication id changes with a fail-over), up to where the writers
have stored the stream, and whether the oldest and the newest entry that are kept still stand there. What is stored is
forgotten. When the server or its history is another, one of those entries is gone, or a pipeline was cut off, all that
is kept is compared with the stream, entry by entry, and published again where it is missing. A server that came back
unfit (it evicts, say) is as fatal as it would be at the start.

Until that is done, progress must not be saved: it would say that lost candles are safe.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Any

from redis.exceptions import ReadOnlyError, RedisError, ResponseError

from producers.publish.publisher import Publisher
from shared.broker.client import CONNECTION_ERRORS, AsyncClient, broker_name, check_server, fatal_answer
from shared.broker.entry import EntryId, stored_entry
from shared.broker.keys import Keys
from shared.candle import Candle, Series
from shared.errors import ReplicaError
from shared.market import Market
from shared.series_fact import Note
from shared.settings.model import Settings

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
        self._settings = settings
        self._stream = Keys(settings.broker.prefix).candles(market)
        self._group = settings.writer.group
        self._name = broker_name(settings)
        self._publisher = publisher
        self._on_lost = on_lost
        self._on_forgotten = on_forgotten
        self._looking = asyncio.Lock()
        self._server, self._entries_added = "", 0
        self._may_have_lost = False

    async def run(self) -> None:
        """Look once a second for as long as the process lives, whatever else it waits for.

        Raises:
            BrokerError: when the broker came back unfit.
        """
        told = ""
        while True:
            try:
                async with self._looking:
                    await self._look()
                told = ""
            except (*CONNECTION_ERRORS, RedisError) as error:
                fatal = fatal_answer(error, self._settings)
                if fatal is not None:
                    raise fatal from None
                if isinstance(error, ResponseError) and str(error) != told:
                    told = str(error)
                    log.warning("what the broker %s still holds cannot be told: %s", self._name, error)
            await asyncio.sleep(_LOOK_SECONDS)

    async def look(self) -> bool:
        """Look now; whether the broker may have lost something since this was last called.

        When this returns, whatever it lost of what we handed over is held by the publisher again.

        Raises:
            redis.RedisError: (or another of ``CONNECTION_ERRORS``) while the broker is away or a replica.
            BrokerError: when it came back unfit.
        """
        async with self._looking:
            await self._look()
            may_have_lost, self._may_have_lost = self._may_have_lost, False
            return may_have_lost

    async def _look(self) -> None:
        kept = self._publisher.kept
        was_cut_off = self._publisher.was_cut_off
        edges = [(number, kept[number]) for number in {*kept.edges}]
        server, entries_added, first_unstored, found = await self._state([number for number, _ in edges])
        is_another = bool(self._server) and server != self._server
        if entries_added < self._entries_added:
            self._may_have_lost = True  # everything may be stored, and yet progress went with the stream
        is_gone = any(number >= first_unstored and found.get(number) != stored_entry(item) for number, item in edges)
        if was_cut_off or is_another or is_gone:
            self._may_have_lost = True
            self._publisher.was_cut_off = False  # what is cut off from here on is seen by the next look
            try:
                await self._compare()
            except BaseException:
                self._publisher.was_cut_off = True
                raise
        self._server, self._entries_added = server, entries_added
        kept.stored_before(first_unstored)

    async def _state(self, edges: Sequence[EntryId]) -> tuple[str, int, EntryId, dict[EntryId, dict[bytes, bytes]]]:
        """What the broker is and holds, at one moment.

        Returns:
            Which server it is; how many entries the stream was ever given; the first entry that is not stored; those
            of the asked entries that are there.
        """
        pipeline = self._client.pipeline(transaction=True)
        pipeline.info()
        pipeline.xinfo_stream(self._stream)
        pipeline.xinfo_groups(self._stream)
        pipeline.xpending(self._stream, self._group)
        for number in edges:
            pipeline.xrange(self._stream, min=f"{number}", max=f"{number}")
        answers: list[Any] = await pipeline.execute(raise_on_error=False)
        info, stream, groups, pending, *pages = answers
        for answer in (info, *pages):
            if isinstance(answer, BaseException):
                raise answer
        for answer in (stream, groups, pending):  # may be missing, and nothing else may be wrong
            if isinstance(answer, BaseException) and not str(answer).startswith(("no such key", "NOGROUP")):
                raise answer
        try:
            check_server(info, self._name)
        except ReplicaError as error:
            raise ReadOnlyError(str(error)) from None
        server = f"{info.get('run_id', '')} {info.get('master_replid', '')}"
        found = {EntryId.parse(number): fields for page in pages for number, fields in page}
        added = 0 if isinstance(stream, BaseException) else int(stream.get("entries-added", 0))
        return server, added, self._first_unstored(groups, pending), found

    def _first_unstored(self, groups: Any, pending: Any) -> EntryId:
        """The first entry that no writer has acknowledged; of a stream without a group, the first of all."""
        if isinstance(groups, BaseException) or isinstance(pending, BaseException):
            return EntryId(0, 0)
        if pending["min"]:
            return EntryId.parse(pending["min"])
        group = next((one for one in groups if one["name"] == self._group.encode()), None)
        if group is None:
            return EntryId(0, 0)
        return EntryId.parse(group["last-delivered-id"]).next

    async def _compare(self) -> None:
        """Hand to the publisher again what the stream does not hold of what is kept."""
        kept = self._publisher.kept
        expected = dict(kept.items)
        if not expected:
            return
        missing = set(expected)
        client: Any = self._client  # redis-py types its answers as whatever any protocol version may return
        after, last = f"{min(expected)}", f"{max(expected)}"
        while page := await client.xrange(self._stream, min=after, max=last, count=_PAGE):
            for text, fields in page:
                number = EntryId.parse(text)
                item = expected.get(number)  # another server may have given the same id to something else
                if item is not None and fields == stored_entry(item):
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
