"""The exchange without its network: time, klines, listings, weights, faults and the connections that are alive.

Whatever can be changed while it runs is changed here, whoever asks: the command line, a random event or the control
endpoint.
"""

import asyncio
import contextlib
import logging
from collections.abc import Mapping, Sequence
from operator import attrgetter
from pathlib import Path

from shared.errors import CandlewickError
from shared.interval import DAY_MS, utc
from shared.market import Market
from simulator.faults.dice import FaultDice
from simulator.faults.model import Faults
from simulator.market.clock import Clock
from simulator.market.klines import KlineSource, SyntheticSource
from simulator.market.listings import ListedSource, ListingChange, Listings
from simulator.market.recorded import RecordedSource
from simulator.market.recorded_info import read_exchange_info
from simulator.server.connection import ClientConnection
from simulator.server.feed import Feed
from simulator.server.options import SimulatorOptions
from simulator.server.weights import Weights

log = logging.getLogger(__name__)

_SHUTDOWN_SECONDS = 2.0


class Exchange:
    """The state of the simulated exchange.

    Raises:
        CandlewickError: when what is recorded cannot be read, or the options contradict each other.
    """

    def __init__(self, options: SimulatorOptions) -> None:
        inner, self._synthetic, start_ms = _klines(options)
        self.clock = Clock(start_ms, options.speed)
        if options.end_ms is not None and options.end_ms <= self.clock.now_ms():
            raise CandlewickError(f"the market ends at {utc(options.end_ms)}, before it starts")
        recorded = {} if options.exchange_info is None else read_exchange_info(options.exchange_info)
        self.listings = Listings(self.clock, {market: inner.symbols(market) for market in Market}, recorded)
        for change in sorted(options.listings, key=attrgetter("time_ms")):
            self.listings.change(change)
        self.source: KlineSource = ListedSource(inner, self.listings)
        self.dice = FaultDice(options.seed, options.faults)
        self.faults_changed = asyncio.Event()
        self.feed = Feed(self.source, self.clock, options.updates, self.dice, options.wait_for, linger=options.linger)
        self.connections: list[ClientConnection] = []
        self.accepted = 0
        futures = Weights(Market.USDT_FUTURES.facts.weight_per_minute)
        self.pools = {"spot": Weights(Market.SPOT.facts.weight_per_minute), "futures": futures}
        self.weights = {
            Market.SPOT: self.pools["spot"],
            Market.USDT_FUTURES: futures,
            Market.COIN_FUTURES: futures,
        }
        self.options = options

    def change_faults(self, changes: Mapping[str, object]) -> Faults:
        """Change the faults in force; see ``Faults.changed``, whose errors it raises."""
        self.dice.faults = self.dice.faults.changed(changes)
        if self._synthetic is not None:
            self._synthetic.set_holes(self.dice.faults.holes)
        self.faults_changed.set()
        return self.dice.faults

    def change_listings(self, changes: Sequence[ListingChange]) -> None:
        """List or delist symbols: all of them, or none and the CandlewickError of the first that is wrong."""
        for change in changes:
            self.listings.check(change)
        for change in map(self._bent, changes):
            self.listings.change(change)
            log.info("%s is %s on %s", change.symbol, "listed" if change.listed else "delisted", change.market)
            if change.listed:
                self.feed.resume(change.market, change.symbol, change.time_ms)

    def _bent(self, change: ListingChange) -> ListingChange:
        """A listing as faults make it look: shown before it trades, refused for a while, with a wrong date."""
        if not change.listed:
            return change
        dice, most_ms = self.dice, self.dice.faults.listing_refused_seconds
        if dice.hits("listing_early"):
            time_ms = change.time_ms + int(dice.up_to(most_ms) * 1000)
            change = change._replace(shown_ms=change.time_ms, time_ms=time_ms)
        if dice.hits("listing_refused"):
            change = change._replace(refused_to_ms=change.time_ms + int(dice.up_to(most_ms) * 1000))
        if dice.hits("listing_wrong_date"):
            days = dice.random.choice((0, dice.random.randint(-90, 90)))
            change = change._replace(date_ms=change.time_ms + days * DAY_MS if days else 0)
        return change

    def drop_connections(self) -> int:
        """Cut every connection without a closing handshake; how many."""
        for connection in tuple(self.connections):
            connection.drop()
        return len(self.connections)

    async def announce_shutdown(self) -> None:
        """Send ``serverShutdown`` on every connection."""
        for connection in tuple(self.connections):
            await connection.announce_shutdown(self.clock.now_ms())

    async def shut_connections_down(self) -> int:
        """Send ``serverShutdown`` on every connection, then close it; how many."""
        ending = [connection.shut_down(self.clock.now_ms(), 0.0) for connection in self.connections]
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_SHUTDOWN_SECONDS):
                await asyncio.gather(*ending, return_exceptions=True)
        return len(ending)


def _klines(options: SimulatorOptions) -> tuple[KlineSource, SyntheticSource | None, int | None]:
    """Where klines come from, the same if it is synthetic, and when the exchange's time begins."""
    if options.klines is None:
        synthetic = SyntheticSource(options.seed, options.symbols, options.end_ms, options.faults.holes)
        return synthetic, synthetic, options.start_ms
    if options.faults.holes:
        log.warning("fault holes is for synthetic klines: recorded ones have the holes that they have")
    recorded = RecordedSource(options.klines) if isinstance(options.klines, Path) else options.klines
    return recorded, None, recorded.first_ms if options.start_ms is None else options.start_ms
