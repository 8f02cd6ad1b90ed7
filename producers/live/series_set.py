"""The set of series that a producer records, kept up to date while it runs.

Series come from three sources: the names and patterns of the settings, what ``candlewick symbols`` added or removed
(kept in the broker, so it reaches every host and lasts), and the exchange's own list, read again every few minutes.
A series that is not wanted any more ends: what is missing of it is fetched once more, its end is noted with the reason,
and nothing else changes. Where a series continues, ``producers.live.resume`` finds out.
"""

import asyncio
import logging
import time

from redis.exceptions import NoPermissionError, RedisError

from producers.exchange.clock import ExchangeClock
from producers.exchange.rest import RestClient
from producers.gaps.intake import Intake
from producers.live.checkpoints import Checkpoints
from producers.live.connections import CandleListener
from producers.live.resume import Resume
from producers.live.selection import Selection
from producers.publish.continuity import Finding
from producers.publish.verify import StreamVerifier
from shared.broker.client import CONNECTION_ERRORS
from shared.errors import RestRefusedError, RestUnavailableError
from shared.process.backoff import backoff
from shared.process.once import SayOnce
from shared.text import listed

log = logging.getLogger(__name__)

_LOOK_SECONDS = 1.0  # how soon a change that somebody asked for is noticed, and checkpoints are written
_EVERYTHING_SECONDS = 60.0
_RETRY_LIST_SECONDS = 10.0
_BROKER_AWAY = (*CONNECTION_ERRORS, RedisError)


class SeriesSet:
    """Keeps a listener and the gap tracker to the series that are to be recorded.

    Before a checkpoint is written, the verifier makes sure that the broker still holds what it speaks of.
    """

    def __init__(
        self,
        selection: Selection,
        listener: CandleListener,
        intake: Intake,
        checkpoints: Checkpoints,
        verifier: StreamVerifier,
        rest: RestClient,
        clock: ExchangeClock,
    ) -> None:
        self._selection = selection
        self._listener = listener
        self._intake = intake
        self._checkpoints = checkpoints
        self._verifier = verifier
        self._rest = rest
        self._clock = clock
        self._resume = Resume(selection, checkpoints, rest, clock, intake)
        self._list_at = self._everything_at = 0.0
        self._has_looked = False  # what is read of the broker before the first look may be lost unseen
        self._list_delays = backoff(_RETRY_LIST_SECONDS, selection.symbols_seconds)
        self._warn = SayOnce(log.warning)
        self._warn_name = SayOnce(log.warning)

    async def run(self, look_seconds: float = _LOOK_SECONDS) -> None:
        """Keep everything up to date for as long as the process lives; it looks after that every ``look_seconds``."""
        await self._read_changes()
        await self._apply(0)
        while True:
            due = time.monotonic() >= self._list_at
            if await self._read_changes() or due:
                now_ms = await self._clock.known()
                if due:
                    await self._read_list(now_ms)
                await self._apply(now_ms)
            if self._has_looked or await self._look() is not None:
                await self._resume.look()
            await self.save()
            await asyncio.sleep(look_seconds)

    async def save(self) -> None:
        """Write the checkpoint of every series to the broker; while it is away, nothing happens.

        What is written was known before the look that proves it, and names that look's anchor: whatever the broker
        loses meanwhile, the next life can tell.
        """
        if not self._resume.knows_last_life:
            return
        checkpoints_ms, ended = self._resume.checkpoints(), dict(self._intake.ended)
        if await self._look() is not Finding.WHOLE:
            return  # published again first
        everything = time.monotonic() >= self._everything_at
        # the next life must still know what is newly listed: no time of the list before all have begun
        listed_ms = self._selection.symbols.listed_ms if self._resume.is_complete else 0
        since_ms, anchor = self._resume.since_ms, self._verifier.anchor
        try:
            await self._checkpoints.save(checkpoints_ms, ended, since_ms, anchor, listed_ms, everything=everything)
        except NoPermissionError:
            raise
        except _BROKER_AWAY as error:
            log.debug("checkpoints are not written: %s", error)
            self._everything_at = 0.0
            return
        if everything:
            self._everything_at = time.monotonic() + _EVERYTHING_SECONDS

    async def _look(self) -> Finding | None:
        """Look at the stream, and conclude what is to be concluded; None while the broker is away."""
        try:
            finding = await self._verifier.look()
        except NoPermissionError:
            raise
        except _BROKER_AWAY as error:
            log.debug("the stream cannot be looked at: %s", error)
            self._everything_at = 0.0
            return None
        self._has_looked = True
        if finding is not Finding.WHOLE:
            self._everything_at = 0.0
        if finding is Finding.BROKEN:
            log.warning("the broker lost what earlier lives published, perhaps: asking what is on disk")
            self._resume.doubt()
        return finding

    async def _read_changes(self) -> bool:
        """Read what ``candlewick symbols`` asked for; whether it is something new."""
        try:
            is_new = self._selection.change(await self._checkpoints.changes())
        except NoPermissionError:
            raise
        except _BROKER_AWAY:
            return False
        if is_new and self._selection.needs_list:
            self._list_at = 0.0
        return is_new

    async def _read_list(self, now_ms: int) -> None:
        """Read the exchange's list; keep the last one when that fails, or when the new one cannot be trusted."""
        every_seconds = self._selection.symbols_seconds
        try:
            found = await self._rest.listings()
            read_ms = await self._clock.ask(fresh=True)
        except (RestUnavailableError, RestRefusedError) as error:
            self._warn("the list of symbols cannot be read, trying again: %s", error)
            self._list_at = time.monotonic() + min(next(self._list_delays), every_seconds)
            return
        self._list_delays = backoff(_RETRY_LIST_SECONDS, every_seconds)
        self._list_at = time.monotonic() + every_seconds
        if self._selection.symbols.take(found, now_ms, read_ms):
            self._warn.reset()

    async def _apply(self, now_ms: int) -> None:
        """Listen to what is wanted, and to nothing else."""
        selection = self._selection
        added, gone = selection.update()
        for series in added:
            self._intake.revive(series, now_ms)
            self._resume.add(series)
        await self._listener.add_series(added)
        await self._listener.remove_series(gone)
        for series in gone:
            reason, delisted = selection.reason_gone(series)
            end_ms = max(now_ms, selection.symbols.read_ms)
            for fact in self._intake.tracker.end(series, end_ms, reason, with_open=delisted):
                self._intake.take_fact(fact)
        if added and selection.symbols.listed_before_ms:
            names = [f"{series.symbol}-{series.interval}" for series in added]
            log.info("recording %d more series: %s", len(added), listed(names))
        for symbol in selection.unlisted(selection.wanted):
            self._warn_name("%s lists no %s: recorded as far as it comes", selection.market, symbol)
        for pattern in selection.unmatched():
            self._warn_name("%s lists nothing that fits %s", selection.market, pattern)
