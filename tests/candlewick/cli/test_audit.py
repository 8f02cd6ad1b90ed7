"""``candlewick audit``, as a user runs it."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from consumer.storage.layout import series_folder
from shared.candle import Candle, Series
from shared.interval import DAY_MS, HOUR_MS, MINUTE_MS, Interval
from shared.market import Market
from shared.series_fact import FactKind, SeriesFact
from simulator.market.klines import Kline, SyntheticSource
from tests.support.candles import JUNE_30
from tests.support.commands import Run
from tests.support.stores import DataFolder

SPOT = Series(Market.SPOT, "BTCUSDT", Interval.M1)
SOURCE = SyntheticSource(1, dict.fromkeys(Market, ("BTCUSDT",)))


def candle(series: Series, kline: Kline) -> Candle:
    values = (kline.open, kline.high, kline.low, kline.close, kline.volume, kline.quote_volume, kline.trades)
    takers = (kline.taker_volume, kline.taker_quote_volume)
    return Candle(series, kline.open_time_ms, *values, *takers, "rest", kline.close_time_ms, kline.close_time_ms)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Two hours of the simulated exchange's own candles, without twelve minutes, and one row that was changed."""
    store = DataFolder(tmp_path / "data")
    opens = [JUNE_30 + at * MINUTE_MS for at in range(120) if not 30 <= at < 42]
    klines = [kline for open_ms in opens if (kline := SOURCE.kline(SPOT, open_ms)) is not None]
    klines[5] = klines[5]._replace(close=klines[5].open)
    store.write(SPOT, [candle(SPOT, kline) for kline in klines])
    notes = [SeriesFact(SPOT, FactKind.BEGAN, JUNE_30, JUNE_30, JUNE_30 + 1)]
    store.metadata.write(SPOT, notes)
    store.close()
    return tmp_path / "data"


def test_gaps_are_named_and_counted_and_the_exit_code_tells(candlewick: Run, data: Path) -> None:
    done = candlewick("audit", "--data", data)
    assert done.returncode == 1
    assert "missing from 2024-06-30 00:30:00+00:00 to 2024-06-30 00:42:00+00:00" in done.stdout
    (found,) = json.loads(candlewick("audit", "--data", data, "--json").stdout)
    assert (found["expected"], found["stored"], found["missing"]) == (120, 108, 12)
    assert found["gaps"] == [["2024-06-30T00:30:00+00:00", "2024-06-30T00:42:00+00:00"]]
    assert candlewick("audit", "spot", "--data", data, "--to", "2024-06-30T00:30").returncode == 0
    assert candlewick("audit", "spot", "BTCUSDT", "--data", data, "--from", "2024-06-30T00:42").returncode == 0


def test_a_series_that_was_never_recorded_is_one_line_and_exit_code_2(candlewick: Run, data: Path) -> None:
    for arguments, name in (
        (("spot", "XRPUSDT"), "XRPUSDT was never recorded"),
        (("coin_futures",), "coin_futures was never recorded"),
        (("--interval", "1h"), "1h was never recorded"),
        (("fx",), "market 'fx' is not known"),
        (("--against", "/nowhere"), "/nowhere"),
    ):
        done = candlewick("audit", *arguments, "--data", data)
        assert done.returncode == 2, done
        assert name in done.stderr
        assert len(done.stderr.splitlines()) == 1
    done = candlewick("audit", "--data", data / "nothing")
    assert (done.returncode, done.stderr) == (2, f"candlewick: there is no store in {data / 'nothing'}\n")


def test_a_repair_fetches_what_is_missing_and_nothing_else(
    candlewick: Run, data: Path, simulator: Callable[..., str]
) -> None:
    address = simulator("--speed", 1, "--start", "2024-07-01", "--symbols", "spot:BTCUSDT")
    folder = data / "candles" / series_folder(SPOT)
    before = (folder / "2024-06-30.parquet").stat().st_ino
    compared = candlewick("audit", "--data", data, "--simulator", address, "--mix-sources", "--against", "rest")
    assert compared.returncode == 1
    assert "compared 108 rows: 1 different" in compared.stdout
    assert " close: " in compared.stdout
    assert "2024-06-30 00:30:00+00:00 only there" in compared.stdout
    assert "… and 2 more rows only there" in compared.stdout
    assert (folder / "2024-06-30.parquet").stat().st_ino == before, "a comparison changes nothing"

    repaired = candlewick("audit", "--data", data, "--simulator", address, "--mix-sources", "--repair")
    assert repaired.returncode == 0, repaired.stdout
    assert "12 rows fetched (12 from REST)" in repaired.stderr
    (found,) = json.loads(candlewick("audit", "--data", data, "--json").stdout)
    assert (found["stored"], found["missing"]) == (120, 0)


