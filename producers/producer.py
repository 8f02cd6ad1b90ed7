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
from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

from redis.exceptions import NoPermissionError, RedisError

from producers.exchange.clock import ExchangeClock
from producers.exchange.event_time import EventTime
from producers.exchange.proxy import check_proxies
from producers.exchange.rest import RestClient
from producers.exchange.weight_by_address import weight_budget
from producers.figures import families
from producers.gaps.intake import Intake
from producers.gaps.repair import Repairer
from producers.gaps.tracker import GapTracker
from producers.health import Health
from producers.live.checkpoints import Checkpoints
from producers.live.connections import CandleListener
from producers.live.doubts import Doubts
from producers.live.selection import Selection
from producers.live.series_set import SeriesSet
from producers.live.share import Share
from producers.live.sharing import Sharing
from producers.publish.publisher import Publisher
from producers.publish.verify import StreamVerifier
from shared.broker.address import broker_name
from shared.broker.client import (
    CONNECTION_ERRORS,
    AsyncClient,
    async_client,
    check_server,
    fatal_answer,
    server_info_async,
)
from shared.broker.heartbeat import BEAT_SECONDS, Rate, beat, fall_silent
from shared.broker.keys import Keys
from shared.broker.sources import claim_async
from shared.errors import BrokerError, SettingsError
from shared.market import Market
from shared.metrics.measures import Family
from shared.metrics.server import Watched, watched
from shared.metrics.vitals import Vitals
from shared.process.backoff import backoff
from shared.process.once import SayOnce
from shared.process.stopping import StopRequests, stop_signals
from shared.process.tasks import Tasks
from shared.settings.model import Settings

log = logging.getLogger(__name__)

_GOODBYE_SECONDS = 0.3


