"""How much of a series one klines request asks for, and what it costs. Pure.

Weights are Binance's: spot 2 whatever the limit; futures 1 below 100 rows, 2 below 500, 5 up to 1000, 10 above. So a
futures page of 499 rows costs the least a row (250 rows a weight; 1500 rows: 150), and few rows cost half of that.

Spot and USDT-M answer the oldest rows from ``startTime`` on. COIN-M answers those nearest to ``endTime`` and refuses
more than 200 days: its pages are cut so that all of a page's open times fit into one answer, and then it does not
matter from which end the exchange counts.
"""

from collections.abc import Sequence
from typing import NamedTuple

from shared.candle import Candle, Series
from shared.interval import DAY_MS, Interval
from shared.market import Market
from shared.text import counted

_CHEAPEST_PAGE = {Market.SPOT: 1000, Market.USDT_FUTURES: 499, Market.COIN_FUTURES: 499}
_LIGHT_PAGE = 99
_COIN_MOST_MS = 200 * DAY_MS


class Page(NamedTuple):
    """One klines request."""

    from_ms: int  # first open time asked for
    end_ms: int | None  # open time to stop before; None for as many rows as the limit allows
    limit: int  # most rows
    covers_to_ms: int  # when the answer holds fewer rows than ``limit``, it is all that exists up to here


class OddRow(NamedTuple):
    """A row that is no candle: when it opens, in UTC ms, and what is wrong with it."""

    open_time_ms: int
    reason: str


class Answer(NamedTuple):
    """What a klines request brought. What is odd of it bars nothing else."""

    candles: Sequence[Candle]  # the closed ones, ascending
    covered_to_ms: int  # they are all that exist from the page's beginning up to here, unless ``is_doubtful``
    is_doubtful: bool = False  # whether there were rows of which not even the time can be told, or of another question
    odd: Sequence[OddRow] = ()  # rows that are no candle, ascending


def odd_on_grid(interval: Interval, odd: Sequence[OddRow]) -> Sequence[OddRow]:
    """Those of odd rows that stand where a candle may: it may be right the next time. All others are passed."""
    return [row for row in odd if interval.is_open_time(row.open_time_ms)]


def odd_reason(odd: Sequence[OddRow]) -> str:
    """One line about odd rows; empty without any."""
    if not odd:
        return ""
    return f"{counted(len(odd), 'row is', 'rows are')} no candle: {odd[0].reason}"


def next_open_ms(interval: Interval, time_ms: int) -> int:
    """The first time after another at which a candle may open, whatever the grid of 3d candles is."""
    return time_ms - time_ms % DAY_MS + DAY_MS if interval is Interval.D3 else interval.end(interval.floor(time_ms))


def klines_weight(market: Market, limit: int) -> int:
    """Weight of one klines request."""
    if market is Market.SPOT:
        return 2
    return 1 if limit < 100 else 2 if limit < 500 else 5 if limit <= 1000 else 10  # noqa: PLR2004 # Binance's steps


def next_page(series: Series, from_ms: int, to_ms: int) -> Page:
    """The page that begins at an open time and covers as much up to ``to_ms``, a candle's end, as is cheap."""
    length = series.interval.typical_ms if series.interval is not Interval.MONTH else 28 * DAY_MS
    wanted = -(-(to_ms - from_ms) // length)
    limit = min(wanted, _CHEAPEST_PAGE[series.market]) if wanted > _LIGHT_PAGE else max(wanted, 1)
    if series.market is not Market.COIN_FUTURES:
        return Page(from_ms, None, limit, to_ms)
    end = min(to_ms, from_ms + limit * length, from_ms + _COIN_MOST_MS // length * length)
    return Page(from_ms, end, limit, end)


def page_of_gaps(series: Series, gaps: Sequence[tuple[int, int]]) -> Page:
    """One page from the first gap on that reaches as many gaps as it can without becoming heavier for nothing."""
    first = gaps[0][0]
    whole = next_page(series, first, gaps[-1][1])
    reach = whole.end_ms or first + whole.limit * series.interval.typical_ms
    reached = [end for begin, end in gaps if begin < reach]
    return next_page(series, first, min(reached[-1], max(reach, series.interval.end(first))))
