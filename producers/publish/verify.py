"""Whether the stream still holds what the broker answered for, and what to do when it does not.

Every look asks in one transaction what ``producers.publish.continuity`` needs: which server this is and which history
it has, the stream's newest entry and those that are asked for, and up to where the writers have stored it. What was
seen to be stored is let go. When the look proves that something may be missing, or a pipeline was cut off, all that is
kept is compared with the stream, entry by entry, and published again where it is missing. A server that came back
unfit (it evicts, say) is as fatal as it would be at the start.

Until that is done, no checkpoint may be written: it would say that lost candles are published.
"""

import asyncio
import logging
import time
from collections.abc import Sequence
from typing import Any

from redis.exceptions import ReadOnlyError, RedisError, ResponseError

from producers.publish.continuity import Asked, Continuity, Finding, Seen
from producers.publish.publisher import Account, Publisher
from shared.broker.address import broker_name
from shared.broker.client import CONNECTION_ERRORS, AsyncClient, check_server, fatal_answer
from shared.broker.entry import EntryId, entry_fields
from shared.broker.keys import Keys
from shared.broker.paging import Paging, pages_async
from shared.errors import ReplicaError
from shared.market import Market
from shared.process.once import SayOnce
from shared.settings.model import Settings

log = logging.getLogger(__name__)

_LOOK_SECONDS = 1.0
IDLE = 5
"""So many times as long between two looks, while nothing is published and nothing is kept."""

_INFO = ("server", "memory", "replication", "cluster")  # what is looked at of it; all of it takes longer to parse
_MAX_PAGE = 2000  # entries that are let go in one transaction


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
        self._continuity = Continuity(publisher.resend)
        self._paging = Paging()
        self._cut_offs_seen, self._looked_at, self._published_seen = 0, 0.0, 0
        self._finding = Finding.WHOLE

    @property
    def anchor(self) -> str:
        """What proves later that the stream has kept all that it has now; empty while it has no entry."""
        return self._continuity.anchor

    @property
    def published(self) -> int:
        """How many entries the broker has answered for."""
        return self._publisher.published

    def is_idle(self, published: int) -> bool:
        """Whether nothing is kept, and nothing was published since there were so many entries."""
        return not len(self._publisher.resend) and self.published == published

    async def run(self) -> None:
        """Look whenever it is due and nobody has, for as long as the process lives.

        BrokerError when the broker came back unfit.
        """
        warn = SayOnce(log.warning)
        while True:
            try:
                async with self._looking:
                    pause = _LOOK_SECONDS * (IDLE if self.is_idle(self._published_seen) else 1)
                    if time.monotonic() - self._looked_at >= pause:
                        await self._look()
                warn.reset()
            except (*CONNECTION_ERRORS, RedisError) as error:
                fatal = fatal_answer(error, self._settings)
                if fatal is not None:
                    raise fatal from None
                if isinstance(error, ResponseError):
                    warn("what the broker %s still holds cannot be told: %s", self._name, error)
            await asyncio.sleep(_LOOK_SECONDS)

    async def look(self) -> Finding:
        """Look now; the worst that was found since this was last called.

        When this returns, whatever the broker lost of what is kept is held by the publisher again. It raises one of
        ``CONNECTION_ERRORS`` or a RedisError while the broker is away or a replica, and BrokerError when it came back
        unfit.
        """
        async with self._looking:
            await self._look()
            finding, self._finding = self._finding, Finding.WHOLE
            return finding

    async def _look(self) -> None:
        self._looked_at, self._published_seen, asked = time.monotonic(), self.published, None
        while asked is None or self._continuity.ask().stored is not None:  # something is stored that is still kept
            cut_offs, asked = self._publisher.cut_offs, self._continuity.ask()
            seen = await self._see(asked)
            finding = self._continuity.take(asked, seen)
            if finding is not Finding.WHOLE or cut_offs != self._cut_offs_seen:
                self._finding = max(self._finding, finding, Finding.COMPARE)
                self._cut_offs_seen = -1  # until it has been compared whole
                # the publisher's connection may lead to another server than this one
                await self._client.connection_pool.disconnect(inuse_connections=False)
                await self._compare()
                self._cut_offs_seen = cut_offs  # what was cut off since is seen by the next look
            self._publish_again(self._continuity.settle(seen))

    async def _see(self, asked: Asked) -> Seen:
        pipeline = self._client.pipeline(transaction=True)
        pipeline.info(*_INFO)
        pipeline.xinfo_stream(self._stream)
        pipeline.xinfo_groups(self._stream)
        pipeline.xpending(self._stream, self._group)
        for number in asked.ids:
            pipeline.xrange(self._stream, min=f"{number}", max=f"{number}")
        count = self._paging.next_count(_MAX_PAGE)
        if asked.stored is not None:
            pipeline.xrange(self._stream, min=f"{asked.stored[0]}", max=f"({asked.stored[1]}", count=count)
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
        covered_end = EntryId(0, 0)
        if asked.stored is not None:
            self._paging.note_answer(pages[-1])
            is_full = len(pages[-1]) == count
            covered_end = EntryId.parse(pages[-1][-1][0]).next if is_full else asked.stored[1]
        stream = {} if isinstance(stream, BaseException) else stream
        oldest, newest = stream.get("first-entry"), stream.get("last-entry")
        return Seen(
            server=f"{info.get('run_id', '')} {info.get('master_replid', '')}",
            oldest=EntryId.parse(oldest[0]) if oldest else None,
            newest=(EntryId.parse(newest[0]), newest[1]) if newest else None,
            max_deleted=EntryId.parse(stream.get("max-deleted-entry-id", b"0-0")),
            first_unstored=self._first_unstored(groups, pending),
            found={EntryId.parse(number): fields for page in pages for number, fields in page},
            covered_end=covered_end,
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
        missing = set(expected)
        if expected:
            async for page in pages_async(self._client, self._stream, f"{min(expected)}", f"{max(expected)}"):
                for text, fields in page:
                    number = EntryId.parse(text)
                    item = expected.get(number)  # another server may have given the same id to something else
                    if item is not None and fields == entry_fields(item):
                        missing.discard(number)
        self._publish_again([number for number in expected if number in missing])

    def _publish_again(self, missing: Sequence[EntryId]) -> None:
        """Hand to the publisher again what the stream has lost, and tell the account what is kept no longer."""
        lost, forgotten = self._publisher.resend.take_lost(missing)
        for item in lost:
            self._account.mark_unpublished(item)
        for series, span in forgotten.items():
            self._account.mark_lost(series, *span)
        if lost:
            self._publisher.put_again(lost)
            self.published_again += len(lost)
            log.warning("the broker lost %d candles and facts that it had taken: they are published again", len(lost))
        if forgotten:
            log.warning("it may have lost older candles of %d series: they are fetched again", len(forgotten))
