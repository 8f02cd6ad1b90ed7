"""What a soak is asked for, and what it records: as ``candlewick up`` does with its defaults."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from chaos.whole.shape import Shape
from shared.market import Market
from shared.settings.sections import ExchangeSettings, RepairSettings, SharingSettings
from simulator.server.options import DEFAULT_SYMBOLS

WEEK_HOURS = 168.0

ALWAYS: Mapping[str, float] = {
    "no_close": 0.002,
    "late_close": 0.003,
    "duplicate": 0.002,
    "out_of_order": 0.001,
    "rest_5xx": 0.01,
    "rest_429": 0.002,
    "rest_slow": 0.02,
}
"""Chances of single frames and REST calls, all the time; see docs/simulator.md, "Faults"."""

_HOLES = 0.0005
_INTERVALS = ("1m", "5m", "1h")
_MAX_LOG_BYTES = 50_000_000
_LEAST_LIFETIME_HOURS = 1 / 30
_SHARES: Mapping[Market, float] = {Market.SPOT: 0.4, Market.USDT_FUTURES: 0.4, Market.COIN_FUTURES: 0.2}


@dataclass(frozen=True, slots=True)
class Plan:
    """What a soak is asked for.

    Attributes:
        hours: how long faults happen.
        seed: decides the market and what breaks.
        symbols: over the three markets, each at three intervals.
        speed: the exchange's seconds a second; beyond 1 real times are as much shorter, and lateness says nothing.
        densest_seconds: faults are so far apart in the mean, at least.
    """

    hours: float
    seed: int = 1
    symbols: int = 40
    speed: float = 1.0
    densest_seconds: float = 60.0

    @property
    def seconds(self) -> float:
        """How long faults happen."""
        return 3600 * self.hours

    def shape(self, metrics_port: int) -> Shape:
        """What is recorded: with default settings, but for what a short run never sees and a fast one never waits for.

        A connection's greatest age is as much shorter than its default as the run is than a week.
        """
        exchange, repair = ExchangeSettings(), RepairSettings()
        age_hours = max(exchange.lifetime_hours * min(1.0, self.hours / WEEK_HOURS), _LEAST_LIFETIME_HOURS)
        settings: dict[str, dict[str, object]] = {
            "exchange": {"lifetime_hours": age_hours / self.speed},
            "writer": {"compact": True},
            "metrics": {"port": metrics_port},
        }
        if self.speed > 1:
            settings["exchange"] |= {
                "silence_timeout_seconds": max(3.0, exchange.silence_timeout_seconds / self.speed),
                "symbols_seconds": max(1.0, exchange.symbols_seconds / self.speed),
                "retry_max_seconds": max(1.0, exchange.retry_max_seconds / self.speed),
            }
            settings["repair"] = {
                "grace_seconds": self.speed,
                "quiet_seconds": min(repair.quiet_seconds, 3 * self.speed),
            }
            settings["sharing"] = {"lost_seconds": SharingSettings().lost_seconds}
        names = symbol_names(self.symbols)
        listed = [word for market in Market for word in ("--symbols", f"{market}:{','.join(names[market])}")]
        updates = ("--updates", "1") if self.speed > 1 else ()
        return Shape(
            speed=self.speed,
            exchange=(*listed, *updates),
            holes=_HOLES,
            intervals=dict.fromkeys(Market, _INTERVALS),
            settings=settings,
            symbols=names,
            max_log_bytes=_MAX_LOG_BYTES,
        )


def symbol_names(count: int) -> Mapping[Market, Sequence[str]]:
    """So many symbols over the markets, one each at least: those that are always there, then made ones."""
    return {market: _names(market, max(1, round(count * share))) for market, share in _SHARES.items()}


def _names(market: Market, count: int) -> Sequence[str]:
    ending = "USD_PERP" if market is Market.COIN_FUTURES else "USDT"
    known = DEFAULT_SYMBOLS[market][:count]
    return (*known, *(f"SOAK{number}{ending}" for number in range(1, count - len(known) + 1)))
