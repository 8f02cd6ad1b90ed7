"""Candles, and notes about their series, to the broker: each is held until Redis has answered for it.

``put`` never waits, so a burst at a minute's end never holds up a socket; ``run`` sends what is held in pipelines. A
pipeline's answers are taken one by one: what was accepted is let go, the rest is sent again, in order. When a
connection breaks between a command and its answer, the candle is sent again and may stand in the stream twice;
storage is idempotent (docs/design.md, "Delivery"). What the broker has answered for is kept until writers have stored
it, should the broker lose it (``producers.publish.verify``).

The buffer is bounded. At the bound *new* candles are refused, not old ones thrown out: what is held stays one
unbroken run from the last candle that the broker has, and what is missing is one run behind it, which is repaired when
there is room again. The first refusal is logged at once, later a line for each series says how many and from when to
when.
"""

import asyncio
import contextlib
import logging
import random
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice

from redis.exceptions import RedisError

from producers.publish.resend_buffer import Kept
from shared.broker.client import CONNECTION_ERRORS, AsyncClient, broker_name, fatal_answer
from shared.broker.entry import EntryId, encode_entry
from shared.broker.keys import Keys
from shared.candle import Candle, Series
from shared.interval import utc
from shared.market import Market
from shared.process.backoff import backoff
from shared.series_fact import Note
from shared.settings.model import Settings

log = logging.getLogger(__name__)