class Producer:
    """The parts of one market's producer and how they hold together."""

    def __init__(self, market: Market, settings: Settings, share: Share, client: AsyncClient) -> None:
        self.market = market
        self.settings = settings
        self.share = share
        self.client = client
        self.source, self._mixes = settings.exchange.source(market), settings.exchange.mix_sources
        self.keys = Keys(settings.broker.prefix)
        repair = settings.repair
        self.tracker = GapTracker(int(repair.grace_seconds * 1000), int(repair.quiet_seconds * 1000))
        self.publisher = Publisher(client, market, settings, self.tracker)
        self.intake = Intake(self.publisher, self.tracker)
        self.rest = RestClient(market, settings.exchange, weight_budget(market, settings, client))
        events = EventTime()
        self.clock = ExchangeClock(events, self.rest)
        self.doubts = Doubts(events, self.clock, self.intake.take)
        self.listener = CandleListener(market, settings.exchange, self.doubts.take, events)
        self.verifier = StreamVerifier(client, settings, market, self.publisher, self.tracker)
        self.sharing = Sharing(client, market, settings, share)
        self.selection = Selection(market, settings, share, self.sharing.division)
        self.series_set = SeriesSet(
            self.selection,
            self.listener,
            self.intake,
            Checkpoints(client, self.keys, market, share, self.source),
            self.verifier,
            self.rest,
            self.clock,
            self.sharing,
        )
        self.repairer = Repairer(self.intake, self.rest, self.clock, repair, self.series_set.look_at_others)
        self.vitals = Vitals()
        self.health = Health(self.clock, self.selection, self.tracker, self.repairer, self.publisher, self.sharing)

    async def run(self, stop: asyncio.Event) -> None:
        """Record until ``stop`` is set, then hand over what is held; BrokerError when the broker is not fit for use."""
        async with Tasks() as ours:
            publishing = ours.start(self._publish())
            ours.start(self._beat())
            async with self.listener, Tasks() as working:
                working.start(self.series_set.run())
                working.start(self.repairer.run())
                working.start(self.doubts.run())
                working.start(self.verifier.run())
                working.start(self.sharing.run(self.series_set, self.listener, self.clock))
                await stop.wait()
                await self._hand_over()
                await working.cancel()
            self.publisher.drain()
            await asyncio.wait({publishing}, timeout=self.settings.publisher.drain_seconds)
            await ours.cancel()

    async def close(self) -> int:
        """Say goodbye to the broker, and let go of all connections; how many candles could not be handed over."""
        abandoned = self.publisher.abandon()
        log.info("stopped; %d candles handed over, %d not", self.publisher.candles_handed_over, abandoned)
        with contextlib.suppress(RedisError, OSError, TimeoutError, BrokerError):
            async with asyncio.timeout(_GOODBYE_SECONDS):
                await self.series_set.save()
                await self.sharing.leave()
                await fall_silent(self.client, self.keys, self.market)
        await self.rest.close()
        await self.client.aclose()
        return abandoned

    async def _hand_over(self) -> None:
        """Go on until others deliver what this process does, if there are others; at most ``drain_seconds``."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self.settings.publisher.drain_seconds):
                await self.sharing.hand_over(lambda: self.series_set.is_handed_over)

    async def _publish(self) -> None:
        """Wait until the broker answers, while candles are held, and hand them over.

        BrokerError when it is not fit, SourceError when it has another exchange's candles.
        """
        delays, warn = backoff(first_seconds=0.2, max_seconds=5.0), SayOnce(log.warning)
        name = broker_name(self.settings)
        while self.publisher.held or not self.publisher.is_stopping:
            try:
                check_server(await server_info_async(self.client, self.keys.candles(self.market)), name)
                await claim_async(self.client, self.keys, self.market, self.source, mix=self._mixes)
            except (*CONNECTION_ERRORS, RedisError) as error:
                fatal = fatal_answer(error, self.settings)
                if fatal is not None:
                    raise fatal from None
                warn("waiting for the broker %s: %s", name, error, same="waiting")
            else:
                await self.publisher.run()
                return
            await self.publisher.pause(next(delays))

    async def _beat(self) -> None:
        """Tell the broker every two seconds how this process is, for as long as it lives."""
        frames, candles = Rate(), Rate()
        while True:
            body = await self._report(frames, candles)
            self.vitals.note(body)
            try:
                await beat(self.client, self.keys, str(self.market), body)
            except (*CONNECTION_ERRORS, RedisError) as error:
                fatal = fatal_answer(error, self.settings)
                if fatal is not None:
                    raise fatal from None
                log.debug("no heartbeat: %s", error)
            await asyncio.sleep(BEAT_SECONDS)

    def families(self) -> Iterable[Family]:
        """Its figures for Prometheus; for another thread."""
        return families(self.market, self.vitals.report, self.publisher)

    async def _report(self, frames: Rate, candles: Rate) -> dict[str, Any]:
        """What a heartbeat says."""
        counters, publisher, now = self.listener.counters, self.publisher, time.monotonic()
        delivering, wanted = self.listener.connections
        newest = counters.newest
        weight, troubles = await self.rest.budget.report(), self.health.troubles()
        return {
            "series": len(self.listener.series),
            "shortest_ms": min((one.interval.typical_ms for one in self.listener.series), default=None),
            "share": str(self.share),
            "host": self.sharing.division.me.host,
            "members": len(self.sharing.division.members),
            "wanted": len(self.selection.all_wanted),
            "taken_over": self.series_set.taken_over,
            "given_up": self.series_set.given_up,
            "source": self.source,
            "troubles": list(troubles.values()),
            "kinds": list(troubles),  # of the troubles
            "given_way": [*self.listener.given_way, *self.rest.given_way],
            "connections": delivering,
            "connections_wanted": wanted,
            "connections_replaced": counters.replaced.total(),
            "replaced": dict(counters.replaced),
            "frames": counters.frames,
            "candles": counters.candles,
            "frames_per_minute": frames.sample(now, counters.frames),
            "candles_per_minute": candles.sample(now, counters.candles),
            "malformed": counters.malformed,
            "not_asked": counters.not_asked,
            "in_the_future": self.doubts.refused,
            "silent_channels": counters.silent_channels,
            "event_time_ms": self.clock.now_ms,
            "last_candle": str(newest.series) if newest else None,
            "last_candle_end_ms": newest.end_time_ms if newest else None,
            "held": publisher.held,
            "refused": publisher.refused,
            "published": publisher.published,
            "published_again": self.verifier.published_again,
            **self.tracker.tally(self.clock.now_ms)._asdict(),
            **{f"rest_{name}": count for name, count in asdict(self.rest.counters).items()},
            "close_to_broker": publisher.close_to_broker.counts,
            "weight_used": weight.used,
            "weight_limit": weight.limit,
            "rest_status": weight.status,
            "rest_closed_seconds": weight.closed_seconds,
        }


async def produce(market: Market, settings: Settings, share: Share) -> int:
    """Record one market's series, or this process's share of them, until a signal.

    Returns how many candles could not be handed to the broker at the end: 0 when all is well. SettingsError says that
    the settings record nothing of the market, or that a proxy cannot be used, BrokerError that the broker cannot.
    """
    if not settings.groups(market):
        raise SettingsError(f"the settings record nothing of {market}: add it under [[record]]")
    check_proxies(settings.exchange, market)
    stop, requests = asyncio.Event(), StopRequests()
    for number in stop_signals():
        asyncio.get_running_loop().add_signal_handler(number, _on_signal, requests, stop)
    producer = Producer(market, settings, share, async_client(settings))
    log.info(
        "recording (share %s) from %s into %s", share, settings.exchange.websocket(market)[0], broker_name(settings)
    )
    watch = Watched(market, producer.vitals, producer.families)
    try:
        with watched(settings.metrics, watch):
            await producer.run(stop)
    except NoPermissionError as error:
        raise fatal_answer(error, settings) or error from None
    finally:
        abandoned = await producer.close()
    return abandoned


def _on_signal(requests: StopRequests, stop: asyncio.Event) -> None:
    if requests.ask() == "again":
        raise KeyboardInterrupt
    stop.set()
