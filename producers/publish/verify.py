"""Whether the stream still holds what the broker answered for, and what to do when it does not.

A broker that is replaced by a replica that was behind, starts again without the tail of its log, or is emptied, has
taken candles and lost them. Nobody hears of it: the connection just works again. So every look asks in one transaction
which server this is and which history it has (its replication id changes with a fail-over), how many entries the stream
was ever given, up to where the writers have stored it, and whether the oldest and the newest entry of the resend buffer
still stand there. What is stored is forgotten.

All that is kept is compared with the stream, entry by entry, and published again where it is missing, when the server
or its history is another, one of those entries is gone, the stream was given fewer entries than we know of (it was
emptied, and what came after may be stored already), or a pipeline was cut off. A server that came back unfit (it
evicts, say) is as fatal as it would be at the start.

Until that is done, no checkpoint may be written: it would say that lost candles are published.
"""

import asyncio
import logging
from collections.abc import Iterable
from typing import Any, NamedTuple

from redis.exceptions import ReadOnlyError, RedisError, ResponseError

from producers.publish.publisher import Account, Publisher
from shared.broker.client import CONNECTION_ERRORS, AsyncClient, broker_name, check_server, fatal_answer
from shared.broker.entry import EntryId, entry_fields
from shared.broker.keys import Keys
from shared.broker.paging import Fields, pages_async
from shared.errors import ReplicaError
from shared.market import Market
from shared.process.once import SayOnce
from shared.settings.model import Settings

log = logging.getLogger(__name__)

_LOOK_SECONDS = 1.0


class _Seen(NamedTuple):
    """What the broker is and holds, at one moment."""

    server: str  # which server it is, and which history it has
    entries_added: int  # how many entries the stream was ever given
    last_id: EntryId  # of the last of them
    first_unstored: EntryId
    found: dict[EntryId, Fields]  # those of the asked entries that are there


class StreamVerifier:
    """Compares one market's stream with what one publisher handed to it, and hands it again what is missing.

    The account is told what is published again, and what may be lost and is kept no longer.
    """

    def __init__(
        self, client: AsyncClient, settings: Settings, market: Market, publisher: Publisher, account: Account
    ) -> None:
        self.published_again = 0  # how many entries the broker had lost
        self._client = client
        self._settings = settings
        self._stream = Keys(settings.broker.prefix).candles(market)
        self._group = settings.writer.group
        self._name = broker_name(settings)
        self._publisher = publisher
        self._account = account
        self._looking = asyncio.Lock()
        self._server, self._entries_added, self._last_id = "", 0, EntryId(0, 0)
        self._cut_offs_seen = 0
        self._may_have_lost = False

    async def run(self) -> None:
        """Look once a second for as long as the process lives; BrokerError when the broker came back unfit."""
        warn = SayOnce(log.warning)
        while True:
            try:
                async with self._looking:
                    await self._look()
                warn.reset()
            except (*CONNECTION_ERRORS, RedisError) as error:
                fatal = fatal_answer(error, self._settings)
                if fatal is not None:
                    raise fatal from None
                if isinstance(error, ResponseError):
                    warn("what the broker %s still holds cannot be told: %s", self._name, error)
            await asyncio.sleep(_LOOK_SECONDS)

    async def look(self) -> bool:
        """Look now; whether the broker may have lost something since this was last called.

        When this returns, whatever it lost of what we handed over is held by the publisher again. It raises one of
        ``CONNECTION_ERRORS`` or a RedisError while the broker is away or a replica, and BrokerError when it came back
        unfit.
        """
        async with self._looking:
            await self._look()
            may_have_lost, self._may_have_lost = self._may_have_lost, False
            return may_have_lost

    async def _look(self) -> None:
        resend, cut_offs = self._publisher.resend, self._publisher.cut_offs
        edges = resend.edges
        entries_due = self._entries_added + resend.count_after(self._last_id)
        seen = await self._see(edges)
        is_emptied = (
            seen.entries_added < entries_due
        )  # all of it may be stored, and yet checkpoints went with the stream
        is_another = bool(self._server) and seen.server != self._server
        is_gone = any(
            number >= seen.first_unstored and seen.found.get(number) != entry_fields(item)
            for number, item in edges.items()
        )
        if cut_offs != self._cut_offs_seen or is_emptied or is_another or is_gone:
            self._may_have_lost = True
            self._cut_offs_seen = -1  # until it has been compared whole
            await self._compare()
            self._cut_offs_seen = cut_offs  # what was cut off since is seen by the next look
        self._server, self._entries_added, self._last_id = seen.server, seen.entries_added, seen.last_id
        resend.forget_before(seen.first_unstored)

    async def _see(self, edges: Iterable[EntryId]) -> _Seen:
        pipeline = self._client.pipeline(transaction=True)
        pipeline.info()
        pipeline.xinfo_stream(self._stream)
        pipeline.xinfo_groups(self._stream)
        pipeline.xpending(self._stream, self._group)
        for number in edges:
            pipeline.xrange(self._stream, min=f"{number}", max=f"{number}")
        answers: list[Any] = await pipeline.execute(raise_on_error=False)
        info, stream, groups, pending, *found = answers
        for answer in (info, *found):
            if isinstance(answer, BaseException):
                raise answer
        for answer in (stream, groups, pending):  # may be missing, and nothing else may be wrong
            if isinstance(answer, BaseException) and not str(answer).startswith(("no such key", "NOGROUP")):
                raise answer
        try:
            check_server(info, self._name)
        except ReplicaError as error:
            raise ReadOnlyError(str(error)) from None
        stream = {} if isinstance(stream, BaseException) else stream
        return _Seen(
            server=f"{info.get('run_id', '')} {info.get('master_replid', '')}",
            entries_added=int(stream.get("entries-added", 0)),
            last_id=EntryId.parse(stream.get("last-generated-id", b"0-0")),
            first_unstored=self._first_unstored(groups, pending),
            found={EntryId.parse(number): fields for page in found for number, fields in page},
        )

    def _first_unstored(self, groups: Any, pending: Any) -> EntryId:
        """The first entry that no writer has acknowledged; of a stream without a group, the first of all."""
        if isinstance(groups, BaseException) or isinstance(pending, BaseException):
            return EntryId(0, 0)
        if pending["min"]:
            return EntryId.parse(pending["min"])
        ours = next((group for group in groups if group["name"] == self._group.encode()), None)
        return EntryId(0, 0) if ours is None else EntryId.parse(ours["last-delivered-id"]).next

    async def _compare(self) -> None:
        """Hand to the publisher again what the stream does not hold of what is kept."""
        expected = dict(self._publisher.resend.items)
        if not expected:
            return
        missing = set(expected)
        async for page in pages_async(self._client, self._stream, f"{min(expected)}", f"{max(expected)}"):
            for text, fields in page:
                number = EntryId.parse(text)
                item = expected.get(number)  # another server may have given the same id to something else
                if item is not None and fields == entry_fields(item):
                    missing.discard(number)
        lost, forgotten = self._publisher.resend.take_lost([number for number in expected if number in missing])
        for item in lost:
            self._account.mark_unpublished(item)
        for series, span in forgotten.items():
            self._account.mark_lost(series, *span)
        self._publisher.put_again(lost)
        self.published_again += len(lost)
        if lost:
            log.warning("the broker lost %d candles and facts that it had taken: they are published again", len(lost))
        if forgotten:
            log.warning("it may have lost older candles of %d series: they are fetched again", len(forgotten))
