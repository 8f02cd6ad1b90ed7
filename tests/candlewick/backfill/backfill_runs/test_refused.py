"""Files that are refused, and holes inside those that are not."""

from collections.abc import Callable
from pathlib import Path

import pytest

from candlewick.backfill.archive_format import ArchiveFile
from shared.interval import DAY_MS
from shared.spans import Spans
from tests.support.archives import lines, put, zipped
from tests.support.backfill import (
    BTC,
    HOURLY,
    JUNE_30_TEXT,
    MAY,
    NOWHERE,
    WebServer,
    day_of,
    identities,
    metadata_of,
    rows_of,
    whole,
)
from tests.support.candles import JUNE_30, MINUTE
from tests.support.commands import Run


def test_a_damaged_file_is_named_and_its_span_is_missing(candlewick: Run, tmp_path: Path, tree: Path) -> None:
    content = whole(day_of(0))
    put(tree, day_of(0), content)
    damaged = put(tree, day_of(1), whole(day_of(1))[:-1] + b"x", whole(day_of(1)))
    done = candlewick(
        *("backfill", "spot", "BTCUSDT", "--interval", "1m", "--from", "2024-06-30", "--to", "2024-07-02"),
        *("--archive", tree, *NOWHERE),
    )
    assert done.returncode == 1
    refused, trouble, missing = done.stderr.splitlines()[1:]
    assert refused.startswith(f"candlewick: {damaged} is refused: its sha256 is ")
    assert "…, its CHECKSUM says " in refused
    assert trouble.startswith("candlewick: the exchange cannot be asked over REST: http://127.0.0.1:1/spot/api/v3: ")
    assert missing == (
        "candlewick: spot BTCUSDT-1m: 1,440 candles still missing, 2024-07-01T00:00:00Z to 2024-07-02T00:00:00Z"
    )
    assert len(rows_of(tmp_path)) == 1440, "nothing of it is taken, everything of the others"


def test_what_a_damaged_month_should_hold_is_taken_from_its_days_and_from_rest(
    candlewick: Run, simulator: Callable[..., str], tree: Path
) -> None:
    month = ArchiveFile.month(HOURLY, MAY)
    put(tree, month, whole(month), b"something else")
    for begin in range(month.begin_ms, month.end_ms - DAY_MS, DAY_MS):
        file = ArchiveFile.day(HOURLY, begin)
        put(tree, file, whole(file))
    address = simulator("--start", "2024-07-01")
    done = candlewick(
        *("backfill", "spot", "BTCUSDT", "--interval", "1h", "--from", "2024-05-01", "--to", "2024-06-01"),
        *("--archive", tree, "--simulator", address),
    )
    assert done.returncode == 0
    assert "744 rows fetched (720 from daily files, 24 from REST)" in done.stdout
    assert f"{month.name} is refused: its sha256 is" in done.stderr


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"<html>Sign in to the hotel's network</html>", "is refused: it is no zip that can be read: "),
        (zipped(["one,two"]), "is refused: it holds a line that is no kline: "),
        (zipped(lines(BTC, JUNE_30 + DAY_MS, JUNE_30 + DAY_MS + MINUTE)), "does not belong in BTCUSDT-1m-2024-06-30"),
        (b"x" * 600_000, "is refused: it is larger than 526,656 bytes"),
        (zipped("0" * 10_000_000), "is refused: it unpacks to more than 526,656 bytes"),
    ],
    ids=["no-zip", "no-kline", "another-day", "too-large", "bomb"],
)
def test_what_is_no_file_of_this_day_is_refused_whole(
    candlewick: Run, tmp_path: Path, tree: Path, web: WebServer, content: bytes, reason: str
) -> None:
    put(tree, day_of(0), content)
    for place in (tree, web.address) if "larger" in reason or "unpacks" in reason else (web.address,):
        done = candlewick(
            "backfill", "spot", "BTCUSDT", "--interval", "1m", *JUNE_30_TEXT, "--archive", place, *NOWHERE
        )
        assert done.returncode == 1
        assert reason in done.stderr
        assert "1,440 candles still missing" in done.stderr
    assert not list((tmp_path / "data" / "candles").rglob("*.parquet"))


