"""History over REST alone, and beside a running writer."""

import os
import pty
import subprocess
from collections.abc import Callable
from itertools import product
from pathlib import Path

import numpy as np
import pytest

from consumer.storage.durable import make_folders
from consumer.storage.layout import series_folder
from shared.candle import Series
from shared.interval import DAY_MS, HOUR_MS, Interval
from shared.market import Market
from shared.series_fact import FactKind, SeriesFact
from shared.spans import Spans
from tests.support.archives import lines, put
from tests.support.backfill import (
    BTC,
    JUNE_30_TEXT,
    NOWHERE,
    WebServer,
    day_of,
    identities,
    metadata_of,
    rows_of,
    whole,
)
from tests.support.candles import JUNE_30, MINUTE, make_candle
from tests.support.commands import COMMAND, Run, Start
from tests.support.stores import DataFolder
from tests.support.waiting import wait_until


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
    metadata = metadata_of(tmp_path, series)
    assert metadata.absent == Spans((open_ms, open_ms + MINUTE) for open_ms in hole)
    assert metadata.fetched == Spans([(first, JUNE_30 + 2 * DAY_MS + 20 * HOUR_MS)])
    before = identities(tmp_path)
    assert candlewick(*command, "--to", "2024-07-02T20:00").returncode == 0
    assert identities(tmp_path) == before


def test_long_candles_are_whole_and_closed(candlewick: Run, simulator: Callable[..., str], tmp_path: Path) -> None:
    address = simulator("--start", "2024-06-30T12:00:30")
    usdt, coin = ("usdt_futures", "BTCUSDT"), ("coin_futures", "BTCUSD_PERP")
    for (market, symbol), interval in product((usdt, coin), ("1M", "3d", "4h")):
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


@pytest.mark.parametrize("market", ["spot", "coin_futures"])
def test_three_day_candles_are_fetched_from_the_first_on_whichever_day_they_open(
    candlewick: Run, simulator: Callable[..., str], tmp_path: Path, market: str
) -> None:
    """Days since 1970 count 1 modulo 3 on spot (2017-08-17, 2026-07-01); the others' grid is not known."""
    symbols = ("AAAUSDT", "BBBUSDT", "CCCUSDT")
    folder = tmp_path / "klines" / market
    folder.mkdir(parents=True)
    opens = dict[Series, list[int]]()
    for phase, symbol in enumerate(symbols):
        series, days = (Series(Market(market), symbol, Interval(interval)) for interval in ("3d", "1d"))
        first = Interval.D3.floor(JUNE_30) - 300 * DAY_MS + phase * DAY_MS
        for recorded in (series, days):
            text = "\n".join(lines(recorded, first, JUNE_30))
            (folder / f"{symbol}-{recorded.interval}-2024.csv").write_text(text)
        opens[series] = [*range(first, JUNE_30, 3 * DAY_MS)]
    address = simulator("--klines", tmp_path / "klines", "--start", "2024-07-03")
    command = ("backfill", market, *symbols, "--interval", "3d", "--from", "2022-01-01", "--simulator", address)
    done = candlewick(*command)
    assert done.returncode == 0, done.stderr
    again = candlewick(*command).stdout
    for series, times in opens.items():
        assert rows_of(tmp_path, series).times.tolist() == times
        assert f": 0 rows fetched, {len(times)} already there" in again


def test_a_first_row_that_is_no_candle_costs_no_other(
    candlewick: Run, simulator: Callable[..., str], tmp_path: Path
) -> None:
    """COIN-M is asked for the first candle of its first day, and it alone is bad."""
    series, days = (Series(Market.COIN_FUTURES, "BTCUSD_PERP", Interval(interval)) for interval in ("3d", "1d"))
    first = Interval.D3.floor(JUNE_30) - 300 * DAY_MS
    folder = tmp_path / "klines" / "coin_futures"
    folder.mkdir(parents=True)
    bad, *good = lines(series, first, JUNE_30)
    bad = ",".join([*bad.split(",")[:5], "-1", *bad.split(",")[6:]])  # no volume is negative
    (folder / "BTCUSD_PERP-3d-2024.csv").write_text("\n".join([bad, *good]))
    (folder / "BTCUSD_PERP-1d-2024.csv").write_text("\n".join(lines(days, first, JUNE_30)))
    address = simulator("--klines", tmp_path / "klines", "--start", "2024-07-03")
    candlewick(
        *("backfill", "coin_futures", series.symbol, "--interval", "3d", "--from", "2022-01-01"),
        *("--simulator", address),
    )
    assert rows_of(tmp_path, series).times.tolist() == [*range(first + 3 * DAY_MS, JUNE_30, 3 * DAY_MS)]


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


