"""Where each series continues after a start, and what ended while nobody listened.

In this order: at its checkpoint; where its candles on disk end, or have their first hole, if the broker has lost it or
the stream that it speaks of; when the list was last read without a symbol that is traded now; as far back as
``history`` says, or now. Only the first start of a series looks back.

A broker may lose a stream at any time (``doubt``). What this process published it publishes again; what an earlier life
published, and no writer has stored, nobody holds. So each series continues once more where the disk has it, and until
a writer has told where that is, no checkpoint is written.

When a symbol began to be traded, no field of a listing tells for sure: dates are wrong or missing, a status may come
early or late, a name may come back. So whatever was not traded at the last reading is asked for from that reading on,
and where the exchange refuses that, later. What the last life saw as traded is not written down. It is asked whether
the symbol had a kline then.
"""

import logging
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from redis.exceptions import NoPermissionError, RedisError

from producers.exchange.clock import ExchangeClock
from producers.exchange.page import Page
from producers.exchange.rest import RestClient
from producers.gaps.intake import Intake
from producers.live.checkpoints import Checkpoints
from producers.live.known import Known
from producers.live.selection import Selection
from shared.broker.client import CONNECTION_ERRORS
from shared.candle import Series
from shared.errors import RestRefusedError, RestUnavailableError
from shared.interval import HOUR_MS, Interval
from shared.series_fact import FactKind, SeriesFact

log = logging.getLogger(__name__)

_WRITER_SECONDS = 10.0  # how long a first start waits for a writer to say what is on disk


class _Added(NamedTuple):
    """How a series came to be wanted: at which time of the exchange's, and what the reading before said."""

    at_ms: int
    listed_before_ms: int | None  # None: there was none in this life
    was_traded: bool | None  # None: as far back as this life has read, or there was no reading before


