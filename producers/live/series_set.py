"""The set of series that a producer records, kept up to date while it runs.

Series come from three sources: the names and patterns of the settings, what ``candlewick symbols`` added or removed
(kept in the broker, so it reaches every host and lasts), and the exchange's own list, read again every few minutes.
A series that is not wanted any more ends: what is missing of it is fetched once more, its end is noted with the reason,
and nothing else changes. Where a series continues, ``producers.live.resume`` finds out.

Of what is wanted, this process records its share (``producers.live.members``). It takes a series over at its
checkpoint, and gives one up when its owners deliver it; a series that only changes hands does not end.
"""

import asyncio
import logging
import time
from collections.abc import Sequence

from redis.exceptions import NoPermissionError, RedisError

from producers.exchange.clock import ExchangeClock
from producers.exchange.rest import RestClient
from producers.gaps.intake import Intake
from producers.live.checkpoints import Checkpoints
from producers.live.connections import CandleListener
from producers.live.resume import Resume
from producers.live.selection import Selection, Update
from producers.live.sharing import Sharing
from producers.publish.continuity import Finding
from producers.publish.verify import IDLE, StreamVerifier
from shared.broker.client import CONNECTION_ERRORS
from shared.candle import Series
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
        sharing: Sharing,
    ) -> None:
        self.taken_over = self.given_up = 0  # how many series were, since the process started
        self._selection = selection
        self._listener = listener
        self._intake = intake
        self._checkpoints = checkpoints
        self._verifier = verifier
        self._rest = rest
        self._clock = clock
        self._sharing = sharing
        self._formed_at = 0.0  # when this process came to go by the members that it goes by
        self._others_began_ms = 0  # by the list that was read then, every series of all others has begun
        self._resume = Resume(selection, checkpoints, rest, clock, intake)
        self._list_at = self._everything_at = 0.0
        self._saved_at, self._published_saved = 0.0, 0
        self._has_looked = False  # what is read of the broker before the first look may be lost unseen
        self._list_delays = backoff(_RETRY_LIST_SECONDS, selection.symbols_seconds)
        self._warn = SayOnce(log.warning)
        self._warn_name = SayOnce(log.warning)

    async def run(self, look_seconds: float = _LOOK_SECONDS) -> None:
        """Keep everything up to date for as long as the process lives; it looks after that every ``look_seconds``."""
        await self._sharing.first_look()
        await self._read_changes()
        await self._apply(0)
        while True:
            due = time.monotonic() >= self._list_at
            is_divided_anew = self._sharing.division is not self._selection.division
            if await self._read_changes() or due or is_divided_anew:
                now_ms = self._clock.now_ms if is_divided_anew and not due else await self._clock.known()
                if due:
                    await self._read_list(now_ms)
                await self._apply(now_ms)
            if self._has_looked or await self._look() is not None:
                await self._resume.look()
            pause = look_seconds * (IDLE if self._verifier.is_idle(self._published_saved) else 1)
            if time.monotonic() - self._saved_at >= pause:
                await self.save()
            await asyncio.sleep(look_seconds)

    async def save(self) -> None:
        """Write the checkpoint of every series to the broker; while it is away, nothing happens.

        What is written was known before the look that proves it, and names that look's anchor: whatever the broker
        loses meanwhile, the next life can tell.
        """
        if not self._resume.knows_last_life:
            return
        self._saved_at, self._published_saved = time.monotonic(), self._verifier.published
        checkpoints_ms, ended = self._resume.checkpoints(), dict(self._intake.ended)
        if await self._look() is not Finding.WHOLE:
            return  # published again first
        everything = time.monotonic() >= self._everything_at
        since_ms, anchor = self._resume.since_ms, self._verifier.anchor
        try:
            listed_ms = await self._complete_ms(anew=everything)
            await self._checkpoints.save(checkpoints_ms, ended, since_ms, anchor, listed_ms, everything=everything)
        except NoPermissionError:
            raise
        except _BROKER_AWAY as error:
            log.debug("checkpoints are not written: %s", error)
            self._everything_at = 0.0
            return
        if everything:
            self._everything_at = time.monotonic() + _EVERYTHING_SECONDS

    async def _complete_ms(self, *, anew: bool) -> int:
        """When the list was read last of which all series have begun, of others too; 0: not known to be so.

        The next life must still know what is newly listed: no time of a list before.
        """
        listed_ms = self._selection.symbols.listed_ms
        if not self._resume.is_complete:
            return 0
        if self._selection.division.is_shared and self._others_began_ms != listed_ms:
            if not anew:
                return 0
            begun = (await self._checkpoints.load()).checkpoints_ms.keys()
            if not begun >= self._selection.all_wanted.keys() - self._selection.wanted.keys():
                return 0
            self._others_began_ms = listed_ms
        return listed_ms

    async def look_at_others(self, series: Sequence[Series]) -> None:
        """What other producers have published of some series is not missing here; while the broker is away, nothing."""
        if not self._selection.division.is_shared or not series:
            return
        try:
            known = await self._checkpoints.published_to(series)
        except NoPermissionError:
            raise
        except _BROKER_AWAY as error:
            log.debug("what others have published is not known: %s", error)
            return
        for one, to_ms in known.checkpoints_ms.items():
            self._intake.tracker.mark_published_elsewhere(one, known.since_ms.get(one, 0), to_ms)

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
            self._intake.tracker.doubt_elsewhere()
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
        """Listen to what is wanted and this process's, and to nothing else."""
        division = self._sharing.division
        if division.digest != self._selection.division.digest:
            self._formed_at = time.monotonic()
            self._resume.look_back()
        update = self._selection.update(division)
        for series in self._intake.ended.keys() & self._selection.all_wanted.keys():
            self._intake.revive(series, now_ms)  # whoever records it now
        others = self._selection.all_wanted.keys() - self._selection.wanted.keys()
        for series in filter(self._intake.tracker.is_ending, others):
            self._intake.tracker.release(series)  # it is recorded after all, by somebody else
        await self._take_up(update, now_ms)
        await self._let_go(update, now_ms)
        self._say(update)

    async def _take_up(self, update: Update, now_ms: int) -> None:
        """Listen to what has come, and find out where it continues."""
        for series in (*update.added, *update.taken_over):
            self._intake.revive(series, now_ms)
        for series in update.added:
            self._resume.add(series)
        for series in update.taken_over:
            self._resume.take_over(series)
        await self._listener.add_series((*update.added, *update.taken_over))

    async def _let_go(self, update: Update, now_ms: int) -> None:
        """Listen no longer to what others record now, and end what nobody does."""
        selection = self._selection
        await self._listener.remove_series((*update.given_up, *update.gone))
        for series in update.given_up:
            self._intake.tracker.release(series)
            self._resume.release(series)
        for series in update.gone:
            reason, delisted = selection.reason_gone(series)
            end_ms = max(now_ms, selection.symbols.read_ms)
            for fact in self._intake.tracker.end(series, end_ms, reason, with_open=delisted):
                self._intake.take_fact(fact)

    def _say(self, update: Update) -> None:
        """What has changed, and what names say nothing to the exchange."""
        selection = self._selection
        self.taken_over += len(update.taken_over)
        self.given_up += len(update.given_up)
        is_later = bool(selection.symbols.listed_before_ms)
        texts = (
            ("recording %d more series: %s", update.added if is_later else ()),
            ("taking over %d series: %s", update.taken_over),
            ("%d series are others' now: %s", update.given_up),
        )
        for text, series in texts:
            if series:
                log.info(text, len(series), listed([f"{one.symbol}-{one.interval}" for one in series]))
        for symbol in selection.unlisted(selection.wanted):
            self._warn_name("%s lists no %s: recorded as far as it comes", selection.market, symbol)
        for pattern in selection.unmatched():
            self._warn_name("%s lists nothing that fits %s", selection.market, pattern)

    @property
    def settled_in(self) -> str:
        """The set of members (``Division.digest``) of which this process delivers its whole share; empty: of none."""
        selection, division = self._selection, self._selection.division
        mine = (series for series in selection.wanted if division.is_mine(series))
        is_settled = (
            division.is_shared
            and division.digest == self._sharing.division.digest
            and not selection.needs_list
            and self._listener.delivers_since(self._formed_at)
            and all(self._intake.tracker.is_resumed(series) for series in mine)
        )
        return division.digest if is_settled else ""

    @property
    def is_handed_over(self) -> bool:
        """Whether others deliver all that this process records."""
        return all(self._sharing.division.is_delivered(series) for series in self._selection.wanted)
