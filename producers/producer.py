"""One market's producer process, wired: listener and repair → publisher → broker, and a heartbeat beside them.

Life: listen at once; meanwhile wait for the broker, check that it loses nothing, and publish; find out where each
series continues, repair what is missing, and look once a second whether the stream still holds what was published; at
SIGTERM or SIGINT stop reading, hand over what is held within ``publisher.drain_seconds``, and leave. A second signal
leaves at once.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Coroutine
from typing import Any

from redis.exceptions import RedisError

from producers.exchange.clock import MarketTime
from producers.exchange.rest import RestClient
from producers.exchange.weight import WeightBudget
from producers.gaps.repair import Repairer
from producers.gaps.tracker import Completeness
from producers.live.checkpoints import Progress
from producers.live.listener import CandleListener
from producers.live.series_set import Roster
from producers.live.share import Share
from producers.publish.publisher import Publisher
from producers.publish.verify import StreamCheck
from shared.broker.client import CONNECTION_ERRORS, AsyncClient, async_client, broker_name, check_server, fatal_answer
from shared.broker.heartbeat import BEAT_SECONDS, Rate, beat, fall_silent
from shared.broker.keys import Keys
from shared.candle import Candle
from shared.errors import BrokerError, SettingsError
from shared.market import Market
from shared.process.backoff import backoff
from shared.process.stopping import StopRequests, cancel, stop_signals
from shared.settings.model import Settings

log = logging.getLogger(__name__)

_GOODBYE_SECONDS = 0.3


class Producer:
    """The parts of one market's producer and how they hold together.

    Args:
        market: which.
        settings: the settings in force.
        share: this process's part of the series.
        client: connection to the broker.
    """

    def __init__(self, market: Market, settings: Settings, share: Share, client: AsyncClient) -> None:
        self.market = market
        self.settings = settings
        self.share = share
        self.client = client
        repair = settings.repair
        self.completeness = Completeness(int(repair.grace_seconds * 1000), int(repair.quiet_seconds * 1000))
        self.publisher = Publisher(client, market, settings, self.completeness.safe)
        self.listener = CandleListener(market, settings.exchange, self.take)
        self.rest = RestClient(market, settings.exchange, WeightBudget(market, settings.exchange))
        self.clock = MarketTime(self.listener.counters, self.rest)
        keys = Keys(settings.broker.prefix)
        self.stream_check = StreamCheck(
            client, settings, market, self.publisher, self.completeness.unsafe, self.completeness.lost
        )
        self.roster = Roster(
            market,
            settings,
            share,
            self.listener,
            self.completeness,
            Progress(client, keys, market, share),
            self.rest,
            self.clock,
            self.publisher.put_note,
            self.stream_check.look,
        )
        self.repairer = Repairer(
            self.completeness,
            self.rest,
            self.clock,
            self.take,
            self.roster.tell,
            lambda: self.publisher.has_room,
            repair,
        )

    def take(self, candle: Candle) -> bool:
        """Hand a candle to the publisher; one that it refuses stays missing, and is fetched later."""
        taken = self.publisher.put(candle)
        if taken:
            self.completeness.held(candle)
        return taken


async def produce(market: Market, settings: Settings, share: Share) -> int:
    """Record one market's series, or this process's share of them, until a signal.

    Returns:
        How many candles could not be handed to the broker at the end: 0 when all is well.

    Raises:
        SettingsError: when the market has no series in the settings.
        BrokerError: when the broker cannot be used as it is.
    """
    if not settings.groups(market):
        raise SettingsError(f"the settings record nothing of {market}: add it under [[record]]")
    stop = asyncio.Event()
    requests = StopRequests()
    for number in stop_signals():
        asyncio.get_running_loop().add_signal_handler(number, _on_signal, requests, stop)
    client = async_client(settings)
    producer = Producer(market, settings, share, client)
    publisher, listener = producer.publisher, producer.listener
    publishing = asyncio.create_task(_publish(client, settings, publisher))
    lives = (producer.roster.run(), producer.repairer.run(), producer.stream_check.run())
    working = [asyncio.create_task(life) for life in lives]
    beating = asyncio.create_task(_beat(producer))
    log.info("recording (share %s) from %s into %s", share, settings.exchange.websocket(market), broker_name(settings))
    try:
        await _first_of(stop.wait(), publishing, listener.failed, beating, *working)
        await listener.close()
        await cancel(working)
        publisher.drain()
        await asyncio.wait({publishing}, timeout=settings.publisher.drain_seconds)
    finally:
        await listener.close()
        await cancel([*working, publishing, beating])
        abandoned = publisher.abandon()
        log.info("stopped; %d candles handed over, %d not", publisher.published, abandoned)
        with contextlib.suppress(RedisError, OSError, TimeoutError, BrokerError):
            async with asyncio.timeout(_GOODBYE_SECONDS):
                await producer.roster.save()
                await fall_silent(client, Keys(settings.broker.prefix), market)
        await producer.rest.close()
        await client.aclose()
    failures: tuple[asyncio.Future[None], ...] = (publishing, listener.failed, beating, *working)
    for future in failures:
        if future.done() and not future.cancelled() and (error := future.exception()) is not None:
            raise error
    return abandoned


async def _publish(client: AsyncClient, settings: Settings, publisher: Publisher) -> None:
    """Wait until the broker is there and fit for use, while candles are held, then hand them over."""
    if await _broker_ready(client, settings, publisher):
        await publisher.run()


async def _first_of(stopping: Coroutine[Any, Any, Any], *others: asyncio.Future[Any]) -> None:
    """Wait until one of these is done."""
    waiting = asyncio.create_task(stopping)
    try:
        await asyncio.wait({waiting, *others}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        waiting.cancel()


def _on_signal(requests: StopRequests, stop: asyncio.Event) -> None:
    if requests.ask() == "again":
        raise KeyboardInterrupt
    stop.set()


async def _broker_ready(client: AsyncClient, settings: Settings, publisher: Publisher) -> bool:
    """Wait until the broker answers and is fit for use; False when there is nothing left to wait for.

    Raises:
        BrokerError: when it answers and is not fit.
    """
    delays = backoff(first_seconds=0.2, most_seconds=5.0)
    waiting = False
    while publisher.held or not publisher.is_stopping:
        try:
            check_server(await client.info(), broker_name(settings))
        except (*CONNECTION_ERRORS, RedisError) as error:
            fatal = fatal_answer(error, settings)
            if fatal is not None:
                raise fatal from None
            if not waiting:
                log.warning("waiting for the broker %s: %s", broker_name(settings), error)
            waiting = True
        else:
            return True
        await publisher.pause(next(delays))
    return False


async def _beat(producer: Producer) -> None:
    """Tell the broker every two seconds how this process is, for as long as it lives."""
    keys = Keys(producer.settings.broker.prefix)
    frames, candles = Rate(), Rate()
    while True:
        body = await _report(producer, frames, candles)
        try:
            await beat(producer.client, keys, str(producer.market), body)
        except (*CONNECTION_ERRORS, RedisError) as error:
            log.debug("no heartbeat: %s", error)
        await asyncio.sleep(BEAT_SECONDS)


async def _report(producer: Producer, frames: Rate, candles: Rate) -> dict[str, Any]:
    """What a heartbeat says."""
    listener, publisher, rest = producer.listener, producer.publisher, producer.rest
    counters, now = listener.counters, time.monotonic()
    delivering, wanted = listener.connections
    newest = counters.newest
    tally = producer.completeness.tally(producer.clock.now_ms)
    weight = await rest.budget.report()
    return {
        "series": len(listener.series),
        "share": str(producer.share),
        "connections": delivering,
        "connections_wanted": wanted,
        "connections_replaced": counters.replaced,
        "frames_per_minute": frames.sample(now, counters.frames),
        "candles_per_minute": candles.sample(now, counters.candles),
        "malformed": counters.malformed,
        "silent_channels": counters.silent_channels,
        "event_time_ms": producer.clock.now_ms,
        "last_candle": str(newest.series) if newest else None,
        "last_candle_end_ms": newest.end_time_ms if newest else None,
        "held": publisher.held,
        "refused": publisher.refused,
        "published": publisher.published,
        "published_again": producer.stream_check.published_again,
        "due": tally.due,
        "missing": tally.missing,
        "repaired": tally.repaired,
        "absent": tally.absent,
        "rest_requests": rest.counters.requests,
        "rest_weight": rest.counters.weight,
        "rest_failures": rest.counters.failures,
        "rest_rows_refused": rest.counters.refused_rows,
        "weight_used": weight.used,
        "weight_limit": weight.limit,
        "rest_status": weight.status,
        "rest_closed_seconds": weight.closed_seconds,
    }
