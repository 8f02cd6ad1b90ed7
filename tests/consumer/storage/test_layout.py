"""Which file a candle is in."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer.storage.layout import Period, partition_name, partition_span, period_of, series_folder, series_of_folder
from shared.candle import Series
from shared.interval import Interval
from shared.market import Market
from tests.support.candles import JUNE_30

times = st.integers(0, 4_102_444_800_000)


@pytest.mark.parametrize(
    ("interval", "name"),
    [
        ("1s", "2024-06-30T00.parquet"),
        ("1m", "2024-06-30.parquet"),
        ("3m", "2024-06.parquet"),
        ("1h", "2024-06.parquet"),
        ("2h", "2024.parquet"),
        ("1M", "2024.parquet"),
    ],
)
def test_the_interval_chooses_the_period(interval: str, name: str) -> None:
    assert partition_name(period_of(Interval(interval)), JUNE_30) == name


@given(st.sampled_from(list(Period)), times)
def test_a_partition_s_name_tells_the_time_it_spans(period: Period, time_ms: int) -> None:
    span = partition_span(partition_name(period, time_ms))
    assert span is not None
    assert span[0] <= time_ms < span[1]
    assert partition_span(partition_name(period, span[0])) == span
    assert partition_name(period, span[1]) != partition_name(period, span[0])


@given(st.sampled_from(list(Period)), times, times)
def test_names_sort_as_time_does(period: Period, one: int, other: int) -> None:
    names = sorted([partition_name(period, one), partition_name(period, other)])
    assert names == [partition_name(period, min(one, other)), partition_name(period, max(one, other))]


@pytest.mark.parametrize(
    "interval", [interval for interval in Interval if interval.typical_ms <= Interval.D1.typical_ms]
)
def test_a_partition_stays_near_fifteen_hundred_rows(interval: Interval) -> None:
    span = partition_span(partition_name(period_of(interval), JUNE_30))
    assert span is not None
    assert (span[1] - span[0]) // interval.typical_ms <= 15_000


@pytest.mark.parametrize(
    "name",
    [
        "2024-13.parquet",
        "2024-00.parquet",
        "2024-06-30",
        "x.parquet",
        "2024-06-31.parquet",
        ".parquet",
        "0000.parquet",
        "9999.parquet",
        "2024-06-30T24.parquet",
        "2024.parquet\n",
    ],
)
def test_other_names_are_no_partitions(name: str) -> None:
    assert partition_span(name) is None


@pytest.mark.parametrize("interval", list(Interval))
@pytest.mark.parametrize("symbol", ["BTCUSD_PERP", "币安人生USDT"])
def test_a_folder_s_name_leads_back_to_its_series(interval: Interval, symbol: str) -> None:
    series = Series(Market.COIN_FUTURES, symbol, interval)
    assert series_of_folder(series_folder(series)) == series


@pytest.mark.parametrize(
    "folder", ["", "market=spot", "market=x/interval=1m/symbol=A", "market=spot/interval=1M/symbol=A", "a/b/c"]
)
def test_other_folders_are_no_series(folder: str) -> None:
    assert series_of_folder(folder) is None