class Resume:
    """Finds out where each wanted series continues, and tells the gap tracker.

    ``rest`` is asked whether a symbol was traded at a time; ``intake`` takes the beginning and the end of each series.
    """

    def __init__(
        self, selection: Selection, checkpoints: Checkpoints, rest: RestClient, clock: ExchangeClock, intake: Intake
    ) -> None:
        self._selection = selection
        self._checkpoints = checkpoints
        self._rest = rest
        self._clock = clock
        self._intake = intake
        self._tracker = intake.tracker
        self._began_at = time.monotonic()
        self._added: dict[Series, _Added] = {}
        self._last_life: Known | None = None
        self._traded_then: dict[str, bool] = {}  # what the exchange said of symbols and the last life's list
        self._since_ms: dict[Series, int] = {}
        self._unsure: set[Series] = set()  # no checkpoint of these before a writer has told what is on disk
        self._question = ""  # what writers were asked last, and for which series
        self._asked_for: set[Series] = set()
        self._has_looked_back = False
        self._finished: set[Series] = set()  # what ended while nobody listened, and was taken up to be ended

    @property
    def knows_last_life(self) -> bool:
        """Whether it has been read what the last life left behind; before that nothing may be written over it."""
        return self._last_life is not None

    @property
    def is_complete(self) -> bool:
        """Whether it is known of all wanted series where they continue."""
        return all(self._tracker.is_resumed(series) for series in self._selection.wanted)

    def checkpoints(self) -> dict[Series, int]:
        """Up to where each series is published without a gap, of those of which that may be said."""
        return {
            series: published_to
            for series in self._tracker.series
            if series not in self._unsure and (published_to := self._tracker.checkpoint(series)) is not None
        }

    @property
    def since_ms(self) -> Mapping[Series, int]:
        """Since when series are recorded, as far as that is known."""
        return self._since_ms

    def doubt(self) -> None:
        """The broker may have lost what earlier lives published: ask the disk where every series continues."""
        self._unsure.update(self._tracker.series)
        self._has_looked_back = False
        self._asked_for.clear()
        self._finished.clear()
        self._intake.ended.clear()

    def add(self, series: Series) -> None:
        """A series has come to be wanted now, by the list as it was read last."""
        symbols = self._selection.symbols
        self._added[series] = _Added(self._clock.now_ms, symbols.listed_before_ms, symbols.was_traded(series.symbol))

    def take_over(self, series: Series) -> None:
        """A series has come to this process that another one may never have begun to record."""
        unseen_ms = self._selection.symbols.unseen_ms(series.symbol)
        self._added[series] = _Added(self._clock.now_ms, unseen_ms, None if unseen_ms is None else False)

    def release(self, series: Series) -> None:
        """Others record a series now."""
        self._unsure.discard(series)

    def look_back(self) -> None:
        """Others may have left something that ended, and was not ended."""
        self._has_looked_back = False

    async def look(self) -> None:
        """Expect what is wanted, from where it continues; what cannot be told yet is looked for again."""
        new = [series for series in self._selection.wanted if not self._tracker.is_resumed(series)]
        looks_back = self._selection.symbols.by_symbol is not None and not self._has_looked_back
        if not new and not self._unsure and not looks_back:
            return
        now_ms = await self._clock.known()
        for series in new:
            since_ms = self._added[series].at_ms or self._clock.heard_since_ms or now_ms
            self._tracker.expect(series, min(since_ms, now_ms))
        try:
            known = await self._load(new)
            if new:
                await self._checkpoints.note_beginnings({series: self._tracker.began_ms(series) for series in new})
        except NoPermissionError:
            raise
        except (*CONNECTION_ERRORS, RedisError) as error:
            log.debug("where to continue is not known yet: %s", error)
            return
        self._last_life = self._last_life or known
        self._believe_the_disk(known, now_ms)
        try:
            for series in sorted(new, key=known.is_new):  # those first that nobody has to be asked about
                await self._resume(series, known, now_ms)
        except RestUnavailableError as error:  # asking about the next one would only wait once more
            log.debug("the beginning of some series is not known yet: %s", error)
            return
        if looks_back:
            self._finish_what_ended(known, now_ms)
            self._has_looked_back = known.stored_to_ms is not None

    async def _load(self, new: Sequence[Series]) -> Known:
        """What the broker knows; of the disk, where that decides, only what writers have answered to our question."""
        known = await self._checkpoints.load()
        needing = self._unsure | {series for series in new if self._needs_disk(series, known)}
        if not self._has_looked_back and self._selection.symbols.by_symbol is not None:
            needing |= known.doubtful_ms.keys()
        if not needing:
            return known
        is_overwritten = known.asked != self._question and known.asked in ("", known.answered)
        if not needing <= self._asked_for or (is_overwritten and known.answered != self._question):
            self._question, self._asked_for = uuid.uuid4().hex[:12], needing
            await self._checkpoints.ask_disk(self._question)
        return known if known.answered == self._question else replace(known, stored_to_ms=None)

    def _needs_disk(self, series: Series, known: Known) -> bool:
        """Whether it takes a fresh look at the disk to tell where a series continues."""
        is_start = self._added[series].was_traded is None
        return known.needs_disk(series) or (is_start and series not in known.checkpoints_ms)

    async def _resume(self, series: Series, known: Known, now_ms: int) -> None:
        """Tell the tracker from where on a series is expected, unless that has to wait for a writer or the exchange."""
        checkpoint_ms = known.checkpoints_ms.get(series)
        began_ms = known.began_ms.get(series)
        if series in known.since_ms:
            self._since_ms[series] = known.since_ms[series]
        if checkpoint_ms is not None:
            self._tracker.resume(series, checkpoint_ms)
            if series in known.ended:
                self._note_beginning(series, checkpoint_ms, now_ms)
            return
        is_known = began_ms is None and not known.is_new(series)
        if is_known and known.stored_to_ms is not None:
            self._note_beginning(series, self._tracker.resume(series, known.safe_ms(series)), now_ms)
            return
        if known.stored_to_ms is None:
            if time.monotonic() - self._began_at < _WRITER_SECONDS:
                return
            self._unsure.add(series)
        if is_known:
            self._tracker.resume(series, known.doubtful_ms[series])
            return
        starts = (await self._first_start_ms(series, now_ms), began_ms, known.safe_ms(series))
        from_ms = min((start for start in starts if start is not None), default=None)
        self._note_beginning(series, self._tracker.resume(series, from_ms, may_begin_later=True), now_ms)

    def _note_beginning(self, series: Series, from_ms: int, now_ms: int) -> None:
        self._since_ms[series] = min(from_ms, self._since_ms.get(series, from_ms))
        self._intake.take_fact(SeriesFact(series, FactKind.BEGAN, from_ms, from_ms, now_ms))

    async def _first_start_ms(self, series: Series, now_ms: int) -> int | None:
        """From when a series is wanted that was never recorded; None: from now."""
        _, listed_ms, was_traded = self._added[series]
        if was_traded is None and self._last_life is not None and self._selection.symbols.by_symbol is not None:
            listed_ms = self._last_life.listed_ms
            was_traded = listed_ms is None or await self._was_traded_at(series, listed_ms)
        if was_traded is False:
            return listed_ms
        history_ms = self._selection.history_ms(series)
        return now_ms - history_ms if history_ms else None

    async def _was_traded_at(self, series: Series, time_ms: int) -> bool:
        """Whether the exchange has a kline of a symbol that had ended by a time, and not long before it."""
        if series.symbol in self._traded_then:
            return self._traded_then[series.symbol]
        minutes = Series(series.market, series.symbol, Interval.M1)
        end_ms = Interval.M1.floor(time_ms)
        try:
            answer = await self._rest.klines(minutes, Page(end_ms - HOUR_MS, end_ms, 1, end_ms), time_ms)
            was_traded = bool(answer.candles or answer.odd)
        except RestRefusedError:
            was_traded = False
        self._traded_then[series.symbol] = was_traded
        return was_traded

    def _believe_the_disk(self, known: Known, now_ms: int) -> None:
        """Series of which the broker did not know, or may have lost something, continue from the disk after all."""
        if known.stored_to_ms is None:
            return
        for series in sorted(self._unsure):
            since_ms = self._since_ms.get(series)
            from_ms = known.stored_to_ms.get(series, since_ms)
            if from_ms is not None and series in self._tracker and self._tracker.is_resumed(series):
                self._note_beginning(series, self._tracker.resume(series, from_ms), now_ms)
                if series in known.stored_to_ms:
                    self._tracker.mark_stored(series, from_ms)
        self._unsure.clear()

    def _finish_what_ended(self, known: Known, now_ms: int) -> None:
        """Series that ended while nobody listened: fetch what is missing of them and note their end."""
        selection = self._selection
        by_disk = {*known.doubtful_ms, *known.recorded} if known.stored_to_ms is not None else set()
        for series in sorted(by_disk | known.checkpoints_ms.keys()):
            listing = selection.listing(series)
            is_done = series in known.ended or series in self._finished or series in self._tracker
            if is_done or series in selection.all_wanted or not selection.is_mine(series):
                continue
            if listing is not None and not listing.is_recorded:
                self._finished.add(series)
                self._tracker.expect(series, now_ms)
                self._tracker.resume(series, known.checkpoints_ms.get(series, known.safe_ms(series)))
                reason = f"its status is {listing.status}"
                for fact in self._tracker.end(series, now_ms, reason, with_open=True):  # it may be its last
                    self._intake.take_fact(fact)
