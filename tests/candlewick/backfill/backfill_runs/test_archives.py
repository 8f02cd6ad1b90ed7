"""Files of the archive: verified, taken whole or refused whole."""

from collections.abc import Callable
from pathlib import Path

import pytest

from candlewick.backfill.archive_format import ArchiveFile
from shared.interval import DAY_MS, HOUR_MS
from shared.spans import Spans
from tests.support.archives import put
from tests.support.backfill import HOURLY, MAY, NOWHERE, WebServer, day_of, identities, metadata_of, rows_of, whole
from tests.support.candles import JUNE_30, MINUTE
from tests.support.commands import Run, Start

NEW_YEAR = 1_577_836_800_000  # 2020-01-01


@pytest.mark.parametrize("below", ["klines", "klines/spot"])
def test_the_real_days_are_stored_once_and_a_second_run_changes_no_file(
    candlewick: Run, tmp_path: Path, real_data: Path, below: str
) -> None:
    command = [
        *("backfill", "spot", "btcusdt", "--interval", "1m", "--from", "2020-01-01", "--to", "2020-01-04"),
        *("--archive", str(real_data / below), "--data", "data", *NOWHERE),
    ]
    first = candlewick(*command)
    assert first.returncode == 0, first.stderr
    assert "4,320 rows fetched (4,320 from daily files), 0 already there, 3 file writes, 0 absent" in first.stdout
    assert first.stderr == "spot BTCUSDT-1m: 4,320 candles to fetch\n"
    rows = rows_of(tmp_path)
    assert rows.times.tolist() == list(range(NEW_YEAR, NEW_YEAR + 3 * DAY_MS, MINUTE))
    assert rows.values[:, 0].tolist()[:4] == [7195.24, 7196.25, 7183.14, 7186.68]
    metadata = metadata_of(tmp_path)
    assert (metadata.began_ms, metadata.is_recorded) == (None, False), "nobody promised to go on with it"
    assert metadata.fetched == Spans([(NEW_YEAR, NEW_YEAR + 3 * DAY_MS)])
    before = identities(tmp_path)
    second = candlewick(*command)
    assert second.returncode == 0
    assert "0 rows fetched, 4,320 already there, 0 file writes" in second.stdout
    assert identities(tmp_path) == before
    assert candlewick("audit", "spot", "BTCUSDT", "--data", "data").returncode == 0


def test_without_an_end_and_without_the_exchange_it_goes_as_far_as_the_folder_does(
    candlewick: Run, tmp_path: Path, tree: Path
) -> None:
    for at in (0, 1):
        put(tree, day_of(at), whole(day_of(at)))
    done = candlewick(
        "backfill", "spot", "BTCUSDT", "--interval", "1m", "--from", "2024-06-30T06:00", "--archive", tree, *NOWHERE
    )
    assert done.returncode == 0, done.stderr
    assert rows_of(tmp_path).times.tolist() == list(range(JUNE_30 + 6 * HOUR_MS, JUNE_30 + 2 * DAY_MS, MINUTE))


def test_a_run_that_was_killed_goes_on_where_it_was(
    candlewick: Run, start: Start, tmp_path: Path, tree: Path, web: WebServer
) -> None:
    for at in range(4):
        put(tree, day_of(at), whole(day_of(at)))
    command = [
        *("backfill", "spot", "BTCUSDT", "--interval", "1m", "--from", "2024-06-30", "--to", "2024-07-04"),
        *("--archive", web.address, *NOWHERE),
    ]
    web.stall_at = day_of(2).name
    process = start(*command)
    assert web.stalled.wait(60)
    process.kill()
    process.wait()
    web.stall_at = None
    web.release.set()
    assert len(rows_of(tmp_path)) == 2880, "what had been fetched is on disk"
    stored = identities(tmp_path)
    web.asked.clear()
    done = candlewick(*command)
    assert done.returncode == 0, done.stderr
    assert "2,880 rows fetched (2,880 from daily files), 2,880 already there, 2 file writes" in done.stdout
    assert len(rows_of(tmp_path)) == 4 * 1440
    assert not [path for path in web.asked if day_of(0).name in path or day_of(1).name in path]
    assert stored.items() <= identities(tmp_path).items(), "and is not written again"
    web.asked.clear()
    before = identities(tmp_path)
    assert candlewick(*command).returncode == 0
    assert (web.asked, identities(tmp_path)) == ([], before), "what is complete is neither fetched nor written"


def test_months_come_before_days_before_rest(
    candlewick: Run, simulator: Callable[..., str], tmp_path: Path, tree: Path, web: WebServer
) -> None:
    month = ArchiveFile.month(HOURLY, MAY)
    put(tree, month, whole(month))
    for at in (0, 1):
        file = ArchiveFile.day(HOURLY, month.end_ms + at * DAY_MS)
        put(tree, file, whole(file))
    address = simulator("--start", "2024-06-03T05:00:30")
    command = [
        *("backfill", "spot", "BTCUSDT", "--interval", "1h", "--from", "2024-05-01"),
        *("--archive", web.address, "--simulator", address),
    ]
    done = candlewick(*command)
    assert done.returncode == 0, done.stderr
    assert "797 rows fetched (744 from monthly files, 48 from daily files, 5 from REST), 0 already" in done.stdout
    zips = [path.rpartition("/")[2] for path in web.asked if path.endswith(".zip")]
    days = [f"BTCUSDT-1h-2024-06-{day:02}.zip" for day in (1, 2)]
    assert zips == ["BTCUSDT-1h-2024-05.zip", *days], "a month and a day that are not over are not asked for"
    rows = rows_of(tmp_path, HOURLY)
    assert rows.times.tolist() == list(range(MAY, MAY + 797 * HOUR_MS, HOUR_MS))
    assert (rows.values[0][:792] == 61607.90).all()
    assert (rows.values[0][792:] != 61607.90).all(), "the open row of 05:00 is not there, the others are REST's"
    before = identities(tmp_path)
    assert "0 rows fetched, 797 already there, 0 file writes" in candlewick(*command).stdout
    assert identities(tmp_path) == before
