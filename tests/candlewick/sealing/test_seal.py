"""What is sealed, what is not and why, and how others read it."""

import json
from pathlib import Path

import duckdb
import pandas as pd
import polars as pl
import pytest

from candlewick import __version__
from candlewick.sealing.place import LocalPlace
from candlewick.sealing.verify import verify
from consumer.storage.layout import candles_key, series_folder
from shared.candle import Series
from shared.interval import DAY_MS, HOUR_MS, MINUTE_MS, Interval
from shared.series_fact import FactKind, SeriesFact
from tests.support.commands import Run
from tests.support.sealed import (
    ALL,
    CHINESE,
    FUTURES,
    HOURS,
    JULY,
    JUNE,
    MANIFEST,
    MONTHS,
    THREE_DAYS,
    WEEKS,
    absent,
    contents,
    open_times,
    record,
    rows,
)
from tests.support.stores import DataFolder


def line_of(sealed: Path, series: Series, manifest: str = MANIFEST) -> dict[str, object]:
    """What a manifest says of a series."""
    lines = json.loads((sealed / manifest).read_text())["series"]
    (line,) = [line for line in lines if line["file"].startswith(candles_key(series))]
    assert isinstance(line, dict)
    return line


def test_a_month_is_one_file_a_series_and_one_manifest(sealed: Path) -> None:
    files = {f"candles/{series_folder(series)}/2024-06.parquet" for series in ALL}
    assert set(contents(sealed)) == files | {MANIFEST}
    assert not (sealed / "staging").exists()
    line = line_of(sealed, CHINESE)
    assert (line["rows"], line["expected"], line["absent"], line["missing"]) == (180, 180, 0, 0)
    assert line["ranges"] == {
        "expected": [["2024-06-01T00:00:00Z", "2024-07-01T00:00:00Z"]],
        "absent": [],
        "missing": [],
    }
    assert (line["sources"], line["sealed_by"]) == (["binance"], f"candlewick {__version__}")


@pytest.mark.parametrize("series", ALL, ids=str)
def test_pandas_has_the_same_frame_as_of_what_is_recorded(sealed: Path, store: DataFolder, series: Series) -> None:
    recorded = pd.read_parquet(store.root / series_folder(series))
    frame = pd.read_parquet(sealed / "candles" / series_folder(series) / "2024-06.parquet", partitioning=None)
    june = recorded["candle_begin_time"] < pd.Timestamp("2024-07-01", tz="UTC")
    pd.testing.assert_frame_equal(frame, recorded[june])
    assert frame.index.name == "candle_end_time"


def test_polars_and_duckdb_read_all_of_it_with_the_names_of_its_series(sealed: Path) -> None:
    frame = pl.read_parquet(sealed / "candles", hive_partitioning=True)
    assert sorted(set(frame["symbol"])) == ["BTCUSDT", "ETHUSDT", "币安人生USDT"]
    counts = frame.group_by("market", "symbol", "interval").len().rows()
    assert sorted(count for *_, count in counts) == [1, 4, 10, 180, 720, 720, 2880]
    relation = duckdb.read_parquet(f"{sealed}/candles/**/2024-06.parquet", hive_partitioning=True)
    sums = dict(relation.aggregate("interval, sum(close)").fetchall())
    assert sums == pytest.approx(dict(frame.group_by("interval").agg(pl.col("close").sum()).rows()))


def test_our_own_commands_read_sealed_months_as_a_store(sealed: Path, candlewick: Run) -> None:
    done = candlewick("read", "spot", "BTCUSDT", "1h", "--data", sealed, "--stored-only", "--format", "csv")
    assert (done.returncode, len(done.stdout.splitlines())) == (0, 721)


def test_the_same_rows_are_the_same_bytes_however_they_were_stored(
    sealed: Path, tmp_path: Path, candlewick: Run
) -> None:
    other = DataFolder(tmp_path / "other")
    for series in reversed(ALL):
        times = open_times(series.interval)
        for part in (times[1::2], times[::2]):
            other.write_rows(series, rows(series, part))
        other.metadata.write(series, [SeriesFact(series, FactKind.BEGAN, JUNE, JUNE, JUNE + 1)])
    other.close()
    for market in ("usdt_futures", "spot"):
        assert candlewick("seal", market, "--data", other.data, "--into", "again").returncode == 0
    assert contents(tmp_path / "again") == contents(sealed)


def test_a_second_run_changes_nothing(sealed: Path, candlewick: Run) -> None:
    before = {path: path.stat().st_ino for path in sealed.rglob("*")}
    done = candlewick("seal", "--month", "2024-06")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "0 files sealed in data/sealed, 7 sealed before\n"
    assert {path: path.stat().st_ino for path in sealed.rglob("*")} == before


