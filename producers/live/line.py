"""A set of channels kept subscribed for as long as the process lives, by one connection after another.

When a connection ends, its line brings up a successor and, where the old one still reads, closes it only after the
successor has delivered its first kline (make-before-break). Both may deliver the same candle meanwhile; storage is
idempotent, so that does no harm. Failures are retried with back-off and jitter, which only data resets.
"""

import asyncio
import contextlib
import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from producers.exchange.connection import Connection, End
from shared.errors import ConnectionFailedError
from shared.process.once import SayOnce
from shared.process.tasks import Tasks, cancel
from shared.text import listed

if TYPE_CHECKING:
    from producers.live.connections import CandleListener

log = logging.getLogger(__name__)

_REPEAT_WARNING_SECONDS = 60.0
_OVERLAP_SECONDS = 2.0
_NO_KLINES = "no klines from %s: %s; trying again (`make demo` needs no exchange)"


class Line:
    """Channels and the connection that delivers them. Its task ends only with ``close``, or by an internal error."""

    def __init__(self, owner: "CandleListener") -> None:
        self.channels: set[str] = set()
        self._changed = asyncio.Event()
        self._owner = owner
        self._connection: Connection | None = None
        self._retiring: set[asyncio.Task[None]] = set()
        self._closing = asyncio.Event()
        self._delays = iter(owner.new_backoff())
        self._warn = SayOnce(log.warning, _REPEAT_WARNING_SECONDS)
        self._tell = SayOnce(log.info, _REPEAT_WARNING_SECONDS)  # a connection may be lost again and again, for ever
        self._task = owner.tasks.start(self._run())

    @property
    def is_delivering(self) -> bool:
        """Whether klines come in."""
        connection = self._connection
        return connection is not None and connection.is_delivering and not connection.is_silent

    def delivers_since(self, moment: float) -> bool:
        """Whether all channels are acknowledged or refused, and a kline came since a moment of the monotonic clock."""
        connection = self._connection
        return (
            connection is not None
            and self.is_delivering
            and connection.heard_at >= moment
            and connection.answered >= self.channels
        )

    def add(self, channel: str) -> None:
        """Keep one more channel subscribed, from soon on."""
        self.channels.add(channel)
        self._changed.set()

    def remove(self, channel: str) -> None:
        """Let go of a channel, soon."""
        self.channels.discard(channel)
        self._changed.set()

    async def close(self) -> None:
        """Close the connection, and those that are on their way out."""
        await cancel([self._task])
        while self._retiring:
            await asyncio.wait(self._retiring)

    async def _run(self) -> None:
        try:
            while True:
                successor = await self._establish()
                self._retire(self._connection, _OVERLAP_SECONDS)
                self._connection = successor
                end = await self._serve(successor)
                self._owner.counters.replaced[end.name.lower()] += 1
                because = f" ({successor.lost_because})" if successor.lost_because else ""
                text = "replacing a connection of %d channels to %s: %s%s"
                self._tell(text, len(self.channels), successor.address, end, because, same=("replacing", end))
                if not successor.is_open:
                    await asyncio.sleep(next(self._delays))
        except Exception:
            log.exception("an internal error in a connection's task")
            raise
        finally:
            self._closing.set()
            self._retire(self._connection)

    def _retire(self, connection: Connection | None, seconds: float = 0.0) -> None:
        """Close a connection, if there is one; a successor may lag behind, so it may deliver for a while beside it."""
        if connection is None:
            return

        async def retire() -> None:
            try:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._closing.wait(), seconds)
            finally:
                await connection.close()

        task = self._owner.tasks.start(retire())
        self._retiring.add(task)
        task.add_done_callback(self._retiring.discard)

    async def _establish(self) -> Connection:
        """A connection that is open, subscribed and delivering; tries until there is one.

        The line's old connection, where it still reads, is kept up to date meanwhile.
        """
        found: Connection | None = None
        try:
            async with Tasks() as updating:
                if self._connection is not None:
                    updating.start(self._keep_subscriptions(self._connection))
                found = await self._try_until_delivering()
                await updating.cancel()
        except BaseException:
            self._retire(found)  # it delivers, and nobody will have it
            raise
        return found

    async def _try_until_delivering(self) -> Connection:
        """The first connection that delivers.

        The last that was acknowledged and is silent stays open until another one delivers, so that a line of quiet
        series misses nothing while it is doubted.
        """
        silent: Connection | None = None
        try:
            while True:
                candidate = await self._owner.new_connection()
                found, still_silent = await self._try(candidate, silent)
                if found is not None:
                    silent = None if silent is found else silent
                    self._tell("listening to %d channels at %s", len(found.subscribed), found.address)
                    self._delays = iter(self._owner.new_backoff())
                    return found
                if still_silent is not None:
                    self._retire(silent)
                    silent = still_silent
                await asyncio.sleep(next(self._delays))
        finally:
            self._retire(silent)

    async def _try(
        self, candidate: Connection, silent: Connection | None
    ) -> tuple[Connection | None, Connection | None]:
        """Open and subscribe a candidate: which of the two delivers, and the candidate if it stays silent.

        A candidate that is neither is closed.
        """
        found: Connection | None = None
        stays_silent = False
        try:
            await candidate.open(self._owner.tasks)
            await candidate.subscribe(self.channels)
            found = await self._first_to_deliver([candidate] if silent is None else [silent, candidate])
            stays_silent = found is None
        except ConnectionFailedError as error:
            self._warn(_NO_KLINES, candidate.address, error)
            self._owner.note_failure(candidate, error)
        finally:
            if found is not candidate and not stays_silent:
                self._retire(candidate)
        if stays_silent:
            seconds, count = self._owner.silence_seconds, len(candidate.subscribed)
            silence = f"{count} channels were acknowledged and then silent for {seconds:g} s"
            self._warn(_NO_KLINES, candidate.address, f"{silence}: this address may no longer carry klines")
            self._owner.note_failure(candidate, silence)
        return found, candidate if stays_silent else None

    async def _first_to_deliver(self, connections: Sequence[Connection]) -> Connection | None:
        """The first of these to deliver a kline; None when the newest stays silent for the time-out.

        Raises:
            ConnectionFailedError: when the newest is lost or announced to end before.
        """
        newest = connections[-1]
        waits: set[asyncio.Future[Any]] = {newest.ended, *(connection.delivered for connection in connections)}
        await asyncio.wait(waits, timeout=self._owner.silence_seconds, return_when=asyncio.FIRST_COMPLETED)
        delivering = [connection for connection in connections if connection.is_delivering]
        if delivering:
            return delivering[0]
        if newest.ended.done() and newest.ended.result() is not End.SILENT:
            because = f": {newest.lost_because}" if newest.lost_because else ""
            raise ConnectionFailedError(f"{newest.ended.result()} before the first kline{because}")
        return None

    async def _serve(self, connection: Connection) -> End:
        """Keep the connection's subscriptions equal to ``channels``, and name silent ones, until it ends."""
        async with Tasks() as helpers:
            helpers.start(self._keep_subscriptions(connection))
            helpers.start(self._report_silent_channels(connection))
            end = await asyncio.shield(connection.ended)
            await helpers.cancel()
        return end

    async def _keep_subscriptions(self, connection: Connection) -> None:
        while connection.is_open:
            self._changed.clear()
            try:
                await connection.unsubscribe(connection.subscribed - self.channels)
                await connection.subscribe(self.channels - connection.subscribed)
            except ConnectionFailedError as error:
                log.warning("%s: %s", connection.address, error)
                connection.ask_end(End.ASKED)
                return
            await self._changed.wait()

    async def _report_silent_channels(self, connection: Connection) -> None:
        """Name the channels that have shown nothing for the silence time-out, each once a connection."""
        while True:
            await asyncio.sleep(self._owner.silence_seconds / 2)
            silent = connection.take_silent_channels()
            if silent:
                self._owner.counters.silent_channels += len(silent)
                text = "%s: %d of %d channels were acknowledged and then silent for %g s: %s"
                names, seconds = listed(silent), self._owner.silence_seconds
                log.warning(text, connection.address, len(silent), len(connection.subscribed), seconds, names)
