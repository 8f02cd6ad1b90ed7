"""The whole pipeline while everything breaks, for a little while; and that the judgement at its end is not blind."""

from pathlib import Path

import psutil
import pyarrow.parquet as pq
import pytest

from chaos.whole.run import run
from chaos.whole.shape import BASE_MS
from chaos.whole.truth import Values, difference, rows_on_disk, stored
from consumer.storage.layout import series_folder
from shared.interval import MINUTE_MS
from tests.support.candles import BTC, JUNE_30, make_candle
from tests.support.stores import DataFolder


@pytest.mark.timeout(400)
def test_whatever_breaks_for_a_quarter_of_a_minute_nothing_is_missing_doubled_or_different(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    outcome = run(folder, minutes=0.25, seed=3, speed=120)
    assert [line for difference in outcome.differences for line in difference.lines()] == []
    assert outcome.troubles == []
    assert outcome.is_good
    assert outcome.count("compared") > 19 * 20
    assert outcome.kills >= 2
    assert outcome.cuts >= 2
    assert [process for process in psutil.process_iter(["cwd"]) if process.info["cwd"] == str(folder)] == []


@pytest.fixture
def recorded(tmp_path: Path) -> tuple[Path, dict[int, Values]]:
    """A dataset of six candles, and the truth of them."""
    store = DataFolder(tmp_path, lock_timeout_seconds=1, cache_bytes=0)
    store.write(BTC, [make_candle(open_time_ms=JUNE_30 + at * MINUTE_MS, close="61610.5") for at in range(6)])
    store.close()
    return tmp_path / "candles", stored(tmp_path / "candles", BTC)


END_MS = JUNE_30 + 6 * MINUTE_MS


def test_what_is_stored_as_it_is_has_no_difference(recorded: tuple[Path, dict[int, Values]]) -> None:
    root, truth = recorded
    found = difference(BTC, rows_on_disk(root, BTC), truth, END_MS)
    assert found.is_good
    assert found.lines() == []
    assert found.compared == 6
    assert JUNE_30 == BASE_MS


def test_a_row_that_is_gone_is_missing_but_not_beyond_the_end(recorded: tuple[Path, dict[int, Values]]) -> None:
    root, truth = recorded
    path = next((root / series_folder(BTC)).glob("*.parquet"))
    pq.write_table(pq.read_table(path).slice(0, 4), path)
    found = difference(BTC, rows_on_disk(root, BTC), truth, END_MS)
    assert found.missing == [JUNE_30 + 4 * MINUTE_MS, JUNE_30 + 5 * MINUTE_MS]
    assert found.lines() == [f"{BTC}: 2 missing: 2024-06-30T00:04, 2024-06-30T00:05"]
    assert difference(BTC, rows_on_disk(root, BTC), truth, END_MS - 2 * MINUTE_MS).is_good


def test_a_row_that_stands_in_two_files_is_doubled(recorded: tuple[Path, dict[int, Values]]) -> None:
    root, truth = recorded
    path = next((root / series_folder(BTC)).glob("*.parquet"))
    pq.write_table(pq.read_table(path).slice(2, 1), path.with_name("2024-06.parquet"))
    found = difference(BTC, rows_on_disk(root, BTC), truth, END_MS)
    assert found.doubled == [JUNE_30 + 2 * MINUTE_MS]
    assert not found.is_good


def test_a_row_with_another_value_is_different_and_one_that_the_exchange_lacks_is_extra(
    recorded: tuple[Path, dict[int, Values]],
) -> None:
    root, truth = recorded
    first, *_, last = sorted(truth)
    altered = {time: values for time, values in truth.items() if time != last}
    altered[first] = (*truth[first][:-1], truth[first][-1] + 1e-9)
    found = difference(BTC, rows_on_disk(root, BTC), altered, END_MS)
    assert (found.different, found.extra, found.missing) == ([first], [last], [])