def test_a_file_without_a_checksum_is_taken_only_when_that_is_allowed(
    candlewick: Run, tmp_path: Path, tree: Path
) -> None:
    put(tree, day_of(0), whole(day_of(0)), sha_of=None)
    command = ("backfill", "spot", "BTCUSDT", "--interval", "1m", *JUNE_30_TEXT, "--archive", tree, *NOWHERE)
    done = candlewick(*command)
    assert done.returncode == 1
    assert "is refused: there is no CHECKSUM beside it (--unverified takes it)" in done.stderr
    assert candlewick(*command, "--unverified").returncode == 0
    assert len(rows_of(tmp_path)) == 1440


def test_a_flat_folder_named_after_another_market_is_not_taken_for_ours(candlewick: Run, tmp_path: Path) -> None:
    path = tmp_path / "spot" / day_of(0).name
    path.parent.mkdir()
    path.write_bytes(whole(day_of(0)))
    command = ("--interval", "1m", *JUNE_30_TEXT, "--archive", "spot", "--unverified", *NOWHERE)
    assert candlewick("backfill", "usdt_futures", "BTCUSDT", *command).returncode == 1
    assert candlewick("backfill", "spot", "BTCUSDT", *command).returncode == 0


def test_holes_inside_a_verified_file_are_absent_and_what_is_before_the_first_kline_is_not(
    candlewick: Run, tmp_path: Path, tree: Path
) -> None:
    holes = tuple(JUNE_30 + at * MINUTE for at in (*range(60), 100, 101, 500))
    put(tree, day_of(0), whole(day_of(0), without=holes))
    command = ("backfill", "spot", "BTCUSDT", "--interval", "1m", *JUNE_30_TEXT, "--archive", tree, *NOWHERE)
    done = candlewick(*command)
    assert done.returncode == 0, done.stderr
    assert "1,377 rows fetched (1,377 from daily files), 0 already there, 1 file write, 3 absent" in done.stdout
    metadata = metadata_of(tmp_path)
    absent = [(100, 102), (500, 501)]
    assert metadata.absent == Spans((JUNE_30 + begin * MINUTE, JUNE_30 + end * MINUTE) for begin, end in absent)
    assert metadata.fetched == Spans([(JUNE_30 + 60 * MINUTE, JUNE_30 + DAY_MS)])
    before = identities(tmp_path)
    done = candlewick(*command)
    assert (done.returncode, identities(tmp_path)) == (0, before)
    assert candlewick("audit", "spot", "--data", "data").returncode == 0


def test_rest_is_asked_about_a_hole_in_a_file_before_it_is_absent(
    candlewick: Run, simulator: Callable[..., str], tmp_path: Path, tree: Path
) -> None:
    put(tree, day_of(0), whole(day_of(0), without=(JUNE_30 + 100 * MINUTE,)))
    address = simulator("--start", "2024-07-02")
    done = candlewick(
        *("backfill", "spot", "BTCUSDT", "--interval", "1m", *JUNE_30_TEXT, "--archive", tree, "--simulator", address)
    )
    assert "1,440 rows fetched (1,439 from daily files, 1 from REST)" in done.stdout
    assert not metadata_of(tmp_path).absent


def test_an_archive_that_fails_for_a_while_is_asked_again(
    candlewick: Run, tmp_path: Path, tree: Path, web: WebServer
) -> None:
    put(tree, day_of(0), whole(day_of(0)))
    web.statuses[day_of(0).name] = [503, 500]
    done = candlewick(
        "backfill", "spot", "BTCUSDT", "--interval", "1m", *JUNE_30_TEXT, "--archive", web.address, *NOWHERE
    )
    assert done.returncode == 0, done.stderr
    assert len(rows_of(tmp_path)) == 1440