def test_other_series_are_added_and_what_was_said_of_the_first_stays_word_for_word(
    store: DataFolder, candlewick: Run
) -> None:
    for series in ALL:
        record(store, series)
    manifest = store.data / "sealed" / MANIFEST
    assert candlewick("seal", "spot", "ETHUSDT").returncode == 0
    first = manifest.read_text().splitlines()[4]
    assert candlewick("seal", "spot", "BTC*", "--interval", "1h").returncode == 0
    assert candlewick("seal").stdout.startswith("2024-06: 5 files,")
    assert first in [line.rstrip(",") for line in manifest.read_text().splitlines()]
    assert len(json.loads(manifest.read_text())["series"]) == 7


def test_what_the_exchange_never_had_is_told_with_its_reason(store: DataFolder, candlewick: Run) -> None:
    hole = [JUNE + hour * HOUR_MS for hour in (300, 301)]
    record(store, HOURS, without=[*open_times(Interval.H1, JUNE, JUNE + DAY_MS), *hole])
    absent(store, HOURS, JUNE, JUNE + DAY_MS)
    absent(store, HOURS, hole[0], hole[1] + HOUR_MS)
    done = candlewick("seal")
    assert (done.returncode, done.stdout.splitlines()[0]) == (0, "2024-06: 1 file, 694 candles, 26 absent")
    line = line_of(store.data / "sealed", HOURS)
    assert (line["rows"], line["expected"], line["absent"], line["missing"]) == (694, 720, 26, 0)
    assert line["ranges"]["absent"] == [  # type: ignore[index]
        ["2024-06-01T00:00:00Z", "2024-06-02T00:00:00Z", "before its first candle"],
        ["2024-06-13T12:00:00Z", "2024-06-13T14:00:00Z", "the exchange was asked and does not have it"],
    ]


def test_what_is_absent_behind_candles_that_were_thrown_away_is_not_before_the_first(
    store: DataFolder, candlewick: Run
) -> None:
    record(store, HOURS, begin_ms=JUNE - 9 * DAY_MS, without=open_times(Interval.H1, JUNE, JUNE + DAY_MS))
    absent(store, HOURS, JUNE, JUNE + DAY_MS)
    (store.root / series_folder(HOURS) / "2024-05.parquet").unlink()
    assert candlewick("seal", "--month", "2024-06").returncode == 0
    ((*_, reason),) = line_of(store.data / "sealed", HOURS)["ranges"]["absent"]  # type: ignore[index]
    assert reason == "the exchange was asked and does not have it"


def test_a_month_in_which_the_exchange_had_nothing_is_a_file_without_a_row(store: DataFolder, candlewick: Run) -> None:
    record(store, HOURS, begin_ms=JUNE - 9 * DAY_MS, without=open_times(Interval.H1, JUNE, JULY))
    absent(store, HOURS, JUNE, JULY)
    assert candlewick("seal").stdout.splitlines()[1] == "2024-06: 1 file, 0 candles, 720 absent"
    assert candlewick("verify").stdout == "2 months, 2 files, 216 candles, 720 absent: all as sealed\n"
    file = store.data / "sealed" / candles_key(HOURS, "2024-06.parquet")
    assert pd.read_parquet(file, partitioning=None).empty
    assert len(pd.read_parquet(file.parent)) == 216


def test_months_before_a_series_first_candle_are_not_sealed(store: DataFolder, candlewick: Run) -> None:
    record(store, HOURS, begin_ms=JUNE)
    store.metadata.write(HOURS, [SeriesFact(HOURS, FactKind.FETCHED, JUNE - 90 * DAY_MS, JUNE, JUNE)])
    absent(store, HOURS, JUNE - 90 * DAY_MS, JUNE)
    assert candlewick("seal", "--month", "2024-05").stderr == "candlewick: nothing was recorded of 2024-05 in data\n"
    assert candlewick("seal").returncode == 0
    assert [path.name for path in (store.data / "sealed" / "manifests").iterdir()] == ["2024-06.json"]


def test_a_month_that_is_gone_altogether_is_missing(store: DataFolder, candlewick: Run) -> None:
    record(store, HOURS)
    (store.root / series_folder(HOURS) / "2024-06.parquet").unlink()
    assert candlewick("seal").stderr.startswith("not sealed: spot BTCUSDT-1h, 2024-06: 720 candles missing, ")


def test_a_series_with_missing_candles_is_named_and_bars_no_other(store: DataFolder, candlewick: Run) -> None:
    record(store, HOURS, without=[JUNE + HOUR_MS, JUNE + 2 * HOUR_MS, JUNE + 9 * HOUR_MS])
    record(store, FUTURES)
    done = candlewick("seal")
    assert done.returncode == 1
    assert done.stderr == (
        "not sealed: spot BTCUSDT-1h, 2024-06: 3 candles missing, "
        "2024-06-01 01:00 to 2024-06-01 03:00, 2024-06-01 09:00 to 2024-06-01 10:00\n"
    )
    assert done.stdout == "2024-06: 1 file, 720 candles\n1 file sealed in data/sealed\n"
    done = candlewick("seal", "--incomplete")
    assert (done.returncode, done.stdout.splitlines()[0]) == (0, "2024-06: 1 file, 717 candles, 3 missing")
    line = line_of(store.data / "sealed", HOURS)
    assert line["missing"] == 3
    assert len(line["ranges"]["missing"]) == 2  # type: ignore[index]
    assert candlewick("verify").stdout == "1 month, 2 files, 1,437 candles, 3 missing: all as sealed\n"


