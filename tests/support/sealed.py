"""A recording of June 2024 and more, small enough to be sealed in every test, and what was sealed of it."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from candlewick.sealing.manifest import manifest_key
from consumer.storage.table import Rows
from shared.candle import Series
from shared.interval import DAY_MS, Interval
from shared.market import Market
from shared.series_fact import FactKind, SeriesFact
from tests.support.stores import DataFolder

JUNE = 1_717_200_000_000  # 2024-06-01 00:00 UTC
JULY = JUNE + 30 * DAY_MS
END = JULY + 12 * DAY_MS

HOURS = Series(Market.SPOT, "BTCUSDT", Interval.H1)
CHINESE = Series(Market.SPOT, "币安人生USDT", Interval.H4)
MINUTES = Series(Market.SPOT, "ETHUSDT", Interval.M15)
WEEKS = Series(Market.USDT_FUTURES, "BTCUSDT", Interval.W1)
THREE_DAYS = Series(Market.USDT_FUTURES, "BTCUSDT", Interval.D3)
MONTHS = Series(Market.USDT_FUTURES, "BTCUSDT", Interval.MONTH)
FUTURES = Series(Market.USDT_FUTURES, "BTCUSDT", Interval.H1)
ALL = (HOURS, CHINESE, MINUTES, WEEKS, THREE_DAYS, MONTHS, FUTURES)


def open_times(interval: Interval, begin_ms: int = JUNE, end_ms: int = END) -> list[int]:
    """Open times of an interval from the first at or after a time on; candles end by ``end_ms``."""
    at_ms = interval.floor(begin_ms)
    at_ms = at_ms if at_ms == begin_ms else interval.end(at_ms)
    found = []
    while interval.end(at_ms) <= end_ms:
        found.append(at_ms)
        at_ms = interval.end(at_ms)
    return found


def rows(series: Series, times: Sequence[int], moved: float = 0.0) -> Rows:
    """Plausible candles, each with prices of its own, and those of each market and symbol."""
    moved += len(series.market) + len(series.symbol) * 100
    opens = np.array([10 + time_ms // 60_000 % 997 / 10 + moved for time_ms in times], np.float64)
    values = [opens, opens + 1, opens - 1, opens + 0.5, opens * 3, opens * 4, np.floor(opens), opens, opens]
    return Rows(np.array(times, np.int64), np.array(values, np.float64).reshape(9, len(times)))


def record(store: DataFolder, series: Series, *, without: Sequence[int] = (), begin_ms: int = JUNE) -> None:
    """Candles of a series since June, without those that open at some times, and the fact that it is recorded."""
    times = [time_ms for time_ms in open_times(series.interval, begin_ms) if time_ms not in without]
    store.write_rows(series, rows(series, times))
    store.metadata.write(series, [SeriesFact(series, FactKind.BEGAN, begin_ms, begin_ms, begin_ms + 1)])


def absent(store: DataFolder, series: Series, begin_ms: int, end_ms: int) -> None:
    """The exchange does not have these candles."""
    store.metadata.write(series, [SeriesFact(series, FactKind.ABSENT, begin_ms, end_ms, end_ms)])


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below a folder, staging left out."""
    paths = (path for path in folder.rglob("*") if path.is_file())
    names = {path.relative_to(folder).as_posix(): path for path in paths}
    return {name: path.read_bytes() for name, path in sorted(names.items()) if not name.startswith("staging/")}


def with_its_own_sha256(manifest: str) -> str:
    """A manifest that was edited by somebody who knows how its sha256 is made."""
    body = manifest[: manifest.rindex('"sha256"')]
    return f'{body}"sha256": "{hashlib.sha256(body.encode()).hexdigest()}"\n}}\n'


MANIFEST = manifest_key("2024-06")
