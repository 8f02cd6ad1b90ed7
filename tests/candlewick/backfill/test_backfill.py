"""History from archive and REST: complete, resumable, refused where it is not what it should be."""

import os
import pty
import subprocess
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pytest

from candlewick.backfill.archive_format import ArchiveFile
from consumer.dataset.read import read_rows
from consumer.storage.durable import Staging, make_folders
from consumer.storage.layout import series_folder
from consumer.storage.metadata import Ledger, SeriesLedger
from consumer.storage.store import Store
from consumer.storage.table import Rows
from shared.candle import Series
from shared.interval import DAY_MS, HOUR_MS, Interval
from shared.market import Market
from shared.series_fact import Note, NoteKind
from shared.spans import Spans
from tests.candlewick.backfill.test_archive_format import lines, put, zipped
from tests.candlewick.conftest import COMMAND, Run, Start
from tests.conftest import JUNE_30, MINUTE, make_candle, wait_until

BTC = Series(Market.SPOT, "BTCUSDT", Interval.M1)
HOURLY = BTC._replace(interval=Interval.H1)
NEW_YEAR = 1_577_836_800_000  # 2020-01-01
MAY = 1_714_521_600_000  # 2024-05-01
NOWHERE = ("--simulator", "http://127.0.0.1:1")
JUNE_30_TEXT = ("--from", "2024-06-30", "--to", "2024-07-01")


def day_of(at: int, series: Series = BTC) -> ArchiveFile:
    return ArchiveFile.day(series, JUNE_30 + at * DAY_MS)


def whole(file: ArchiveFile, without: tuple[int, ...] = ()) -> bytes:
    return zipped(lines(file.series, file.begin_ms, file.end_ms, without=without))


def rows_of(tmp_path: Path, series: Series = BTC) -> Rows:
    return read_rows(tmp_path / "data" / "candles", series)


def ledger_of(tmp_path: Path, series: Series = BTC) -> SeriesLedger:
    return Ledger(tmp_path / "data" / "ledger").read(series)


def identities(tmp_path: Path) -> dict[str, tuple[int, int]]:
    """Every file of the data folder, with what a rewrite would change."""
    found = {}
    for path in (tmp_path / "data").rglob("*"):
        if path.is_file():
            found[str(path)] = (path.stat().st_ino, path.stat().st_mtime_ns)
    return found