def test_a_recording_that_differs_from_what_was_sealed_is_named_and_nothing_is_overwritten(
    sealed: Path, store: DataFolder, candlewick: Run
) -> None:
    before = contents(sealed)
    store.write_rows(HOURS, rows(HOURS, [JUNE + HOUR_MS], moved=1), overrides=True)
    done = candlewick("seal")
    assert done.returncode == 1
    assert done.stderr == (
        "sealed before: spot BTCUSDT-1h, 2024-06: the recording differs from what was sealed: "
        "1 changed, the first of 2024-06-01 01:00\n"
    )
    assert contents(sealed) == before


def test_of_months_that_were_thrown_away_after_they_were_sealed_nothing_is_said(
    sealed: Path, store: DataFolder, candlewick: Run
) -> None:
    (store.root / series_folder(HOURS) / "2024-06.parquet").unlink()
    done = candlewick("seal", "--month", "2024-06")
    assert (done.returncode, done.stderr) == (0, "")
    assert sealed.exists()


@pytest.mark.parametrize(("series", "days"), [(HOURS, 2), (MONTHS, 2), (WEEKS, 9), (THREE_DAYS, 5)], ids=str)
def test_a_month_is_over_two_days_after_its_last_candle_by_the_market_s_own_time(
    store: DataFolder, candlewick: Run, series: Series, days: int
) -> None:
    """Long candles are of the month in which they open; what opens in its last days may end a few days later."""
    over_ms = JULY + days * DAY_MS - (1 if series in (WEEKS, THREE_DAYS) else 0)
    last_ms = -(-over_ms // MINUTE_MS) * MINUTE_MS - 2 * MINUTE_MS  # of the clock, a minute too early
    clock = Series(series.market, "TIMEUSDT", Interval.M1)
    store.write_rows(series, rows(series, open_times(series.interval, JUNE, over_ms - HOUR_MS)))
    store.metadata.write(series, [SeriesFact(series, FactKind.BEGAN, JUNE, JUNE, JUNE + 1)])
    named = (series.market, series.symbol, "--interval", series.interval, "--month", "2024-06")
    store.write_rows(clock, rows(clock, [last_ms]))
    early = candlewick("seal", *named)
    assert (early.returncode, early.stdout) == (2, "")
    assert "2024-06 is not over: " in early.stderr
    store.write_rows(clock, rows(clock, [last_ms + MINUTE_MS]))
    done = candlewick("seal", *named)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("2024-06: 1 file,")


def test_a_month_that_is_over_in_one_market_alone_is_sealed_there(store: DataFolder, candlewick: Run) -> None:
    record(store, HOURS)
    times = open_times(Interval.H1, JUNE, JULY)
    store.write_rows(FUTURES, rows(FUTURES, times))
    store.metadata.write(FUTURES, [SeriesFact(FUTURES, FactKind.BEGAN, JUNE, JUNE, JUNE + 1)])
    done = candlewick("seal", "--month", "2024-06")
    assert (done.returncode, done.stdout.splitlines()[0]) == (1, "2024-06: 1 file, 720 candles")
    assert done.stderr == (
        "not sealed: usdt_futures BTCUSDT-1h, 2024-06: it is not over: two days beyond its last candle are needed\n"
    )
    assert candlewick("seal").returncode == 0


def test_a_series_that_ended_is_expected_up_to_its_end(store: DataFolder, candlewick: Run) -> None:
    record(store, HOURS)
    end = JUNE + 10 * DAY_MS
    store.write_rows(CHINESE, rows(CHINESE, open_times(CHINESE.interval, JUNE, end)))
    facts = [
        SeriesFact(CHINESE, FactKind.BEGAN, JUNE, JUNE, JUNE + 1),
        SeriesFact(CHINESE, FactKind.ENDED, end, end, end, "BREAK"),
    ]
    store.metadata.write(CHINESE, facts)
    assert candlewick("seal").returncode == 0
    assert line_of(store.data / "sealed", CHINESE)["expected"] == 60


def test_minutes_of_days_and_of_a_joined_month_are_sealed_alike(store: DataFolder, candlewick: Run) -> None:
    series = Series(HOURS.market, "BTCUSDT", Interval.M1)
    record(store, series, begin_ms=JULY - 3 * HOUR_MS)
    assert candlewick("seal", "--into", "days").returncode == 0
    assert candlewick("compact").stdout == "joined 1 file into 1 month\n"
    assert candlewick("seal", "--into", "month").returncode == 0
    days, month = (contents(store.data.parent / name) for name in ("days", "month"))
    assert days == month
    assert verify(LocalPlace(store.data.parent / "days")).problems == {}
    assert line_of(store.data.parent / "days", series)["rows"] == 180
