"""How the simulated exchange behaves: one frozen value."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from shared.market import Market
from simulator.faults.model import Faults
from simulator.market.klines import RecordedKlines
from simulator.market.listings import ListingChange

DEFAULT_SYMBOLS: dict[Market, tuple[str, ...]] = {
    Market.SPOT: ("BTCUSDT", "BNBUSDT", "ETHUSDT", "SOLUSDT"),
    Market.USDT_FUTURES: ("BTCUSDT", "ETHUSDT", "SOLUSDT", "1000PEPEUSDT", "币安人生USDT"),
    Market.COIN_FUTURES: ("BTCUSD_PERP", "ETHUSD_PERP"),
}


@dataclass(frozen=True, slots=True)
class SimulatorOptions:
    """How the exchange behaves.

    Attributes:
        host: address to listen on.
        port: 0 takes a free one.
        seed: of the synthetic market and of its faults.
        klines: recorded klines to serve instead, or a folder of them.
        speed: simulated seconds a real second; None: as fast as listeners read.
        start_ms: the exchange's time at its start; None: now, or the first recorded kline.
        end_ms: end of the synthetic market; None: never.
        updates: open frames a kline; None: at each market's own cadence.
        wait_for: the clock starts when so many channels are subscribed.
        symbols: what exchangeInfo lists where klines are synthetic.
        linger: whether time goes on when the data has ended, where it ran as fast as listeners read.
        exchange_info: folder of recorded exchangeInfo bodies to serve instead.
        faults: what goes wrong.
        listings: what is listed and delisted at which time of the exchange.
    """

    host: str = "127.0.0.1"
    port: int = 0
    seed: int = 1
    klines: Path | RecordedKlines | None = None
    speed: float | None = 1.0
    start_ms: int | None = None
    end_ms: int | None = None
    updates: int | None = None
    wait_for: int = 0
    symbols: Mapping[Market, Sequence[str]] = field(default_factory=lambda: dict(DEFAULT_SYMBOLS))
    linger: bool = False
    exchange_info: Path | None = None
    faults: Faults = field(default_factory=Faults)
    listings: Sequence[ListingChange] = ()
