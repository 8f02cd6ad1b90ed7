"""What a run records, with which options and settings: a value, so that several kinds of runs share one pipeline."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from shared.candle import Series
from shared.interval import Interval
from shared.market import Market
from simulator.server.options import DEFAULT_SYMBOLS

BASE, BASE_MS = "2024-06-30T00:00", 1_719_705_600_000
CLAIM_SECONDS = 3.0


@dataclass(frozen=True, slots=True)
class Shape:
    """What is run and recorded.

    Attributes:
        speed: the exchange's seconds a second.
        exchange: further options of ``candlewick simulate``.
        holes: the part of all klines that the exchange never had.
        symbols: recorded by name from the start, by market.
        intervals: at which, by market.
        by_pattern: markets of which everything is recorded that the exchange lists.
        settings: what differs from the defaults, by section and key.
        writers: how many share the data folder.
        recorded_twice: the markets that a second producer records.
        max_log_bytes: where the log of all processes is begun anew; None: never.
    """

    speed: float
    exchange: Sequence[str]
    holes: float
    intervals: Mapping[Market, tuple[str, ...]]
    settings: Mapping[str, Mapping[str, object]]
    symbols: Mapping[Market, Sequence[str]] = field(default_factory=lambda: DEFAULT_SYMBOLS)
    by_pattern: Sequence[Market] = (Market.SPOT, Market.USDT_FUTURES)
    writers: int = 1
    recorded_twice: Sequence[Market] = ()
    max_log_bytes: int | None = None

    @property
    def series(self) -> list[Series]:
        """What is recorded from the start."""
        return [
            Series(market, symbol, Interval(interval))
            for market, intervals in self.intervals.items()
            for symbol in self.symbols[market]
            for interval in intervals
        ]


def rough_shape(speed: float) -> Shape:
    """Where everything breaks at random: short time-outs, and a buffer small enough to be full now and then."""
    return Shape(
        speed=speed,
        exchange=("--start", BASE, "--updates", "1"),
        holes=0.004,
        intervals={
            Market.SPOT: ("1m", "5m"),
            Market.USDT_FUTURES: ("1m",),
            Market.COIN_FUTURES: ("1m", "3m", "1h"),
        },
        settings={
            "broker": {"timeout_seconds": 2},
            "exchange": {
                "silence_timeout_seconds": 3,
                "open_timeout_seconds": 3,
                "acknowledge_timeout_seconds": 3,
                "rest_timeout_seconds": 3,
                "retry_max_seconds": 1,
                "symbols_seconds": 3,
            },
            "repair": {"grace_seconds": speed, "quiet_seconds": 3 * speed},
            "publisher": {"buffer_candles": 300, "drain_seconds": 2},
            "writer": {"flush_seconds": 0.05, "flush_max_seconds": CLAIM_SECONDS / 2, "claim_seconds": CLAIM_SECONDS},
        },
        writers=2,
        recorded_twice=(Market.USDT_FUTURES,),
    )