class Publisher:
    """Owns the candles between the exchange and the broker.

    Args:
        client: connection to the broker; closed by whoever opened it.
        market: whose stream is written.
        settings: bounds and key prefix.
        on_safe: called with each candle and note that the broker has answered for; must not block and must not raise.
        rng: source of jitter.

    Attributes:
        published: how many entries the broker has answered for.
        refused: how many candles found no room.
        kept: what the broker has answered for and no writer has stored yet.
        was_cut_off: whether a pipeline was not answered since somebody last set this to False.
    """

    def __init__(
        self,
        client: AsyncClient,
        market: Market,
        settings: Settings,
        on_safe: Callable[[Candle | Note], None] = lambda _: None,
        rng: random.Random | None = None,
    ) -> None:
        self.published = 0
        self.refused = 0
        self.kept = Kept(settings.publisher.buffer_candles)
        self.was_cut_off = False
        self._client = client
        self._stream = Keys(settings.broker.prefix).candles(market)
        self._settings = settings
        self._on_safe = on_safe
        self._rng = rng or random.Random()
        self._held: deque[Candle | Note] = deque()
        self._filled = asyncio.Event()
        self._stopping = asyncio.Event()
        self._away_since: float | None = None
        self._reasons: set[str] = set()
        self._losses: dict[Series, tuple[int, int, int]] = {}  # how many, the first and the last open time

    @property
    def held(self) -> int:
        """Candles that the broker has not answered for."""
        return len(self._held)

    @property
    def has_room(self) -> bool:
        """Whether less than half of the buffer is in use: room for what is fetched beside what comes live."""
        return len(self._held) <= self._settings.publisher.buffer_candles // 2

    @property
    def is_away(self) -> bool:
        """Whether the last attempt to reach the broker failed."""
        return self._away_since is not None

    def put(self, candle: Candle) -> bool:
        """Take a candle over. Never waits; at the bound the candle is refused, counted and logged.

        Returns:
            Whether it was taken.
        """
        if len(self._held) >= self._settings.publisher.buffer_candles:
            self._refuse(candle)
            return False
        self._held.append(candle)
        self._filled.set()
        return True

    def put_note(self, note: Note) -> None:
        """Take a note over. Notes are few: none is refused."""
        self._held.append(note)
        self._filled.set()

    def put_again(self, items: Iterable[Candle | Note]) -> None:
        """Take over what the broker has lost. It was taken once: none is refused."""
        self._held.extend(items)
        self._filled.set()

    async def run(self) -> None:
        """Send what is held until ``drain`` has been called and nothing is held any more.

        Raises:
            BrokerError: when the broker answers what will not change by asking again, such as a wrong password.
        """
        delays = self._new_delays()
        while self._held or not self._stopping.is_set():
            if not self._held:
                self._filled.clear()
                await self._filled.wait()
                continue
            trouble = await self._send(tuple(islice(self._held, self._settings.publisher.batch_candles)))
            if trouble is None:
                self._back()
                delays = self._new_delays()
                continue
            fatal = fatal_answer(trouble, self._settings)
            if fatal is not None:
                raise fatal
            self._away(trouble)
            await self._client.connection_pool.disconnect(
                inuse_connections=False
            )  # the address may lead to another server by now
            await self.pause(next(delays))

    def _new_delays(self) -> Iterator[float]:
        return backoff(first_seconds=0.2, most_seconds=5.0, rng=self._rng)

    @property
    def is_stopping(self) -> bool:
        """Whether ``drain`` has been called."""
        return self._stopping.is_set()

    async def pause(self, seconds: float) -> None:
        """Wait before the next try; while stopping, only shortly: time is bounded then."""
        if self._stopping.is_set():
            await asyncio.sleep(min(seconds, 0.2))
            return
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), seconds)

    def drain(self) -> None:
        """Let ``run`` return as soon as everything held has been answered for."""
        self._stopping.set()
        self._filled.set()

    async def _send(self, batch: Sequence[Candle | Note]) -> BaseException | None:
        """Send a batch; let go of what was accepted. The first trouble, or None when all of it was."""
        pipeline = self._client.pipeline(transaction=False)
        for item in batch:
            pipeline.xadd(self._stream, encode_entry(item))  # type: ignore[arg-type] # invariant dict in redis-py
        try:
            answers = await pipeline.execute(raise_on_error=False)
        except (*CONNECTION_ERRORS, RedisError) as error:
            self.was_cut_off = True
            return error
        refused = []
        for item, answer in zip(batch, answers, strict=True):
            if isinstance(answer, BaseException):
                refused.append((item, answer))
            else:
                self.kept.add(EntryId.parse(answer), item)
                self._on_safe(item)
        for _ in batch:
            self._held.popleft()
        self._held.extendleft(item for item, _ in reversed(refused))
        self.published += len(batch) - len(refused)
        return refused[0][1] if refused else None

    def _refuse(self, candle: Candle) -> None:
        self.refused += 1
        if not self._losses:
            log.error(
                "the buffer is full: %d candles wait for the broker; new ones are refused",
                self._settings.publisher.buffer_candles,
            )
        self._note_loss(candle)

    def _note_loss(self, candle: Candle) -> None:
        count, first, _ = self._losses.get(candle.series, (0, candle.open_time_ms, 0))
        self._losses[candle.series] = (count + 1, first, candle.open_time_ms)

    def report_losses(self) -> None:
        """Name what was lost since the last report: for each series how many candles, from when to when."""
        for series, (count, first, last) in self._losses.items():
            log.error("not recorded: %d candles of %s that open from %s to %s", count, series, utc(first), utc(last))
        self._losses.clear()

    def abandon(self) -> int:
        """Give up what is still held, name it and all other losses; how many were held."""
        held = len(self._held)
        for item in self._held:
            if isinstance(item, Candle):
                self._note_loss(item)
        self._held.clear()
        self.report_losses()
        return held

    def _away(self, error: BaseException) -> None:
        self._away_since = self._away_since or time.monotonic()
        reason = str(error) or type(error).__name__
        if reason not in self._reasons:
            self._reasons.add(reason)
            log.warning(
                "the broker %s does not take candles: %s; holding up to %d",
                broker_name(self._settings),
                reason,
                self._settings.publisher.buffer_candles,
            )

    def _back(self) -> None:
        if self._away_since is not None:
            log.info(
                "the broker takes candles again after %.1f s; %d still held",
                time.monotonic() - self._away_since,
                len(self._held),
            )
            self._away_since = None
            self._reasons.clear()
        if self._losses and len(self._held) < self._settings.publisher.buffer_candles:
            self.report_losses()
