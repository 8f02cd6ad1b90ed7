"""Candles, and facts about their series, to the broker: each is held until Redis has answered for it.

``put`` never waits, so a burst at a minute's end never holds up a socket; ``run`` sends what is held in pipelines. A
pipeline's answers are taken one by one: what was accepted is let go, the rest is sent again, in order. When a
connection breaks between a command and its answer, the candle is sent again and may stand in the stream twice;
storage is idempotent (docs/design.md, "Delivery"). What the broker has answered for stays in the resend buffer until
writers have stored it, should the broker lose it (``producers.publish.verify``).

The buffer is bounded. At the bound *new* candles are refused, not old ones thrown out: what is held stays one
unbroken run from the last candle that the broker has, and what is missing is one run behind it, which is repaired when
there is room again. The first refusal is logged at once, later a line for each series says how many and from when to
when.
"""

import asyncio
import contextlib
import logging
import time
from collections import deque
from collections.abc import Iterable, Sequence
from itertools import islice
from typing import Protocol

from redis.exceptions import RedisError, ResponseError

from producers.publish.resend_buffer import ResendBuffer
from shared.broker.address import broker_name
from shared.broker.append import append_entries
from shared.broker.client import CONNECTION_ERRORS, AsyncClient, fatal_answer
from shared.broker.entry import EntryId
from shared.broker.keys import Keys
from shared.candle import WEBSOCKET, Candle, Series
from shared.interval import utc
from shared.market import Market
from shared.metrics.measures import CLOSE_TO_BROKER_SECONDS, STEP_SECONDS, Buckets
from shared.process.backoff import backoff
from shared.process.once import SayOnce
from shared.series_fact import SeriesFact
from shared.settings.model import Settings

log = logging.getLogger(__name__)

_BACKOFF_SECONDS = (0.2, 5.0)  # first and longest


class Account(Protocol):
    """Who is told what becomes of candles at the broker. Its methods must not block and must not raise."""

    def mark_published(self, item: Candle | SeriesFact) -> None:
        """The broker has answered for it."""

    def mark_unpublished(self, item: Candle | SeriesFact) -> None:
        """The broker has lost it; it is published again."""

    def mark_lost(self, series: Series, begin_ms: int, end_ms: int) -> None:
        """The broker may have lost candles of a range of times that nobody holds any more."""


