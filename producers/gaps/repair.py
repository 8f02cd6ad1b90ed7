"""Missing candles, fetched over REST and sent down the same path as all others.

The loop asks ``Completeness`` what is missing at the exchange's time and puts as many questions at a time as the
settings allow. What comes is handed to the same publisher, in the same form, and only while its buffer is less than
half full: live candles go first. A row is taken only when the exchange's own clock, asked before the row was, is past
its end and grace, because the last row of an answer is normally still open and nothing marks it.

The newest event time of the WebSocket says when there may be something to ask; ``/time`` decides, and steps in when the
WebSocket says nothing. So a healthy market costs no request at all, and a frame with a wrong time costs one.

When the exchange cannot be asked, all questions wait together, with back-off, and one line says so.
"""

import asyncio
import logging
import time
from collections.abc import Callable

from producers.exchange.clock import MarketTime
from producers.exchange.rest import RestClient, RestRefusedError, RestUnavailableError
from producers.gaps.tracker import Ask, Completeness
from shared.candle import Candle
from shared.interval import utc
from shared.process.backoff import backoff
from shared.series_fact import Note
from shared.settings.model import RepairSettings

log = logging.getLogger(__name__)

_PAUSE_SECONDS = 0.25
_CLOSED_SECONDS = 5.0  # another process may learn earlier than we that a pool is open again
_REPEAT_WARNING_SECONDS = 60.0


class Repairer:
    """Fetches what is missing until it is cancelled.

    Args:
        completeness: what is missing.
        rest: where it is fetched.
        clock: the exchange's time.
        take: called with each fetched candle that is missing; says whether it was taken over.
        note: called with what was found absent or has ended.
        has_room: whether there is room for fetched candles beside live ones.
        settings: grace, and how many requests at a time.
    """

    def __init__(
        self,
        completeness: Completeness,
        rest: RestClient,
        clock: MarketTime,
        take: Callable[[Candle], bool],
        note: Callable[[Note], None],
        has_room: Callable[[], bool],
        settings: RepairSettings,
    ) -> None:
        self._completeness = completeness
        self._rest = rest
        self._clock = clock
        self._take = take
        self._note = note
        self._has_room = has_room
        self._grace_ms = int(settings.grace_seconds * 1000)
        self._most = settings.requests_at_once
        self._asking: set[asyncio.Task[None]] = set()
        self._delays = iter(backoff())
        self._resume_at = 0.0
        self._warned_at = -_REPEAT_WARNING_SECONDS

    async def run(self) -> None:
        """Repair for as long as the process lives."""
        try:
            while True:
                await self._round()
                await self._pause()
        finally:
            for task in self._asking:
                task.cancel()
            await asyncio.gather(*self._asking, return_exceptions=True)

    async def _round(self) -> None:
        """Put as many questions as there is room for."""
        if time.monotonic() < self._resume_at or len(self._asking) >= self._most or not self._has_room():
            return
        if not self._clock.is_stale and not self._completeness.wants(self._clock.now_ms):
            return
        try:
            now_ms = await self._clock.ask()
        except RestUnavailableError as error:
            self._trouble(error)
            return
        for ask in self._completeness.asks(now_ms)[: self._most - len(self._asking)]:
            self._completeness.under_way(ask)
            task = asyncio.create_task(self._put(ask, now_ms))
            self._asking.add(task)
            task.add_done_callback(self._done)

    async def _pause(self) -> None:
        """Wait a moment, or until a question has been answered."""
        if not self._asking:
            await asyncio.sleep(_PAUSE_SECONDS)
            return
        await asyncio.wait(self._asking, timeout=_PAUSE_SECONDS, return_when=asyncio.FIRST_COMPLETED)

    def _done(self, task: "asyncio.Task[None]") -> None:
        self._asking.discard(task)
        if not task.cancelled() and task.exception() is not None:
            log.error("a repair failed", exc_info=task.exception())

    async def _put(self, ask: Ask, now_ms: int) -> None:
        """Put one question, and take its answer in."""
        try:
            answer = await self._rest.klines(ask.series, ask.page, now_ms - self._grace_ms)
        except RestUnavailableError as error:
            self._completeness.put_back(ask)
            self._trouble(error)
            return
        except RestRefusedError as error:
            log.warning("%s cannot be repaired: %s", ask.series, error)
            self._tell(self._completeness.failed(ask, now_ms))
            return
        except BaseException:
            self._completeness.put_back(ask)
            raise
        self._back()
        taken = [candle for candle in answer.candles if self._completeness.is_missing(candle) and self._take(candle)]
        self._tell(self._completeness.answered(ask, answer, taken, now_ms))
        if taken:
            level = logging.INFO if any(candle.trade_num for candle in taken) else logging.DEBUG
            log.log(level, "repaired %d candles of %s from %s", len(taken), ask.series, utc(taken[0].open_time_ms))

    def _tell(self, notes: list[Note]) -> None:
        for note in notes:
            self._note(note)

    def _trouble(self, error: RestUnavailableError) -> None:
        """The exchange cannot be asked: let all questions wait, and say so once a minute."""
        now = time.monotonic()
        if error.seconds:
            self._resume_at = max(self._resume_at, now + min(error.seconds, _CLOSED_SECONDS))
        elif now >= self._resume_at:  # one that was under way with others that failed counts once
            self._resume_at = now + next(self._delays)
        if now - self._warned_at > _REPEAT_WARNING_SECONDS:
            self._warned_at = now
            log.warning("nothing can be repaired now: %s", error)

    def _back(self) -> None:
        self._delays = iter(backoff())
