"""Closed months: many files become one, and nobody sees both or neither."""

import contextlib
import multiprocessing
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pandas as pd
import pytest

from consumer.dataset import compact
from consumer.dataset.compact import closed_months, join_month
from consumer.storage.durable import Staging
from consumer.storage.layout import series_folder
from shared.candle import Series
from shared.interval import DAY_MS, Interval
from shared.market import Market
from shared.series_fact import FactKind, SeriesFact
from shared.settings.model import Settings
from tests.support.candles import BTC, JUNE_30, MINUTE, make_candle
from tests.support.stores import DataFolder
from tests.support.waiting import wait_until
from tests.support.writing import writing


@pytest.fixture
def store(tmp_path: Path) -> Iterator[DataFolder]:
    store = DataFolder(tmp_path, 5, 2**20)
    yield store
    with contextlib.suppress(OSError):
        store.staging.close()


def fill(store: DataFolder, series: Series = BTC, days: int = 4) -> pd.DataFrame:
    """Some candles on each of the last days of June and the first of July."""
    for day in range(-days, 4):
        opens = [JUNE_30 + day * DAY_MS + at * MINUTE for at in range(0, 300, 60)]
        store.write(series, [make_candle(series, time_ms, close=str(time_ms % 997)) for time_ms in opens])
    return pd.read_parquet(store.root / series_folder(series))


def names(store: DataFolder, series: Series = BTC) -> list[str]:
    return sorted(path.name for path in (store.root / series_folder(series)).iterdir())


def join_all(store: DataFolder, series: Series = BTC) -> int:
    return sum(join_month(store.local, series, month)[0] for month in closed_months(store.dataset, series))


def test_a_month_that_is_over_becomes_one_file_with_the_same_rows(store: DataFolder) -> None:
    before = fill(store)
    assert join_all(store) == 5
    assert names(store) == ["2024-06.parquet", "2024-07-01.parquet", "2024-07-02.parquet", "2024-07-03.parquet"]
    pd.testing.assert_frame_equal(pd.read_parquet(store.root / series_folder(BTC)), before)


def test_what_was_put_aside_is_swept_by_the_next_start_at_the_latest(store: DataFolder, tmp_path: Path) -> None:
    fill(store)
    join_all(store)
    assert list((tmp_path / "staging").rglob("*.parquet"))
    store.staging.close()
    Staging(tmp_path / "staging").close()
    assert not list((tmp_path / "staging").rglob("*.parquet"))


def test_hours_of_one_second_candles_become_a_month_too(store: DataFolder) -> None:
    series = Series(Market.SPOT, "BTCUSDT", Interval.S1)
    before = fill(store, series)
    assert len(names(store, series)) == 40
    assert join_all(store, series) == 25
    assert len(names(store, series)) == 16
    pd.testing.assert_frame_equal(pd.read_parquet(store.root / series_folder(series)), before)


def test_a_month_is_over_when_its_series_has_a_candle_two_days_after_it(store: DataFolder) -> None:
    store.write(BTC, [make_candle(BTC, JUNE_30), make_candle(BTC, JUNE_30 + 3 * DAY_MS - MINUTE)])
    assert closed_months(store.dataset, BTC) == []
    store.write(BTC, [make_candle(BTC, JUNE_30 + 3 * DAY_MS)])
    assert closed_months(store.dataset, BTC) == ["2024-06.parquet"]


def test_of_a_series_that_has_ended_the_last_month_is_over_too(store: DataFolder) -> None:
    before = fill(store)
    end = JUNE_30 + 5 * DAY_MS
    store.metadata.write(BTC, [SeriesFact(BTC, FactKind.ENDED, end, end, end)])
    assert closed_months(store.dataset, BTC) == ["2024-06.parquet", "2024-07.parquet"]
    assert join_all(store) == 8
    assert names(store) == ["2024-06.parquet", "2024-07.parquet"]
    pd.testing.assert_frame_equal(pd.read_parquet(store.root / series_folder(BTC)), before)


def test_a_writer_that_is_told_to_joins_what_is_over_by_itself(
    store: DataFolder, make_settings: Callable[..., Settings], tmp_path: Path
) -> None:
    before = fill(store)
    with writing(make_settings(data={"folder": tmp_path}, writer={"compact": True})):
        wait_until(lambda: names(store)[0] == "2024-06.parquet", 30)
    assert len(names(store)) == 4
    pd.testing.assert_frame_equal(pd.read_parquet(store.root / series_folder(BTC)), before)


