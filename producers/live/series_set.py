"""Which series are recorded, kept up to date while it runs, and where each of them continues.

Series come from three sources: the names and patterns of the settings, what ``candlewick symbols`` added or removed
(kept in the broker, so it reaches every host and lasts), and the exchange's own list, read again every few minutes. A
name is recorded at once, without asking anybody; patterns wait for the list. A series that the exchange lists with a
status in which it is not traded, or lists no longer, ends: what is missing of it is fetched once more, its end is noted
with the reason, and nothing else changes.

Where a series continues, in this order: where its producers last knew it to be safe; where its newest candle on disk
ends, if the broker has forgotten; the first candle of a symbol that was listed after the list was last read; as far
back as the settings' history says; now.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import NamedTuple

from redis.exceptions import RedisError

from producers.exchange.clock import MarketTime, exchange_time
from producers.exchange.rest import RestClient, RestRefusedError, RestUnavailableError
from producers.exchange.symbols import NOT_LISTED, Listing
from producers.gaps.tracker import Completeness
from producers.live.checkpoints import Known, Progress
from producers.live.listener import CandleListener
from producers.live.selection import Change, needs_listings, resolve
from producers.live.share import Share
from shared.broker.client import CONNECTION_ERRORS
from shared.candle import Series
from shared.market import Market
from shared.series_fact import Note, NoteKind
from shared.settings.model import RecordGroup, Settings

log = logging.getLogger(__name__)

_LOOK_SECONDS = 1.0  # how soon a change that somebody asked for is noticed, and progress is saved
_EVERYTHING_SECONDS = 60.0
_WRITER_SECONDS = 10.0  # how long a first start waits for a writer to say what is on disk
_NAMES_SHOWN = 5
_FEW = 10
_DOUBTED_READS = 3  # how often a list is doubted that lacks half of more than a few symbols
_GONE = "no longer listed"
_BROKER_AWAY = (*CONNECTION_ERRORS, RedisError)


class _Added(NamedTuple):
    """When a series came to be wanted.

    Attributes:
        time_ms: the newest time of the exchange that was known then; 0 for none.
        listed_before_ms: when the exchange's list had been read before the one that named it; None: never.
    """

    time_ms: int
    listed_before_ms: int | None


class Roster:
    """Keeps a listener and the account of completeness to the series that are to be recorded.

    Args:
        market: which.
        settings: what is recorded, and how often the list is read.
        share: this process's part of the series.
        listener: is told which series to listen to.
        completeness: is told which series to expect, and from when.
        progress: what the broker knows.
        rest: the exchange's list.
        clock: the exchange's time.
        publish: called with the beginning and the end of each series.
        look: called before progress is saved; makes sure that what the broker has lost is not safe any more, and says
            whether it may have lost anything.
    """

    def __init__(
        self,
        market: Market,
        settings: Settings,
        share: Share,
        listener: CandleListener,
        completeness: Completeness,
        progress: Progress,
        rest: RestClient,
        clock: MarketTime,
        publish: Callable[[Note], None],
        look: Callable[[], Awaitable[bool]],
    ) -> None:
        self._market = market
        self._settings = settings
        self._share = share
        self._listener = listener
        self._completeness = completeness
        self._progress = progress
        self._rest = rest
        self._clock = clock
        self._publish = publish
        self._look = look
        self._groups = settings.groups(market)
        self._changes: Sequence[Change] = ()
        self._listings: Mapping[str, Listing] | None = None  # by symbol
        self._listed_ms = self._read_ms = 0
        self._listed_before_ms: int | None = None
        self._looked_back = False
        self._wanted: dict[Series, RecordGroup | None] = {}
        self._added: dict[Series, _Added] = {}
        self._last_life: Known | None = None
        self._ended: dict[Series, int] = {}
        self._unsure: set[Series] = set()
        self._began_at = time.monotonic()
        self._list_at = self._everything_at = 0.0
        self._warned = ""
        self._doubted = 0

    def tell(self, note: Note) -> None:
        """Publish what was found out about a series; one that ended is remembered as ended."""
        self._publish(note)
        if note.kind is NoteKind.ENDED and note.series not in self._wanted:
            self._ended[note.series] = note.from_ms
            log.warning("%s is not recorded any more: %s", note.series, note.reason)

    async def run(self) -> None:
        """Keep everything up to date for as long as the process lives."""
        await self._look_at_changes()
        await self._apply(0)
        while True:
            due = time.monotonic() >= self._list_at
            if await self._look_at_changes() or due:
                now_ms = await exchange_time(self._clock)
                if due:
                    await self._read_list(now_ms)
                await self._apply(now_ms)
            await self._begin()
            await self.save()
            await asyncio.sleep(_LOOK_SECONDS)

    async def _begin(self) -> None:
        """Expect what is listened to, from where it continues; what cannot be told yet is asked about again."""
        new = [series for series in self._wanted if not self._completeness.is_resolved(series)]
        look_back = self._listings is not None and not self._looked_back
        if not new and not self._unsure and not look_back:
            return
        now_ms = await exchange_time(self._clock)
        for series in new:
            since_ms = self._added[series].time_ms or self._clock.heard_since_ms or now_ms
            self._completeness.begin(series, min(since_ms, now_ms))
        try:
            known = await self._progress.load()
            if new:
                await self._progress.begin({series: self._completeness.began_ms(series) for series in new})
        except _BROKER_AWAY as error:
            log.debug("where to continue is not known yet: %s", error)
            return
        self._last_life = self._last_life or known
        self._believe_the_disk(known)
        try:
            for series in sorted(new, key=known.is_new):  # those first that nobody has to be asked about
                await self._continue(series, known, now_ms)
        except RestUnavailableError as error:  # asking about the next one would only wait once more
            log.debug("the beginning of some series is not known yet: %s", error)
            return
        if look_back:
            self._finish_what_ended(known, now_ms)
            self._looked_back = True

    async def save(self) -> None:
        """Write the progress of every series to the broker; while it is away, nothing happens."""
        if self._last_life is None:
            return  # what the last life left behind has not been read yet
        try:
            everything = await self._look() or time.monotonic() >= self._everything_at
            safe = {
                series: safe_to
                for series in self._completeness.series
                if series not in self._unsure and (safe_to := self._completeness.progress(series)) is not None
            }
            has_begun = all(self._completeness.is_resolved(series) for series in self._wanted)
            listed_ms = self._listed_ms if has_begun else 0  # the next life must still know what is newly listed
            await self._progress.save(safe, self._ended, listed_ms, everything=everything)
        except _BROKER_AWAY as error:
            log.debug("progress is not saved: %s", error)
            self._everything_at = 0.0
            return
        if everything:
            self._everything_at = time.monotonic() + _EVERYTHING_SECONDS

    async def _look_at_changes(self) -> bool:
        """Read what ``candlewick symbols`` asked for; whether it is something new."""
        try:
            changes = await self._progress.changes()
        except _BROKER_AWAY:
            return False
        if changes == self._changes:
            return False
        self._changes = changes
        if self._listings is None and needs_listings(self._groups, changes):
            self._list_at = 0.0
        return True

    async def _read_list(self, now_ms: int) -> None:
        """Read the exchange's list; keep the last one when that fails, or when the new one cannot be trusted."""
        try:
            found = await self._rest.listings()
            read_ms = await self._clock.ask(fresh=True)  # whatever the list says has happened by then
        except (RestUnavailableError, RestRefusedError) as error:
            if str(error) != self._warned:
                self._warned = str(error)
                log.warning("the list of symbols cannot be read, trying again: %s", error)
            self._list_at = time.monotonic() + min(10.0, self._settings.exchange.symbols_seconds)
            return
        self._list_at = time.monotonic() + self._settings.exchange.symbols_seconds
        known = self._listings or {}
        before = {one.symbol for one in known.values() if one.is_recorded}
        still = {one.symbol for one in found if one.is_recorded} & before
        self._doubted = self._doubted + 1 if len(before) > _FEW and len(still) * 2 < len(before) else 0
        if 0 < self._doubted <= _DOUBTED_READS:
            log.error("of %d symbols the exchange lists %d as traded: not believed yet", len(before), len(still))
            return
        gone = {symbol: Listing(symbol, NOT_LISTED) for symbol in known}
        self._listings = gone | {one.symbol: one for one in found}
        self._listed_before_ms, self._listed_ms, self._read_ms = self._listed_ms or None, now_ms, read_ms
        self._warned = ""

    async def _apply(self, now_ms: int) -> None:
        """Listen to what is wanted, and to nothing else."""
        listings = None if self._listings is None else list(self._listings.values())
        resolved = resolve(self._market, self._groups, self._changes, listings)
        wanted = {series: group for series, group in resolved.items() if series in self._share}
        added = [series for series in wanted if series not in self._wanted]
        gone = [series for series in self._wanted if series not in wanted]
        self._wanted = wanted
        for series in added:
            self._ended.pop(series, None)
            if self._completeness.is_ending(series):
                self._completeness.begin(series, now_ms)  # taken up again: it does not end after all
            self._added[series] = _Added(self._clock.now_ms, self._listed_before_ms)
        await self._listener.add_series(added)
        await self._listener.remove_series(gone)
        for series in gone:
            reason, delisted = self._reason(series)
            for note in self._completeness.end(series, max(now_ms, self._read_ms), reason, with_open=delisted):
                self.tell(note)
        if added and self._listed_before_ms:
            log.info("recording %d more series: %s", len(added), _names(added))
        unlisted = sorted({series.symbol for series in added} - (self._listings or {}).keys())
        if unlisted and self._listings is not None:
            log.warning("%s lists no %s: recorded as far as it comes", self._market, ", ".join(unlisted[:_NAMES_SHOWN]))

    def _listing(self, series: Series) -> Listing | None:
        """What the exchange lists of a series' symbol; None when it lists nothing, or its list is not known."""
        return (self._listings or {}).get(series.symbol)

    def _reason(self, series: Series) -> tuple[str, bool]:
        """Why a series is not wanted any more, and whether that is the exchange's doing."""
        listing = self._listing(series)
        if listing is None or listing.is_recorded:
            return "removed", False
        return (_GONE if listing.status == NOT_LISTED else f"its status is {listing.status}"), True

    async def _continue(self, series: Series, known: Known, now_ms: int) -> None:
        """Tell the account of a series from where on it is expected, unless that has to wait.

        Raises:
            RestUnavailableError: when the exchange has to be asked, and cannot be.
        """
        safe_to = known.safe_to_ms.get(series)
        stored_to = (known.stored_to_ms or {}).get(series)
        if safe_to is not None:
            self._completeness.resolve(series, safe_to)
            if series in known.ended:
                self._begin_note(series, safe_to, now_ms)
            return
        began_ms = known.began_ms.get(series)
        if stored_to is not None and began_ms is None:
            self._completeness.resolve(series, stored_to)
            self._begin_note(series, stored_to, now_ms)
            return
        if known.stored_to_ms is None:
            if time.monotonic() - self._began_at < _WRITER_SECONDS:
                return
            self._unsure.add(series)
        starts = (await self._first_start_ms(series, now_ms), began_ms, stored_to)
        from_ms = min((start for start in starts if start is not None), default=None)
        self._begin_note(series, self._completeness.resolve(series, from_ms, reaches_back=True), now_ms)

    def _begin_note(self, series: Series, from_ms: int, now_ms: int) -> None:
        self.tell(Note(series, NoteKind.BEGAN, from_ms, from_ms, now_ms))

    async def _first_start_ms(self, series: Series, now_ms: int) -> int | None:
        """From when a series is wanted that was never recorded; None: from now."""
        listed_before = self._added[series].listed_before_ms or (self._last_life and self._last_life.listed_ms)
        if listed_before and self._listings is not None:
            first_ms = await self._first_kline_ms(series)
            if first_ms is not None and series.interval.end(series.interval.floor(first_ms)) > listed_before:
                return first_ms
        group = self._wanted.get(series)
        history = self._settings.history_ms(group) if group is not None else 0
        return now_ms - history if history else None

    async def _first_kline_ms(self, series: Series) -> int | None:
        listing = self._listing(series)
        if listing is not None and listing.onboard_ms is not None:
            return listing.onboard_ms
        try:
            return await self._rest.first_open_ms(series)
        except RestRefusedError:
            return None

    def _believe_the_disk(self, known: Known) -> None:
        """Series that began before any writer had spoken continue from the disk after all."""
        if known.stored_to_ms is None:
            return
        for series in self._unsure:
            stored_to = known.stored_to_ms.get(series)
            if stored_to is not None and series in self._completeness:
                self._completeness.resolve(series, stored_to)
        self._unsure.clear()

    def _finish_what_ended(self, known: Known, now_ms: int) -> None:
        """Series that ended while nobody listened: fetch what is missing of them and note their end."""
        for series, safe_to in known.safe_to_ms.items():
            listing = self._listing(series)
            if series in self._wanted or series in known.ended or series not in self._share:
                continue
            if listing is not None and not listing.is_recorded:
                self._completeness.begin(series, now_ms)
                self._completeness.resolve(series, safe_to)
                reason = f"its status is {listing.status}"
                for note in self._completeness.end(series, now_ms, reason, with_open=True):  # it may be its last
                    self.tell(note)


def _names(series: Sequence[Series]) -> str:
    names = [f"{one.symbol}-{one.interval}" for one in series[:_NAMES_SHOWN]]
    return ", ".join(names) + (", …" if len(series) > _NAMES_SHOWN else "")