def test_it_waits_for_a_writer_that_holds_the_series_and_keeps_what_that_wrote(
    start: Start, tmp_path: Path, tree: Path
) -> None:
    put(tree, day_of(0), whole(day_of(0)))
    data = tmp_path / "data"
    store = DataFolder(data, 5, 0)
    with store.locked(BTC) as folder:
        process = start(
            *("backfill", "spot", "BTCUSDT", "--interval", "1m", *JUNE_30_TEXT, "--archive", tree, *NOWHERE),
            "--mix-sources",
        )
        staged = data / "staging" / "writer-2"
        wait_until(lambda: staged.is_dir() and _waits_for(folder.path, process.pid))
        assert process.poll() is None
    store.write(BTC, [make_candle(BTC, JUNE_30 + at * MINUTE, close="9", trades=9000) for at in range(10)])
    assert process.wait(60) == 0
    rows = rows_of(tmp_path)
    assert len(rows) == 1440
    assert (rows.values[6] == 9000).sum() == 10, "of two candles under one key the one with more trades stays"
    store.close()


def _waits_for(folder: Path, pid: int) -> bool:
    """Whether a process has a folder open."""
    return any(os.path.realpath(path) == str(folder) for path in Path(f"/proc/{pid}/fd").iterdir())


def test_a_series_that_has_ended_stays_ended(candlewick: Run, tmp_path: Path, tree: Path) -> None:
    store = DataFolder(tmp_path / "data")
    notes = [
        SeriesFact(BTC, FactKind.BEGAN, JUNE_30 + DAY_MS, JUNE_30 + DAY_MS, JUNE_30 + DAY_MS),
        SeriesFact(BTC, FactKind.ENDED, JUNE_30 + 2 * DAY_MS, JUNE_30 + 2 * DAY_MS, JUNE_30 + 2 * DAY_MS, "delisted"),
    ]
    store.metadata.write(BTC, notes)
    store.close()
    for at in (0, 1):
        put(tree, day_of(at), whole(day_of(at)))
    command = ("backfill", "spot", "BTCUSDT", "--interval", "1m", "--from", "2024-06-30", "--to", "2024-07-02")
    assert candlewick(*command, "--archive", tree, *NOWHERE).returncode == 0
    metadata = metadata_of(tmp_path)
    assert (metadata.began_ms, metadata.end_ms) == (JUNE_30 + DAY_MS, JUNE_30 + 2 * DAY_MS)
    assert (metadata.fetched, metadata.reason) == (Spans([(JUNE_30, JUNE_30 + 2 * DAY_MS)]), "delisted")


def test_a_damaged_partition_is_named_and_holds_up_no_other_series(candlewick: Run, tmp_path: Path, tree: Path) -> None:
    other = BTC._replace(symbol="ETHUSDT")
    for series in (BTC, other):
        put(tree, day_of(0, series), whole(day_of(0, series)))
    damaged = tmp_path / "data" / "candles" / series_folder(BTC) / "2024-06-30.parquet"
    make_folders(damaged.parent)
    damaged.write_bytes(b"damaged")
    done = candlewick(
        *("backfill", "spot", "BTCUSDT", "ETHUSDT", "--interval", "1m", *JUNE_30_TEXT, "--archive", tree, *NOWHERE),
        "--mix-sources",
    )
    assert done.returncode == 1
    assert f"candlewick: {damaged.relative_to(tmp_path)} is no partition of ours: " in done.stderr
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
