"""Pages of klines: cheap, within every limit of the exchange, and always getting on."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from producers.exchange.page import Page, klines_weight, next_page
from shared.candle import Series
from shared.interval import DAY_MS, Interval
from shared.market import Market
from tests.support.candles import JUNE_30

MARKETS = st.sampled_from(Market)
INTERVALS = st.sampled_from(Interval)


def opens(interval: Interval, time_ms: int, count: int) -> list[int]:
    """So many open times in a row, from the candle on that contains a time."""
    found = [interval.floor(time_ms)]
    while len(found) < count:
        found.append(interval.end(found[-1]))
    return found


@st.composite
def wishes(draw: st.DrawFn) -> tuple[Series, list[int]]:
    """A series, and the open times that are wanted, with the end of the last one behind them."""
    series = Series(draw(MARKETS), "BTCUSD_PERP", draw(INTERVALS))
    count = draw(st.integers(1, 120) | st.integers(1, 2500))
    first = draw(st.integers(1_500_000_000_000, 1_800_000_000_000))
    return series, opens(series.interval, first, count + 1)


@pytest.mark.parametrize(
    ("market", "limit", "weight"),
    [
        (Market.SPOT, 1, 2),
        (Market.SPOT, 1000, 2),
        *(
            (market, limit, weight)
            for market in (Market.USDT_FUTURES, Market.COIN_FUTURES)
            for limit, weight in ((1, 1), (99, 1), (100, 2), (499, 2), (500, 5), (1000, 5), (1001, 10), (1500, 10))
        ),
    ],
)
def test_a_request_weighs_what_the_exchange_says(market: Market, limit: int, weight: int) -> None:
    assert klines_weight(market, limit) == weight


@given(wishes())
def test_a_page_is_within_the_exchanges_limits_and_cheap(wish: tuple[Series, list[int]]) -> None:
    series, wanted = wish
    page = next_page(series, wanted[0], wanted[-1])
    assert 1 <= page.limit <= series.market.facts.klines_limit
    assert klines_weight(series.market, page.limit) <= 2
    if len(wanted) <= 90 and series.market is not Market.SPOT:
        assert klines_weight(series.market, page.limit) == 1


@given(wishes())
def test_a_page_begins_where_it_should_and_covers_at_least_one_candle_and_no_more_than_is_wanted(
    wish: tuple[Series, list[int]],
) -> None:
    series, wanted = wish
    page = next_page(series, wanted[0], wanted[-1])
    assert page.from_ms == wanted[0]
    assert wanted[1] <= page.covers_to_ms <= wanted[-1]


@given(wishes())
def test_a_page_of_coin_margined_futures_fits_into_one_answer_from_whichever_end_it_is_counted(
    wish: tuple[Series, list[int]],
) -> None:
    series, wanted = wish
    series = series._replace(market=Market.COIN_FUTURES)
    page = next_page(series, wanted[0], wanted[-1])
    assert page.end_ms == page.covers_to_ms
    assert page.end_ms is not None
    assert page.end_ms - page.from_ms <= 200 * DAY_MS
    assert sum(page.from_ms <= open_ms < page.end_ms for open_ms in wanted) <= page.limit


@given(wishes())
def test_other_markets_are_asked_without_an_end_so_that_what_follows_a_hole_is_in_the_answer(
    wish: tuple[Series, list[int]],
) -> None:
    series, wanted = wish
    page = next_page(series._replace(market=Market.SPOT), wanted[0], wanted[-1])
    assert page.end_ms is None
    assert page.limit >= min(len(wanted) - 1, 1000)


def answer_of(page: Page, series: Series, wanted: list[int]) -> list[int]:
    """What is behind a page: the oldest rows, or those nearest its end."""
    if page.end_ms is None:
        return [open_ms for open_ms in wanted[:-1] if open_ms >= page.from_ms][: page.limit]
    rows = [open_ms for open_ms in wanted[:-1] if page.from_ms <= open_ms < page.end_ms]
    assert series.market is Market.COIN_FUTURES
    return rows[-page.limit :]


@given(wishes())
def test_page_after_page_everything_is_read_once_and_in_as_few_requests_as_its_limits_allow(
    wish: tuple[Series, list[int]],
) -> None:
    series, wanted = wish
    read, at, pages = [], wanted[0], 0
    while at < wanted[-1]:
        page = next_page(series, at, wanted[-1])
        rows = answer_of(page, series, wanted)
        assert rows, "a page that brings nothing"
        read += rows
        assert series.interval.end(rows[-1]) > at
        at, pages = series.interval.end(rows[-1]), pages + 1
    assert read == wanted[:-1]
    most = 1000 if series.market is Market.SPOT else 499
    if series.market is Market.COIN_FUTURES:
        most = min(most, 200 * DAY_MS // min(series.interval.typical_ms, 31 * DAY_MS))
    assert pages <= -(-len(read) // min(most, len(read))) + (
        len(read) // most if series.interval is Interval.MONTH else 0
    )


@pytest.mark.parametrize("market", list(Market))
@pytest.mark.parametrize("interval", list(Interval))
def test_one_candle_costs_one_row_or_two_where_its_length_varies(market: Market, interval: Interval) -> None:
    first, end = opens(interval, JUNE_30, 2)
    page = next_page(Series(market, "BTCUSDT", interval), first, end)
    assert page.limit == (2 if interval is Interval.MONTH else 1)
    assert page.covers_to_ms == end