def test_where_values_differ_the_exchange_s_are_stored_when_the_user_says_so(
    candlewick: Run, data: Path, simulator: Callable[..., str]
) -> None:
    address = simulator("--speed", 1, "--start", "2024-07-01", "--symbols", "spot:BTCUSDT")
    exchange = ("--data", data, "--simulator", address, "--mix-sources", "--to", "2024-06-30T00:30")
    without = candlewick("audit", *exchange, "--correct")
    assert (without.returncode, len(without.stderr.splitlines())) == (2, 1)
    done = candlewick("audit", *exchange, "--against", "rest", "--correct")
    assert done.returncode == 0, done.stdout
    assert "compared 30 rows: 1 different and corrected: 1" in done.stdout
    assert " close: " in done.stdout, "which changed is named"
    again = candlewick("audit", *exchange, "--against", "rest")
    assert (again.returncode, "compared 30 rows: 0 different" in again.stdout) == (0, True)


def test_an_absence_is_unsaid_by_an_exchange_that_has_the_candles_after_all(
    candlewick: Run, data: Path, simulator: Callable[..., str]
) -> None:
    store = DataFolder(data)
    absent = SeriesFact(SPOT, FactKind.ABSENT, JUNE_30 + 30 * MINUTE_MS, JUNE_30 + 42 * MINUTE_MS, JUNE_30 + 1)
    store.metadata.write(SPOT, [absent])
    store.close()
    address = simulator("--speed", 1, "--start", "2024-07-01", "--symbols", "spot:BTCUSDT")
    (found,) = json.loads(candlewick("audit", "--data", data, "--json").stdout)
    assert (found["absent"], found["missing"]) == (12, 0)
    done = candlewick("audit", "--data", data, "--simulator", address, "--mix-sources", "--repair")
    assert "12 rows fetched (12 from REST)" in done.stderr
    (found,) = json.loads(candlewick("audit", "--data", data, "--json").stdout)
    assert (found["stored"], found["absent"], found["missing"]) == (120, 0, 0)


def test_a_recorded_series_of_which_nothing_came_is_not_forgotten(candlewick: Run, data: Path) -> None:
    other = SPOT._replace(symbol="ETHUSDT")
    store = DataFolder(data)
    notes = [SeriesFact(other, FactKind.BEGAN, JUNE_30 + HOUR_MS, JUNE_30 + HOUR_MS, JUNE_30 + DAY_MS)]
    store.metadata.write(other, notes)
    store.close()
    done = candlewick("audit", "spot", "ETHUSDT", "--data", data, "--to", "2024-06-30T02:00")
    assert done.returncode == 1
    assert "missing from 2024-06-30 01:00:00+00:00 to 2024-06-30 02:00:00+00:00" in done.stdout


def test_between_two_histories_nothing_is_fetched_compared_or_missed(
    candlewick: Run, tmp_path: Path, simulator: Callable[..., str]
) -> None:
    """Two days a month apart, each with a hole; beside them a series that was only meant to be recorded."""
    hours = [SPOT._replace(interval=Interval.H1), SPOT._replace(symbol="ETHUSDT", interval=Interval.H1)]
    store = DataFolder(tmp_path / "data")
    opens = [JUNE_30 + at * HOUR_MS for at in (*range(24), *range(720, 744)) if at not in (5, 730)]
    klines = [kline for open_ms in opens if (kline := SOURCE.kline(hours[0], open_ms)) is not None]
    store.write(hours[0], [candle(hours[0], kline) for kline in klines])
    for begin, end in ((0, 24), (720, 744)):
        fetched = (JUNE_30 + begin * HOUR_MS, JUNE_30 + end * HOUR_MS)
        store.metadata.write(hours[0], [SeriesFact(hours[0], FactKind.FETCHED, *fetched, JUNE_30)])
    last_ms = JUNE_30 + 743 * HOUR_MS
    store.metadata.write(hours[1], [SeriesFact(hours[1], FactKind.BEGAN, last_ms, last_ms, last_ms)])
    store.close()
    address = simulator("--speed", 1, "--start", "2024-08-01", "--symbols", "spot:BTCUSDT,ETHUSDT")
    exchange = ("--data", "data", "--simulator", address, "--mix-sources")
    compared = candlewick("audit", *exchange, "--against", "rest")
    assert compared.returncode == 1, compared.stderr
    assert "spot BTCUSDT-1h compared 46 rows: 0 different" in compared.stdout
    assert compared.stdout.count("only there") == 2, "the two holes"
    assert "spot ETHUSDT-1h compared 0 rows" in compared.stdout
    repaired = candlewick("audit", "spot", "BTCUSDT", *exchange, "--repair")
    assert repaired.returncode == 0, repaired.stdout
    assert repaired.stderr.count("1 row fetched (1 from REST)") == 2
    (found, _) = json.loads(candlewick("audit", "--data", "data", "--json").stdout)
    assert (found["expected"], found["stored"], found["missing"]) == (48, 48, 0)
