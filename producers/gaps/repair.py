"""Missing candles, fetched over REST and sent down the same path as all others.

The loop asks the gap tracker what is missing at the exchange's time and puts as many questions at a time as the
settings allow. What comes is handed to the same intake, in the same form, and only while the publisher's buffer is at
most half full: live candles go first. A row is taken only when the exchange's own clock, asked before the row was, is
past its end and grace, because the last row of an answer is normally still open and nothing marks it.

What other producers of the market have published meanwhile is not missing: they are looked at before the exchange is.

The newest event time of the WebSocket says when there may be something to ask; ``/time`` decides, and steps in when the
WebSocket says nothing. So a healthy market costs no request at all, and a frame with a wrong time costs one. When the
exchange cannot be asked, all questions wait together, with back-off, and one line says so.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence

from producers.exchange.clock import ExchangeClock
from producers.exchange.rest import RestClient
from producers.gaps.intake import Intake
from producers.gaps.state import Question
from shared.candle import Series
from shared.errors import RestRefusedError, RestUnavailableError
from shared.interval import utc
from shared.process.backoff import backoff
from shared.process.once import SayOnce
from shared.process.tasks import Tasks
from shared.series_fact import SeriesFact
from shared.settings.sections import RepairSettings

log = logging.getLogger(__name__)

_PAUSE_SECONDS = 0.25
_LOOK_MS = 1000  # by its clock or ours, between two looks at all series that find nothing to ask
_CLOSED_SECONDS = 5.0  # another process may learn earlier than we that a pool is open again
_REPEAT_WARNING_SECONDS = 60.0
_TROUBLE_SECONDS = 90.0  # questions that wait are put again sooner than this


LookAtOthers = Callable[[Sequence[Series]], Awaitable[None]]


class Repairer:
    """Fetches what the tracker misses over ``rest`` and hands it to the intake, until it is cancelled.

    ``look_at_others`` is told which series lack something, before the exchange is asked, and tells the tracker what
    others have published of them.
    """

    def __init__(
        self,
        intake: Intake,
        rest: RestClient,
        clock: ExchangeClock,
        settings: RepairSettings,
        look_at_others: LookAtOthers | None = None,
    ) -> None:
        self._look_at_others = look_at_others
        self._intake = intake
        self._tracker = intake.tracker
        self._rest = rest
        self._clock = clock
        self._grace_ms = int(settings.grace_seconds * 1000)
        self._max_questions = settings.requests_at_once
        self._delays = iter(backoff())
        self._resume_at = 0.0
        self._nothing_ms, self._nothing_at = 0, 0.0  # when there was no question, by the exchange's clock and by ours
        self._trouble, self._trouble_at = "", 0.0
        self._warn = SayOnce(log.warning, _REPEAT_WARNING_SECONDS)

    @property
    def trouble(self) -> str:
        """Why nothing can be fetched now; empty when the last question was answered, or none was put for long."""
        return self._trouble if time.monotonic() - self._trouble_at < _TROUBLE_SECONDS else ""

    async def run(self) -> None:
        """Repair for as long as the process lives."""
        async with Tasks() as asking:
            while True:
                await self._round(asking)
                if asking.running:
                    await asyncio.wait(asking.running, timeout=_PAUSE_SECONDS, return_when=asyncio.FIRST_COMPLETED)
                else:
                    await asyncio.sleep(_PAUSE_SECONDS)

    async def _round(self, asking: Tasks) -> None:
        """Put as many questions as there is room for."""
        free = self._max_questions - len(asking.running)
        if free <= 0 or time.monotonic() < self._resume_at or not self._intake.has_room:
            return
        if not self._clock.is_stale() and not self._has_question(self._clock.now_ms):
            return
        try:
            now_ms = await self._clock.ask()
        except RestUnavailableError as error:
            self._wait(error)
            return
        questions = self._tracker.questions(now_ms)
        if questions and self._look_at_others is not None:
            await self._look_at_others([question.series for question in questions if not question.again])
            questions = self._tracker.questions(now_ms)
        for question in questions[:free]:
            self._tracker.start(question)
            asking.start(self._put(question, now_ms))

    def _has_question(self, now_ms: int) -> bool:
        """Whether there is a question, as far as it is time to look for one."""
        at = time.monotonic()
        if abs(now_ms - self._nothing_ms) < _LOOK_MS and at - self._nothing_at < _LOOK_MS / 1000:
            return False
        found = self._tracker.has_question(now_ms)
        self._nothing_ms, self._nothing_at = (0, 0.0) if found else (now_ms, at)
        return found

    async def _put(self, question: Question, now_ms: int) -> None:
        """Put one question, and take its answer in. An internal error ends this question, and no other."""
        try:
            answer = await self._rest.klines(question.series, question.page, now_ms - self._grace_ms)
        except RestUnavailableError as error:
            self._tracker.put_back(question)
            self._wait(error)
        except RestRefusedError as error:
            log.warning("%s cannot be repaired: %s", question.series, error)
            self._tell(self._tracker.give_up(question, now_ms))
        except BaseException as error:
            self._tracker.put_back(question)
            if not isinstance(error, Exception):
                raise
            log.exception("an internal error while %s was repaired", question.series)
        else:
            self._delays, self._trouble = iter(backoff()), ""
            wanted = [candle for candle in answer.candles if self._tracker.is_wanted(candle)]
            taken = [candle for candle in wanted if self._intake.take(candle)]
            self._tell(self._tracker.take_answer(question, answer, taken, now_ms))
            if taken:
                level = logging.INFO if any(candle.trade_num for candle in taken) else logging.DEBUG
                first = utc(taken[0].open_time_ms)
                log.log(level, "repaired %d candles of %s from %s", len(taken), question.series, first)

    def _tell(self, facts: Iterable[SeriesFact]) -> None:
        for fact in facts:
            self._intake.take_fact(fact)

    def _wait(self, error: RestUnavailableError) -> None:
        """The exchange cannot be asked: let all questions wait, and say so once a minute."""
        now = self._trouble_at = time.monotonic()
        self._trouble = str(error)
        if error.seconds:
            self._resume_at = max(self._resume_at, now + min(error.seconds, _CLOSED_SECONDS))
        elif now >= self._resume_at:  # one that was under way with others that failed counts once
            self._resume_at = now + next(self._delays)
        self._warn("nothing can be repaired now: %s", error, same="trouble")
