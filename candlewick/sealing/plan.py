"""Which months of which series are over, by their market's own time: what may be sealed."""

import contextlib
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from candlewick.sealing.manifest import month_of, month_span
from consumer.dataset.compact import GRACE_MS
from consumer.dataset.dataset import Dataset
from consumer.dataset.figures import market_times
from consumer.storage.metadata import SeriesMetadata
from shared.candle import Series
from shared.errors import CandlewickError, StoreError
from shared.interval import Interval, utc
from shared.spans import Span

_ACROSS_MONTHS = (Interval.D3, Interval.W1)
_NEEDED = "two days beyond its last candle are needed"


class Plan(NamedTuple):
    """Months that are over, oldest first, each with its series; and, where one month was named, what is not over."""

    months: Mapping[str, list[Series]]
    too_early: Mapping[Series, str]


def plan_all(dataset: Dataset, series: Iterable[Series]) -> Plan:
    """Every month that is over of these series."""
    chosen = list(series)
    times, months = market_times(dataset, {one.market for one in chosen}), dict[str, list[Series]]()
    for one in chosen:
        for month in _months(dataset, one, times.get(one.market, 0)):
            months.setdefault(month, []).append(one)
    return Plan(dict(sorted(months.items())), {})


def plan_month(dataset: Dataset, series: Iterable[Series], month: str) -> Plan:
    """One month of these series. CandlewickError when it is over for none of them."""
    chosen = list(series)
    times = market_times(dataset, {one.market for one in chosen})
    over = [one for one in chosen if _is_over(one.interval, month, times.get(one.market, 0))]
    if not over:
        newest = ", ".join(f"{market} is stored up to {_time(time_ms)}" for market, time_ms in sorted(times.items()))
        raise CandlewickError(f"{month} is not over: {newest or 'no candle is stored'}; {_NEEDED}")
    begin_ms = month_span(month).begin_ms
    others = [one for one in chosen if one not in over and times.get(one.market, 0) > begin_ms]
    return Plan({month: over}, dict.fromkeys(others, f"it is not over: {_NEEDED}"))


def sealed_span(interval: Interval, month: str) -> Span:
    """From a month's beginning to a time by which each candle that opens in the month has ended, and no other.

    That holds whatever day 3d candles are counted from: those that open in the month are those that end in the span.
    """
    begin_ms, end_ms = month_span(month)
    return Span(begin_ms, end_ms + interval.typical_ms - 1 if interval in _ACROSS_MONTHS else end_ms)


def _is_over(interval: Interval, month: str, market_ms: int) -> bool:
    """As ``compact`` has it, and the last candle that opens in the month has to be over, too."""
    return sealed_span(interval, month).end_ms + GRACE_MS <= market_ms


def _months(dataset: Dataset, series: Series, market_ms: int) -> Iterator[str]:
    """Months that are over, from the first in which the series has a file or is expected, to the last."""
    metadata = SeriesMetadata()
    with contextlib.suppress(StoreError):  # who seals it says so
        metadata = dataset.metadata(series)
    spans = [*(part.span for part in dataset.partitions(series)), *metadata.fetched]
    if metadata.began_ms is not None:
        spans.append(Span(metadata.began_ms, market_ms if metadata.is_recorded else metadata.end_ms or 0))
    if not spans:
        return
    at_ms = metadata.absent.end_of_run(min(span.begin_ms for span in spans))  # it may have begun years later
    end_ms = max(span.end_ms for span in spans)
    while at_ms < end_ms and _is_over(series.interval, month := month_of(at_ms), market_ms):
        yield month
        at_ms = month_span(month).end_ms


def _time(time_ms: int) -> str:
    return f"{utc(time_ms):%Y-%m-%d %H:%M}"
