"""Where the simulated exchange's klines come from: made from a seed, or read from archive files. No network here.

Both sources answer the same questions, so that WebSocket and REST show the same market.
"""

import hashlib
import math
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple, Protocol

from shared.candle import Series, checked_symbol
from shared.errors import MalformedCandleError
from shared.interval import DAY_MS, HOUR_MS, MINUTE_MS, SECOND_MS, Interval
from shared.market import Market
from simulator.market.holes import is_hole
from simulator.market.noise import mix, noise, unit


class Kline(NamedTuple):
    """One kline in the order of a REST row; prices and volumes are the exchange's decimal strings."""

    open_time_ms: int
    open: str
    high: str
    low: str
    close: str
    volume: str
    close_time_ms: int
    quote_volume: str
    trades: int
    taker_volume: str
    taker_quote_volume: str


class KlineSource(Protocol):
    """What every source can tell."""

    @property
    def end_ms(self) -> int | None:
        """When the last kline of all has ended; None: never."""

    def symbols(self, market: Market) -> Sequence[str]:
        """Symbols that exchangeInfo lists."""

    def has(self, series: Series) -> bool:
        """Whether there are klines of this series."""

    def kline(self, series: Series, open_time_ms: int) -> Kline | None:
        """The kline that opens then, complete; None where the exchange has none."""

    def next_open(self, series: Series, from_ms: int) -> int | None:
        """The first open time at or after ``from_ms`` that has a kline; None when there is none any more."""

    def opens(self, series: Series, start_ms: int, end_ms: int) -> Sequence[int]:
        """Open times from ``start_ms`` to ``end_ms``, both included, ascending, perhaps too many to hold at once.

        Those of holes may be among them: ``kline`` has none there.
        """


class RecordedKlines(KlineSource, Protocol):
    """Klines that were recorded."""

    @property
    def first_ms(self) -> int:
        """The earliest open time of all."""