class Publisher:
    """Owns the candles between the exchange and the broker. The client is closed by whoever opened it."""

    def __init__(self, client: AsyncClient, market: Market, settings: Settings, account: Account) -> None:
        self.published = 0  # entries that the broker has answered for
        self._candles = 0  # of these, candles
        self._candles_again = 0  # that were put again
        self.refused = 0  # candles that found no room
        self.cut_offs = 0  # pipelines that were not answered
        self.replicas = settings.broker.replicas  # that should have what is published
        self.replicas_missing = 0  # of those, for the newest batch
        self.is_running = False  # whether the broker has been found and is handed what is held
        self._max_held = settings.publisher.buffer_candles
        self.batch = Buckets(STEP_SECONDS)  # how long the broker takes to answer for a batch
        self.close_to_broker = Buckets(CLOSE_TO_BROKER_SECONDS)  # of candles that came over WebSocket
        self.resend = ResendBuffer(self._max_held)  # what was published and is not stored yet
        self._client = client
        self._stream = Keys(settings.broker.prefix).candles(market)
        self._settings = settings
        self._account = account
        self._held: deque[Candle | SeriesFact] = deque()
        self._filled = asyncio.Event()
        self._stopping = asyncio.Event()
        self._away_since: float | None = None
        self._warn = SayOnce(log.warning)
        self._losses: dict[Series, tuple[int, int, int]] = {}  # how many, the first and the last open time

    @property
    def held(self) -> int:
        """How many candles and facts the broker has not answered for."""
        return len(self._held)

    @property
    def trouble(self) -> bool:
        """Whether candles wait because the broker does not take them."""
        return bool(self._held) and (self._away_since is not None or not self.is_running)

    @property
    def has_room(self) -> bool:
        """Whether at most half of the buffer is in use: room for what is fetched beside what comes live."""
        return len(self._held) <= self._max_held // 2

    def put(self, candle: Candle) -> bool:
        """Take a candle over, and say so. Never waits; at the bound the candle is refused, counted and logged."""
        if len(self._held) >= self._max_held:
            self.refused += 1
            if not self._losses:
                log.error("the buffer is full: %d candles wait for the broker; new ones are refused", self._max_held)
            self._note_loss(candle)
            return False
        self._held.append(candle)
        self._filled.set()
        return True

    def put_fact(self, fact: SeriesFact) -> None:
        """Take a fact over. Facts are few: none is refused."""
        self.put_again([fact])

    def put_again(self, items: Iterable[Candle | SeriesFact]) -> None:
        """Take over what the broker has lost. It was taken once: none is refused."""
        items = tuple(items)
        self._candles_again += sum(isinstance(item, Candle) for item in items)
        self._held.extend(items)
        self._filled.set()

    @property
    def candles_handed_over(self) -> int:
        """How many candles the broker has, each counted once though it may have been published again."""
        return self._candles - self._candles_again

    async def run(self) -> None:
        """Send what is held until ``drain`` has been called and nothing is held any more.

        BrokerError ends it when the broker answers what will not change by asking again, such as a wrong password.
        """
        delays, self.is_running = backoff(*_BACKOFF_SECONDS), True
        while self._held or not self._stopping.is_set():
            if not self._held:
                self._filled.clear()
                await self._filled.wait()
                continue
            trouble = await self._send(tuple(islice(self._held, self._settings.publisher.batch_candles)))
            if trouble is None:
                self._note_back()
                delays = backoff(*_BACKOFF_SECONDS)
                continue
            fatal = fatal_answer(trouble, self._settings)
            if fatal is not None:
                raise fatal
            self._note_away(trouble)
            # the address may lead to another server by now
            await self._client.connection_pool.disconnect(inuse_connections=False)
            await self.pause(next(delays))

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

    async def _send(self, batch: Sequence[Candle | SeriesFact]) -> BaseException | None:
        """Send a batch; let go of what was accepted. The first trouble, or None when all of it was."""
        began, seconds = time.monotonic(), self._settings.broker.timeout_seconds
        try:
            answers, replicas = await append_entries(self._client, self._stream, batch, seconds, self.replicas)
        except (*CONNECTION_ERRORS, RedisError) as error:
            self.cut_offs += 1
            return error
        self.batch.observe(time.monotonic() - began)
        if self.replicas:
            self._note_replicas(replicas)
        refused, now_ms = [], time.time_ns() // 1_000_000
        for item, answer in zip(batch, answers, strict=True):
            if isinstance(answer, BaseException):
                refused.append((item, answer))
            else:
                self.resend.add(EntryId.parse(answer), item)
                self._account.mark_published(item)
                if isinstance(item, Candle):
                    self._candles += 1
                    if item.source == WEBSOCKET:
                        self.close_to_broker.observe(item.seconds_since_close(now_ms))
        for _ in batch:
            self._held.popleft()
        self._held.extendleft(item for item, _ in reversed(refused))
        self.published += len(batch) - len(refused)
        return refused[0][1] if refused else None

    def _note_replicas(self, answer: int | ResponseError) -> None:
        """How many replicas have the batch; the broker has it in any case, so it is let go."""
        have = answer if isinstance(answer, int) else 0
        if have >= self.replicas:
            if self.replicas_missing:
                log.info("%d replicas have what is published again", self.replicas)
            self.replicas_missing = 0
            return
        if not self.replicas_missing and isinstance(answer, BaseException):
            log.warning("how many replicas have what was published cannot be asked: %s", answer)
        elif not self.replicas_missing:
            text = (
                "%d of %d replicas have what was published: a fail-over now would lose it, until it is published again"
            )
            log.warning(text, have, self.replicas)
        self.replicas_missing = self.replicas - have

    def _note_loss(self, candle: Candle) -> None:
        count, first, _ = self._losses.get(candle.series, (0, candle.open_time_ms, 0))
        self._losses[candle.series] = (count + 1, first, candle.open_time_ms)

    def _report_losses(self) -> None:
        """Name what was lost since the last report: for each series how many candles, from when to when."""
        for series, (count, first, last) in self._losses.items():
            log.error("not recorded: %d candles of %s that open from %s to %s", count, series, utc(first), utc(last))
        self._losses.clear()

    def abandon(self) -> int:
        """Give up what is still held, name it and all other losses; how many candles were held."""
        held = sum(isinstance(item, Candle) for item in self._held)
        for item in self._held:
            if isinstance(item, Candle):
                self._note_loss(item)
        self._held.clear()
        self._report_losses()
        return held

    def _note_away(self, error: BaseException) -> None:
        self._away_since = self._away_since or time.monotonic()
        name, text = broker_name(self._settings), str(error) or type(error).__name__
        self._warn("the broker %s does not take candles: %s; holding up to %d", name, text, self._max_held)

    def _note_back(self) -> None:
        if self._away_since is not None:
            away_seconds = time.monotonic() - self._away_since
            log.info("the broker takes candles again after %.1f s; %d still held", away_seconds, len(self._held))
            self._away_since = None
            self._warn.reset()
        if self._losses and len(self._held) < self._max_held:
            self._report_losses()