class WebServer:
    """An archive over HTTP that notes what is asked for.

    Attributes:
        asked: paths, decoded, in their order.
        statuses: answers to be given before the file is, by the end of the path.
        stall_at: the path whose request is held, by its end.
        stalled: set when that has been asked for.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.asked: list[str] = []
        self.statuses: dict[str, list[int]] = {}
        self.bodies: dict[str, bytes] = {}
        self.stall_at: str | None = None
        self.stalled, self.release = threading.Event(), threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.address = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def close(self) -> None:
        self.release.set()
        self._server.shutdown()
        self._server.server_close()

    def answer(self, path: str) -> tuple[int, bytes]:
        self.asked.append(path)
        if self.stall_at is not None and path.endswith(self.stall_at):
            self.stalled.set()
            self.release.wait(60)
        for ending, statuses in self.statuses.items():
            if path.endswith(ending) and statuses:
                return statuses.pop(0), b"busy"
        for ending, body in self.bodies.items():
            if path.endswith(ending):
                return 200, body
        file = self.root / path.removeprefix("/")
        return (200, file.read_bytes()) if file.is_file() else (404, b"<Error><Code>NoSuchKey</Code></Error>")

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                status, body = server.answer(unquote(self.path))
                try:
                    self.send_response(status)
                    self.send_header("Content-Length", str(len(body)))
                    self.end_headers()
                    self.wfile.write(body)
                except OSError:
                    pass  # whoever asked was killed

            def log_message(self, *_: object) -> None:
                pass

        return Handler


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    folder = tmp_path / "archive"
    folder.mkdir()
    return folder


@pytest.fixture
def web(tree: Path) -> Iterator[WebServer]:
    server = WebServer(tree)
    yield server
    server.close()


# ---- the archive ---------------------------------------------------------------------------------------------------


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
    ledger = ledger_of(tmp_path)
    assert (ledger.began_ms, ledger.is_recorded) == (NEW_YEAR, False), "nobody promised to go on with it"
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
    for place in (tree, web.address):
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
    ledger = ledger_of(tmp_path)
    absent = [(100, 102), (500, 501)]
    assert ledger.absent == Spans((JUNE_30 + begin * MINUTE, JUNE_30 + end * MINUTE) for begin, end in absent)
    assert ledger.began_ms == JUNE_30 + 60 * MINUTE
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
    assert not ledger_of(tmp_path).absent


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


def test_without_the_archive_all_is_fetched_over_rest(candlewick: Run, simulator: Callable[..., str]) -> None:
    address = simulator("--start", "2024-07-02")
    done = candlewick(
        *("backfill", "spot", "BTCUSDT", "ETHUSDT", "--interval", "1m", *JUNE_30_TEXT),
        *("--archive", "http://127.0.0.1:1", "--simulator", address),
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("candlewick: the archive cannot be reached: http://127.0.0.1:1: ") == 1
    assert done.stdout.count("1,440 rows fetched (1,440 from REST)") == 2


def test_a_symbol_of_any_script_is_asked_for_by_its_name(
    candlewick: Run, tmp_path: Path, tree: Path, web: WebServer
) -> None:
    series = Series(Market.USDT_FUTURES, "币安人生USDT", Interval.M1)
    put(tree, day_of(0, series), whole(day_of(0, series)))
    done = candlewick(
        *("backfill", "usdt_futures", series.symbol, "--interval", "1m", *JUNE_30_TEXT),
        *("--archive", f"{web.address}/data/", *NOWHERE),
    )
    assert done.returncode == 0, done.stderr
    assert f"/{day_of(0, series).path}" in web.asked
    assert len(rows_of(tmp_path, series)) == 1440


# ---- REST ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("market", "symbol"), [("spot", "BTCUSDT"), ("usdt_futures", "BTCUSDT"), ("coin_futures", "BTCUSD_PERP")]
)
def test_holes_are_absent_and_time_before_the_first_kline_is_not(
    candlewick: Run, simulator: Callable[..., str], tmp_path: Path, market: str, symbol: str
) -> None:
    series = Series(Market(market), symbol, Interval.M1)
    first = JUNE_30 + 10 * HOUR_MS
    hole = [first + at * MINUTE for at in (60, 61, 62, 1800)]
    folder = tmp_path / "klines" / market
    folder.mkdir(parents=True)
    text = lines(series, first, JUNE_30 + 3 * DAY_MS, without=hole)
    (folder / f"{symbol}-1m-2024-06-30.csv").write_text("\n".join(text))
    daily = lines(series._replace(interval=Interval.D1), JUNE_30, JUNE_30 + 3 * DAY_MS)
    (folder / f"{symbol}-1d-2024-06.csv").write_text("\n".join(daily))
    address = simulator("--klines", tmp_path / "klines", "--start", "2024-07-02T20:00:30")
    command = ("backfill", market, symbol, "--interval", "1m", "--from", "2024-06-01", "--simulator", address)
    done = candlewick(*command, "--to", "2024-07-02T20:00")
    assert done.returncode == 0, done.stderr
    assert f"{symbol}-1m from 2024-06-30T10:00:00Z to 2024-07-02T20:00:00Z: 3,476 rows" in done.stdout
    assert "4 absent" in done.stdout
    ledger = ledger_of(tmp_path, series)
    assert ledger.absent == Spans((open_ms, open_ms + MINUTE) for open_ms in hole)
    assert ledger.began_ms == first
    before = identities(tmp_path)
    assert candlewick(*command, "--to", "2024-07-02T20:00").returncode == 0
    assert identities(tmp_path) == before


@pytest.mark.parametrize("interval", ["1M", "1w", "3d", "1d", "4h"])
def test_long_candles_are_whole_and_closed(
    candlewick: Run, simulator: Callable[..., str], tmp_path: Path, interval: str
) -> None:
    address = simulator("--start", "2024-06-30T12:00:30")
    for market, symbol in (("usdt_futures", "BTCUSDT"), ("coin_futures", "BTCUSD_PERP")):
        series = Series(Market(market), symbol, Interval(interval))
        done = candlewick(
            "backfill", market, symbol, "--interval", interval, "--from", "2023-02-03T04:05", "--simulator", address
        )
        assert done.returncode == 0, done.stderr
        times = rows_of(tmp_path, series).times
        ends = np.array([series.interval.end(int(time)) for time in times])
        assert (times[1:] == ends[:-1]).all()
        assert 0 <= times[0] - 1_675_397_100_000 < 31 * DAY_MS
        assert ends[-1] <= JUNE_30 + 12 * HOUR_MS < series.interval.end(int(ends[-1]))


def test_a_symbol_that_the_exchange_does_not_know_is_missing_with_its_reason(
    candlewick: Run, simulator: Callable[..., str], tmp_path: Path, tree: Path
) -> None:
    (tmp_path / "klines" / "spot").mkdir(parents=True)
    (tmp_path / "klines" / "spot" / "ETHUSDT-1m-2024-06-30.csv").write_text(
        "\n".join(lines(BTC, JUNE_30, JUNE_30 + DAY_MS))
    )
    address = simulator("--klines", tmp_path / "klines", "--start", "2024-07-03")
    put(tree, day_of(0), whole(day_of(0)))
    done = candlewick(
        *("backfill", "spot", "BTCUSDT", "ETHUSDT", "--interval", "1m", "--from", "2024-06-30", "--to", "2024-07-02"),
        *("--archive", tree, "--simulator", address),
    )
    assert done.returncode == 1
    assert "spot BTCUSDT-1m: 1,440 candles still missing, 2024-07-01T00:00:00Z to 2024-07-02T00:00:00Z; " in done.stderr
    assert "the exchange says: Invalid symbol. (code -1121)" in done.stderr
    assert "ETHUSDT" not in done.stderr.replace("spot ETHUSDT-1m: 2,880 candles to fetch", ""), "it has no more: fine"


def test_when_the_exchange_cannot_be_asked_everything_is_missing(candlewick: Run) -> None:
    done = candlewick("backfill", "spot", "BTCUSDT", "--interval", "1m", *JUNE_30_TEXT, *NOWHERE)
    assert done.returncode == 1
    assert done.stderr.count("candlewick: the exchange cannot be asked over REST") == 1
    assert "1,440 candles still missing, 2024-06-30T00:00:00Z to 2024-07-01T00:00:00Z" in done.stderr


# ---- beside others -------------------------------------------------------------------------------------------------


def test_it_waits_for_a_writer_that_holds_the_series_and_keeps_what_that_wrote(
    start: Start, tmp_path: Path, tree: Path
) -> None:
    put(tree, day_of(0), whole(day_of(0)))
    data = tmp_path / "data"
    staging = Staging(data / "staging")
    store = Store(data / "candles", staging, 5, 0)
    with store.locked(BTC) as folder:
        process = start("backfill", "spot", "BTCUSDT", "--interval", "1m", *JUNE_30_TEXT, "--archive", tree, *NOWHERE)
        staged = data / "staging" / "writer-2"
        wait_until(lambda: staged.is_dir() and _waits_for(folder.path, process.pid))
        assert process.poll() is None
    store.write(BTC, [make_candle(BTC, JUNE_30 + at * MINUTE, close="9", trades=9000) for at in range(10)])
    assert process.wait(60) == 0
    rows = rows_of(tmp_path)
    assert len(rows) == 1440
    assert (rows.values[6] == 9000).sum() == 10, "of two candles under one key the one with more trades stays"
    staging.close()


def _waits_for(folder: Path, pid: int) -> bool:
    """Whether a process has a folder open."""
    return any(os.path.realpath(path) == str(folder) for path in Path(f"/proc/{pid}/fd").iterdir())


def test_a_series_that_has_ended_stays_ended(candlewick: Run, tmp_path: Path, tree: Path) -> None:
    staging = Staging(tmp_path / "data" / "staging")
    notes = [
        Note(BTC, NoteKind.BEGAN, JUNE_30 + DAY_MS, JUNE_30 + DAY_MS, JUNE_30 + DAY_MS),
        Note(BTC, NoteKind.ENDED, JUNE_30 + 2 * DAY_MS, JUNE_30 + 2 * DAY_MS, JUNE_30 + 2 * DAY_MS, "delisted"),
    ]
    Ledger(tmp_path / "data" / "ledger").write(BTC, notes, staging)
    staging.close()
    for at in (0, 1):
        put(tree, day_of(at), whole(day_of(at)))
    command = ("backfill", "spot", "BTCUSDT", "--interval", "1m", "--from", "2024-06-30", "--to", "2024-07-02")
    assert candlewick(*command, "--archive", tree, *NOWHERE).returncode == 0
    ledger = ledger_of(tmp_path)
    assert (ledger.began_ms, ledger.end_ms, ledger.reason) == (JUNE_30, JUNE_30 + 2 * DAY_MS, "delisted")


def test_a_damaged_partition_is_named_and_holds_up_no_other_series(candlewick: Run, tmp_path: Path, tree: Path) -> None:
    other = BTC._replace(symbol="ETHUSDT")
    for series in (BTC, other):
        put(tree, day_of(0, series), whole(day_of(0, series)))
    damaged = tmp_path / "data" / "candles" / series_folder(BTC) / "2024-06-30.parquet"
    make_folders(damaged.parent)
    damaged.write_bytes(b"damaged")
    done = candlewick(
        *("backfill", "spot", "BTCUSDT", "ETHUSDT", "--interval", "1m", *JUNE_30_TEXT, "--archive", tree, *NOWHERE)
    )
    assert done.returncode == 1
    assert f"candlewick: {damaged} is no partition of ours: " in done.stderr
    assert len(rows_of(tmp_path, other)) == 1440
    assert damaged.read_bytes() == b"damaged"


def test_on_a_terminal_there_is_a_bar(tmp_path: Path, tree: Path) -> None:
    put(tree, day_of(0), whole(day_of(0)))
    ours, theirs = pty.openpty()
    command = ["backfill", "spot", "BTCUSDT", "--interval", "1m", *JUNE_30_TEXT, "--archive", str(tree), *NOWHERE]
    with subprocess.Popen([*COMMAND, *command], stdout=subprocess.PIPE, stderr=theirs, cwd=tmp_path) as process:
        os.close(theirs)
        shown = b""
        try:
            while chunk := os.read(ours, 4096):
                shown += chunk
        except OSError:
            pass  # the other end is closed
        os.close(ours)
        assert process.stdout is not None
        assert b"1,440 rows fetched" in process.stdout.read()
    assert process.returncode == 0
    assert b"1440/1440" in shown


# ---- mistakes ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["spot", "BTCUSDT", "--interval", "1m"], "candlewick backfill: Missing option '--from'."),
        (["spot", "BTCUSDT", "--from", "2024-01-01"], "candlewick backfill: Missing option '--interval'."),
        (["spot", "--interval", "1m", "--from", "2024-01-01"], "candlewick backfill: Missing argument 'SYMBOL...'."),
        (["sport", "A", "--interval", "1m", "--from", "2024-01-01"], "candlewick: market 'sport' is not known"),
        (["spot", "A/B", "--interval", "1m", "--from", "2024-01-01"], "candlewick: symbol 'A/B' is not allowed"),
        (["spot", "A", "--interval", "7m", "--from", "2024-01-01"], "candlewick: interval '7m' is not known"),
        (["spot", "A", "--interval", "1m", "--from", "noon"], "candlewick: --from 'noon' is not a time"),
        (
            ["usdt_futures", "A", "--interval", "1s", "--from", "2024-01-01"],
            "candlewick: interval 1s is spot's alone, usdt_futures does not have it",
        ),
        (
            ["spot", "A", "--interval", "1m", "--from", "2024-01-02", "--to", "2024-01-01"],
            "candlewick: --to 2024-01-01T00:00:00Z is not after --from 2024-01-02T00:00:00Z",
        ),
        (
            ["spot", "A", "--interval", "1m", "--from", "2199-01-01", *NOWHERE],
            "candlewick: --from 2199-01-01T00:00:00Z is in the future: now it is ",
        ),
        (
            ["spot", "A", "--interval", "1m", "--from", "2024-01-01", "--archive", "nothing"],
            "candlewick: --archive 'nothing' is neither a folder nor an address that begins with https://",
        ),
        (
            ["spot", "A", "--interval", "1m", "--from", "2024-01-01", "--archive", "https://"],
            "candlewick: --archive 'https://' names no host",
        ),
        (
            ["spot", "A", "--interval", "1m", "--from", "2024-01-01", "--unverified"],
            "candlewick: --unverified is about archive files: name their place with --archive",
        ),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(candlewick: Run, arguments: list[str], message: str) -> None:
    done = candlewick("backfill", *arguments)
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith(message)
    assert done.stderr.count("\n") == 1