def test_intervals_whose_files_are_months_or_years_are_left_as_they_are(store: DataFolder) -> None:
    series = Series(Market.USDT_FUTURES, "BTCUSDT", Interval.H1)
    store.write(series, [make_candle(series, JUNE_30)])
    store.write(series, [make_candle(series, JUNE_30 + 40 * DAY_MS)])
    assert closed_months(store.dataset, series) == []


def test_late_candles_of_a_joined_month_are_merged_into_it(store: DataFolder) -> None:
    before = fill(store)
    join_all(store)
    store.write(BTC, [make_candle(BTC, JUNE_30 + MINUTE)])
    assert names(store)[0] == "2024-06.parquet"
    after = pd.read_parquet(store.root / series_folder(BTC))
    assert len(after) == len(before) + 1
    assert after.index.is_monotonic_increasing


def test_joining_again_takes_up_small_files_beside_the_month_and_each_row_once(store: DataFolder) -> None:
    """As another tool may leave them: a day's file beside its month's."""
    before = fill(store)
    join_all(store)
    folder = store.root / series_folder(BTC)
    shutil.copy(folder / "2024-06.parquet", folder / "2024-06-27.parquet")
    assert join_month(store.local, BTC, "2024-06.parquet")[0] == 1
    pd.testing.assert_frame_equal(pd.read_parquet(folder), before)
    assert join_month(store.local, BTC, "2024-06.parquet") == (0, None)


def test_where_folders_cannot_be_swapped_nothing_changes(store: DataFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    before = fill(store)

    def unable(*_: object) -> None:
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr(compact, "_exchange", unable)
    with pytest.raises(OSError, match="Function not implemented"):
        join_all(store)
    assert len(names(store)) == 8
    assert not list(store.staging.path.iterdir())
    pd.testing.assert_frame_equal(pd.read_parquet(store.root / series_folder(BTC)), before)


def join_and_part(folder: Path) -> None:
    """Join a month and put it under a small file's name again, each in one step, for ever."""
    store = DataFolder(folder, 100, 0)
    series = store.root / series_folder(BTC)
    while True:
        join_month(store.local, BTC, "2024-06.parquet")
        with store.locked(BTC):
            apart = store.staging.new_path()
            apart.mkdir()
            for path in series.iterdir():
                os.link(path, apart / path.name.replace("2024-06.", "2024-06-26."))
            compact._exchange(apart, series)


def test_our_reader_sees_every_row_once_while_months_are_joined(store: DataFolder, tmp_path: Path) -> None:
    before = fill(store)
    folder = store.root / series_folder(BTC)
    joiner = multiprocessing.get_context("spawn").Process(target=join_and_part, args=(tmp_path,), daemon=True)
    joiner.start()
    reads, inodes = 0, set[int]()
    while reads < 300 or len(inodes) < 30:
        found = store.dataset.rows(BTC)
        assert list(found.times) == [int(begin.timestamp() * 1000) for begin in before["candle_begin_time"]]
        inodes.add(folder.stat().st_ino)
        reads += 1
    joiner.kill()
    joiner.join()


def test_a_writer_and_a_joiner_at_once_lose_nothing(store: DataFolder, tmp_path: Path) -> None:
    before = fill(store)
    joiner = multiprocessing.get_context("spawn").Process(target=join_and_part, args=(tmp_path,), daemon=True)
    joiner.start()
    folder = store.root / series_folder(BTC)
    first, late = folder.stat().st_ino, 0
    while late < 150 or folder.stat().st_ino == first:
        store.write(BTC, [make_candle(BTC, JUNE_30 + 4 * DAY_MS + late * MINUTE)])
        late += 1
    joiner.kill()
    joiner.join()
    assert len(store.dataset.rows(BTC)) == len(before) + late


def test_a_folder_of_somebody_s_or_a_damaged_day_bars_no_other_series_and_no_other_month(store: DataFolder) -> None:
    other, third = (Series(BTC.market, symbol, Interval.M1) for symbol in ("ETHUSDT", "SOLUSDT"))
    for series in (BTC, other, third):
        fill(store, series, 40)
    (store.root / series_folder(BTC) / "mine").mkdir()
    (store.root / series_folder(other) / "2024-05-25.parquet").write_bytes(b"damaged")
    files, months, failures = compact.compact(store.local, [BTC, other, third])
    assert months == 3, "June of the second, both of the third"
    assert files > 60
    assert [failure.partition(": ")[0] for failure in failures] == [
        *(f"{BTC}, 2024-0{month}.parquet" for month in (5, 6)),
        f"{other}, 2024-05.parquet",
    ]
    assert "is a folder, and not ours: move it away" in failures[0]
    assert "2024-06.parquet" in names(store, other)
