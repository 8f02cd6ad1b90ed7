"""What happens now and then to a random connection or symbol while the exchange runs.

Each kind has a mean time between two events, so together they are one process: the time to the next event is
exponential, and its kind is drawn by the rates. A change of the rates begins anew; such a process does not notice.
"""

import asyncio
import contextlib
import itertools
import random

from shared.market import Market
from shared.process.tasks import Tasks
from simulator.faults.model import MEANS
from simulator.market.listings import ListingChange
from simulator.server.connection import ClientConnection
from simulator.server.exchange import Exchange

_MOST_NOTICE_SECONDS = 1.0


class Mishaps:
    """Random events, each counted among the faults when it found something to happen to.

    Args:
        exchange: where they happen, and whose faults say how often.
    """

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self._random = random.Random(f"{exchange.options.seed} mishaps")
        self._numbers = itertools.count(1)
        self._ending = Tasks()

    async def run(self) -> None:
        """Let things happen, for ever."""
        changed = self._exchange.faults_changed
        async with self._ending:
            while True:
                changed.clear()
                faults = self._exchange.dice.faults
                rates = {name: 1 / getattr(faults, name) for name in MEANS if getattr(faults, name)}
                pause = self._random.expovariate(sum(rates.values())) if rates else None
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(changed.wait(), pause)
                    continue
                (name,) = self._random.choices(list(rates), list(rates.values()))
                self.happen(name)

    def happen(self, name: str) -> bool:
        """Let one of ``MEANS`` happen now, while ``run`` runs; False when there was nothing that it could happen to."""
        happens = self._happens(name)
        self._exchange.dice.injected[name] += happens
        return happens

    def _happens(self, name: str) -> bool:
        if name == "listing":
            return self._list()
        if name == "delisting":
            return self._delist()
        connection = self._any_connection(name)
        if connection is None:
            return False
        if name == "drop":
            connection.drop()
        elif name == "close":
            self._ending.start(connection.close())
        elif name == "shutdown":
            notice = self._random.choice((0.0, self._random.random() * _MOST_NOTICE_SECONDS))
            self._ending.start(connection.shut_down(self._exchange.clock.now_ms(), notice))
        elif name == "silent_connection":
            connection.silence()
        elif name == "silent_channel":
            connection.silence_channel(self._random.choice(connection.speaking_channels))
        return True

    def _any_connection(self, name: str) -> ClientConnection | None:
        connections = self._exchange.connections
        if name == "silent_connection":
            connections = [each for each in connections if not each.is_silent]
        elif name == "silent_channel":
            connections = [each for each in connections if each.speaking_channels]
        return self._random.choice(connections) if connections else None

    def _list(self) -> bool:
        market = self._random.choice(list(Market))
        ending = "USD_PERP" if market is Market.COIN_FUTURES else "USDT"
        self._change(market, f"NEW{next(self._numbers)}{ending}", listed=True)
        return True

    def _delist(self) -> bool:
        listed = {market: self._exchange.listings.trading(market) for market in Market}
        candidates = [(market, symbol) for market, symbols in listed.items() if len(symbols) > 1 for symbol in symbols]
        if not candidates:
            return False
        self._change(*self._random.choice(candidates), listed=False)
        return True

    def _change(self, market: Market, symbol: str, *, listed: bool) -> None:
        self._exchange.change_listings([ListingChange(market, symbol, self._exchange.clock.now_ms(), listed)])
