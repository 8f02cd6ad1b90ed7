"""Which file a candle is in, and which file holds a series' metadata. Pure names and times.

    candles/market=usdt_futures/interval=1m/symbol=BTCUSDT/
        2024-05.parquet         a closed month, compacted
        2024-06-30.parquet      an open period
    ledger/market=usdt_futures/interval=1m/symbol=BTCUSDT.json

A partition is one file: a series in a period. The period is chosen by the interval so that a file that is rewritten
at each flush stays small (1,440 rows of 1m, never 15,000) and the cost of a candle does not grow with history. Names
sort by time.
"""

import re
from datetime import UTC, datetime
from enum import StrEnum
from functools import lru_cache

from shared.candle import Series, checked_symbol
from shared.errors import MalformedCandleError
from shared.interval import DAY_MS, HOUR_MS, Interval
from shared.market import Market

SUFFIX, METADATA_SUFFIX = ".parquet", ".json"
CANDLES, METADATA = "candles", "ledger"
"""Folders of a data folder: the dataset, and what rows cannot tell."""


class Period(StrEnum):
    """How much time one partition holds; the value is its name's format."""

    HOUR = "%Y-%m-%dT%H"
    DAY = "%Y-%m-%d"
    MONTH = "%Y-%m"
    YEAR = "%Y"


_NAME = re.compile(r"(\d{4})(?:-(\d\d)(?:-(\d\d)(?:T(\d\d))?)?)?" + re.escape(SUFFIX), re.ASCII)
_PERIODS = (Period.YEAR, Period.MONTH, Period.DAY, Period.HOUR)  # by the last part of a name
_FIRST = (1, 1, 1, 0)  # year, month, day and hour that a name may leave out


def period_of(interval: Interval) -> Period:
    """The period of an interval's open partitions."""
    if interval is Interval.S1:
        return Period.HOUR
    if interval is Interval.M1:
        return Period.DAY
    return Period.MONTH if interval.typical_ms <= HOUR_MS else Period.YEAR


def partition_name(period: Period, open_time_ms: int) -> str:
    """File name of the partition that holds a candle opening at ``open_time_ms``."""
    return datetime.fromtimestamp(open_time_ms / 1000, UTC).strftime(period.value) + SUFFIX


@lru_cache(maxsize=10_000)  # every series has files of the same names
def partition_span(name: str) -> tuple[int, int] | None:
    """First open time (ms) that a partition of this name may hold, and the first after it; None for other names."""
    match = _NAME.fullmatch(name)
    if match is None:
        return None
    parts = [int(part) for part in match.groups() if part]  # strptime would take five times as long
    year, month, day, hour = *parts, *_FIRST[len(parts) :]
    period = _PERIODS[len(parts) - 1]
    try:
        begin_ms = _utc_ms(year, month, day, hour)
        year_end_ms = _utc_ms(year + 1)
    except ValueError:
        return None
    if period is Period.YEAR:
        return begin_ms, year_end_ms
    if period is Period.MONTH:
        return begin_ms, Interval.MONTH.end(begin_ms)
    return begin_ms, begin_ms + (HOUR_MS if period is Period.HOUR else DAY_MS)


def _utc_ms(year: int, month: int = 1, day: int = 1, hour: int = 0) -> int:
    return int(datetime(year, month, day, hour, tzinfo=UTC).timestamp()) * 1000


def series_folder(series: Series) -> str:
    """A series' folder below the dataset's root, in Hive's ``key=value`` form."""
    return f"market={series.market}/interval={series.interval.on_disk}/symbol={series.symbol}"


def candles_key(series: Series, name: str = "") -> str:
    """The key of a series' folder in the dataset, or of one of its partitions."""
    return f"{CANDLES}/{series_folder(series)}" + (f"/{name}" if name else "")


def metadata_key(series: Series) -> str:
    """The key of a series' metadata."""
    return f"{METADATA}/{series_folder(series)}{METADATA_SUFFIX}"


def market_folder(market: Market) -> str:
    """A market's folder in the dataset."""
    return f"{CANDLES}/market={market}"


def sources_key(market: Market) -> str:
    """The key of what is known of a market's sources."""
    return f"{METADATA}/market={market}/sources.json"


def series_of_folder(folder: str) -> Series | None:
    """The series whose folder this is, the inverse of ``series_folder``; None where it is no series' folder."""
    match = re.fullmatch(r"market=([^/]+)/interval=([^/]+)/symbol=([^/]+)", folder)
    if match is None:
        return None
    try:
        return Series(Market(match[1]), checked_symbol(match[3]), Interval.from_disk(match[2]))
    except (ValueError, MalformedCandleError):
        return None