class SyntheticSource:
    """Klines that are a pure function of seed, series and open time: the same on every machine, in any order.

    The price is a smooth random walk in logarithms: octaves of value noise from a month down to seconds. A kline's
    open and close are that curve at its ends, so neighbours join. A few symbols have intervals without any trade.

    Args:
        seed: any integer.
        symbols: the listed symbols of each market; every other well-formed symbol is served too.
        end_ms: no kline opens at or after this time.
        holes: the part of all klines that the exchange never had, 0 to 0.9; see ``simulator.market.holes``.
    """

    def __init__(
        self, seed: int, symbols: Mapping[Market, Sequence[str]], end_ms: int | None = None, holes: float = 0.0
    ) -> None:
        self._seed = seed
        self._symbols = symbols
        self._end_ms = end_ms
        self._holes = holes
        self._cached = lru_cache(200_000)(self._kline)
        self.kline = self._cached  # type: ignore[method-assign]

    @property
    def end_ms(self) -> int | None:  # noqa: D102 # as the protocol says
        return self._end_ms

    def set_holes(self, rate: float) -> None:
        """Let the exchange never have had this part of all klines, those that it has sent included."""
        if rate != self._holes:
            self._holes = rate
            self._cached.cache_clear()

    def symbols(self, market: Market) -> Sequence[str]:  # noqa: D102 # as the protocol says
        return self._symbols[market]

    def has(self, series: Series) -> bool:  # noqa: D102
        try:
            checked_symbol(series.symbol)
        except MalformedCandleError:
            return False
        return True

    def kline(self, series: Series, open_time_ms: int) -> Kline | None:  # noqa: D102
        return self._kline(series, open_time_ms)

    def next_open(self, series: Series, from_ms: int) -> int | None:  # noqa: D102
        open_ms = series.interval.floor(from_ms)
        if open_ms < from_ms:
            open_ms = series.interval.end(open_ms)
        while self._holes and is_hole(self._seed, series, open_ms, self._holes):
            open_ms = series.interval.end(open_ms)
        return None if self._end_ms is not None and open_ms >= self._end_ms else open_ms

    def opens(self, series: Series, start_ms: int, end_ms: int) -> Sequence[int]:  # noqa: D102
        end_ms = end_ms if self._end_ms is None else min(end_ms, self._end_ms - 1)
        if series.interval is not Interval.MONTH:
            length = series.interval.typical_ms
            return range(series.interval.floor(start_ms + length - 1), end_ms + 1, length)
        return list(self._months(series, start_ms, end_ms))

    def _months(self, series: Series, start_ms: int, end_ms: int) -> Iterator[int]:
        open_ms = self.next_open(series, start_ms)
        while open_ms is not None and open_ms <= end_ms:
            yield open_ms
            open_ms = self.next_open(series, open_ms + 1)

    def _kline(self, series: Series, open_time_ms: int) -> Kline | None:
        if self._end_ms is not None and open_time_ms >= self._end_ms:
            return None
        if is_hole(self._seed, series, open_time_ms, self._holes):
            return None
        trait = _traits(self._seed, series.market, series.symbol)
        end = series.interval.end(open_time_ms)
        length = end - open_time_ms
        dice = mix(trait.key ^ mix(open_time_ms ^ (length << 20)))
        first = trait.price(open_time_ms)
        if unit(dice) < trait.quiet:
            price = trait.text(first)
            return Kline(open_time_ms, price, price, price, price, "0", end - 1, "0", 0, "0", "0")
        path = [
            first,
            *(trait.price(open_time_ms + length * step // 5) for step in (1, 2, 3, 4)),
            trait.price(end),
        ]
        notional = trait.turnover * (length / MINUTE_MS) * (0.2 + 1.8 * unit(mix(dice + 1)) ** 2)
        taker = 0.3 + 0.4 * unit(mix(dice + 2))
        mean = sum(path) / len(path)
        base, quote = notional / mean, notional
        if series.market is Market.COIN_FUTURES:  # contracts of 100 USD (BTC) or 10, and the base asset
            base, quote = math.ceil(notional / 100), notional / mean
        places = 0 if series.market is Market.COIN_FUTURES else 8 if series.market is Market.SPOT else 3
        return Kline(
            open_time_ms,
            trait.text(path[0]),
            trait.text(max(path)),
            trait.text(min(path)),
            trait.text(path[-1]),
            f"{base:.{places}f}",
            end - 1,
            f"{quote:.8f}",
            max(1, int(notional / trait.trade_size)),
            f"{base * taker:.{places}f}",
            f"{quote * taker:.8f}",
        )


class _Traits(NamedTuple):
    """What is constant about one synthetic symbol."""

    key: int
    base: float
    decimals: int
    turnover: float
    trade_size: float
    quiet: float

    def price(self, time_ms: int) -> float:
        exponent = sum(
            size * noise(self.key + number, time_ms / length) for number, (length, size) in enumerate(_OCTAVES)
        )
        return self.base * math.exp(exponent)

    def text(self, price: float) -> str:
        return f"{price:.{self.decimals}f}"


_OCTAVES = (
    (30 * DAY_MS, 0.30),
    (2 * DAY_MS, 0.05),
    (4 * HOUR_MS, 0.015),
    (20 * MINUTE_MS, 0.004),
    (2 * MINUTE_MS, 0.001),
    (10 * SECOND_MS, 0.0003),
)
_KNOWN_PRICES = {"BTC": 64_000.0, "ETH": 3_100.0, "BNB": 590.0, "SOL": 150.0}
_QUIET_ONE_IN = 8


@lru_cache(maxsize=10_000)
def _traits(seed: int, market: Market, symbol: str) -> _Traits:
    digest = hashlib.blake2b(f"{seed} {symbol.split('_', maxsplit=1)[0]}".encode(), digest_size=8).digest()
    key = int.from_bytes(digest, "big")
    base = _KNOWN_PRICES.get(symbol[:3], math.exp(unit(mix(key + 11)) * 12 - 5))
    decimals = max(2, 5 - int(math.log10(base))) - (0 if market is Market.SPOT else 1)
    turnover = math.exp(10 + 5 * unit(mix(key + 12)))
    quiet = 0.05 if mix(key + 13) % _QUIET_ONE_IN == 0 and symbol[:3] not in _KNOWN_PRICES else 0.0
    return _Traits(key, base, decimals, turnover, 300 + turnover / 500, quiet)


def so_far(kline: Kline, at_ms: int, end_ms: int) -> Kline:
    """A kline as it looks while it is open, at ``at_ms``: the price on its way from open to close, volumes in part."""
    part = min(max((at_ms - kline.open_time_ms) / (end_ms - kline.open_time_ms), 0.0), 1.0)
    places = len(kline.open.partition(".")[2])
    first, last = float(kline.open), float(kline.close)
    price = first + (last - first) * part
    highest, lowest = max(first, price), min(first, price)

    def share(text: str) -> str:
        return f"{float(text) * part:.{len(text.partition('.')[2])}f}"

    return kline._replace(
        high=f"{highest:.{places}f}",
        low=f"{lowest:.{places}f}",
        close=f"{price:.{places}f}",
        volume=share(kline.volume),
        quote_volume=share(kline.quote_volume),
        trades=int(kline.trades * part),
        taker_volume=share(kline.taker_volume),
        taker_quote_volume=share(kline.taker_quote_volume),
    )
