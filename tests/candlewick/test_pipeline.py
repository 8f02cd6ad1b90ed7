"""The whole pipeline as a user runs it: simulated exchange, producers, broker, writer, Parquet."""

import contextlib
import json
import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from consumer.dataset.read import read_rows
from consumer.storage.layout import series_folder
from consumer.storage.table import EMPTY, VALUE_COLUMNS, Rows
from shared.broker.client import sync_client
from shared.candle import Series
from shared.interval import Interval
from shared.market import Market
from shared.settings.load import load_settings
from simulator.market.klines import KlineSource, SyntheticSource
from simulator.market.recorded import RecordedSource
from simulator.server.simulator import DEFAULT_SYMBOLS
from tests.candlewick.conftest import Run, Start
from tests.conftest import JUNE_30, wait_until

BASE = "2024-06-30T00:00"
HOUR_MS = 3_600_000
GROUPS = [
    {"market": "spot", "symbols": ["BTCUSDT", "BNBUSDT"], "intervals": ["1m", "5m"]},
    {"market": "usdt_futures", "symbols": ["BTCUSDT", "币安人生USDT"], "intervals": ["1m"]},
    {"market": "coin_futures", "symbols": ["BTCUSD_PERP"], "intervals": ["3m"]},
]
CHANNELS = 7


def series_of(groups: list[dict[str, Any]]) -> list[Series]:
    return [
        Series(Market(group["market"]), symbol, Interval(interval))
        for group in groups
        for symbol in group["symbols"]
        for interval in group["intervals"]
    ]


def write_settings(tmp_path: Path, simulator: str, groups: list[dict[str, Any]], **more: dict[str, Any]) -> Path:
    sections: dict[str, dict[str, Any]] = {"exchange": {"simulator": simulator}, "writer": {"flush_seconds": 0.05}}
    sections |= more
    text = "".join(f"[[record]]\n{_toml(group)}" for group in groups)
    text += "".join(f"[{name}]\n{_toml(values)}" for name, values in sections.items())
    path = tmp_path / "candlewick.toml"
    path.write_text(text)
    return path


def _toml(values: dict[str, Any]) -> str:
    return "".join(f"{name} = {json.dumps(value, ensure_ascii=False)}\n" for name, value in values.items())


def rows(root: Path, series: Series) -> Rows:
    return read_rows(root, series) if (root / series_folder(series)).is_dir() else EMPTY


def truth(source: KlineSource, series: Series, start_ms: int, end_ms: int) -> dict[int, tuple[float, ...]]:
    """Open time and values of every kline, in the columns' order."""
    found = {}
    for opens in source.opens(series, start_ms, end_ms):
        kline = source.kline(series, opens)
        assert kline is not None
        found[opens] = tuple(
            float(value)
            for value in (
                kline.open,
                kline.high,
                kline.low,
                kline.close,
                kline.volume,
                kline.quote_volume,
                kline.trades,
                kline.taker_volume,
                kline.taker_quote_volume,
            )
        )
    return found


def as_dict(rows: Rows) -> dict[int, tuple[float, ...]]:
    assert len(rows.values) == len(VALUE_COLUMNS)
    assert len(set(rows.times.tolist())) == len(rows)
    assert rows.times.tolist() == sorted(rows.times.tolist())
    return dict(zip(rows.times.tolist(), map(tuple, rows.values.T.tolist()), strict=True))


def children(process: "subprocess.Popen[bytes]", word: str) -> list[psutil.Process]:
    """Living children whose command line holds some words."""
    found = []
    for child in psutil.Process(process.pid).children():
        with contextlib.suppress(psutil.Error):
            if word in " ".join(child.cmdline()):
                found.append(child)
    return found


def test_every_row_that_the_feed_closed_is_in_parquet_with_the_same_values(
    start: Start, simulator: Callable[..., str], tmp_path: Path
) -> None:
    """Two simulated hours, free-running: the exchange waits for whoever reads, so what is missing was lost by us."""
    end = JUNE_30 + 2 * HOUR_MS
    address = simulator(
        "--speed", "max", "--updates", 2, "--start", BASE, "--end", "2024-06-30T02:00", "--wait-for", CHANNELS
    )
    write_settings(tmp_path, address, GROUPS)
    up = start("up")
    source = SyntheticSource(1, dict(DEFAULT_SYMBOLS), end)
    root = tmp_path / "data" / "candles"
    for series in series_of(GROUPS):
        expected = truth(source, series, JUNE_30, end)
        wait_until(lambda expected=expected, series=series: len(rows(root, series)) >= len(expected), 60)  # type: ignore[misc]
        assert as_dict(rows(root, series)) == expected
    up.terminate()
    assert up.wait(15) == 0


def test_real_klines_are_recorded_to_the_last_row(
    start: Start, simulator: Callable[..., str], tmp_path: Path, real_data: Path
) -> None:
    """Every file of the real data, one-second and one-minute klines of all markets, through the pipeline."""
    source = RecordedSource(real_data / "klines")
    groups = [
        {"market": str(one.market), "symbols": [one.symbol], "intervals": [str(one.interval)]} for one in source.series
    ]
    address = simulator(
        "--klines", real_data / "klines", "--speed", "max", "--updates", 1, "--wait-for", len(source.series)
    )
    write_settings(tmp_path, address, groups)
    start("up")
    root = tmp_path / "data" / "candles"
    for series in source.series:
        expected = truth(source, series, 0, 2**60)
        wait_until(lambda expected=expected, series=series: len(rows(root, series)) >= len(expected), 90)  # type: ignore[misc]
        assert as_dict(rows(root, series)) == expected


@pytest.mark.parametrize("victim", ["write", "produce usdt_futures", "valkey", "everything"])
def test_whatever_is_killed_comes_back_and_nothing_in_the_broker_is_lost_or_doubled(
    start: Start, simulator: Callable[..., str], candlewick: Run, tmp_path: Path, victim: str
) -> None:
    """Kill -9; afterwards what the streams hold and what is on disk are the same rows, all with the right values."""
    address = simulator("--speed", 120, "--updates", 1, "--start", BASE, "--wait-for", CHANNELS)
    write_settings(tmp_path, address, GROUPS)
    up = start("up")
    root = tmp_path / "data" / "candles"
    wait_until(lambda: all(len(rows(root, series)) > 1 for series in series_of(GROUPS)), 60)
    if victim == "valkey":
        settings = load_settings(tmp_path / "candlewick.toml", {"data": {"folder": tmp_path / "data"}})
        client: Any = sync_client(settings)
        os.kill(client.info()["process_id"], signal.SIGKILL)
        client.close()
    elif victim == "everything":
        up.kill()
        up.wait()
        wait_until(lambda: not psutil_family(tmp_path, "produce") and not psutil_family(tmp_path, "write"))
        up = start("up")
    else:
        child = children(up, victim)[0]
        child.kill()
        wait_until(lambda: any(one.pid != child.pid for one in children(up, victim)))
    before = {series: len(rows(root, series)) for series in series_of(GROUPS)}
    wait_until(lambda: all(len(rows(root, series)) > before[series] + 1 for series in series_of(GROUPS)), 60)
    down = candlewick("down")
    assert down.stdout.startswith("stopped process")
    assert up.wait(15) == 0
    source = SyntheticSource(1, dict(DEFAULT_SYMBOLS))
    start("broker")
    wait_until(lambda: json.loads(candlewick("status", "--json").stdout)["broker"]["error"] is None)
    done = candlewick("replay", "--into", "again")
    assert done.returncode == 0, done.stderr
    for series in series_of(GROUPS):
        stored = as_dict(rows(root, series))
        assert stored == as_dict(rows(tmp_path / "again" / "candles", series)), "the streams and the disk agree"
        wanted = truth(source, series, min(stored), max(stored))
        assert all(wanted[opens] == values for opens, values in stored.items())
        if victim == "write":
            assert stored.keys() == wanted.keys(), "no candle between the first and the last is missing"


def psutil_family(tmp_path: Path, word: str) -> list[psutil.Process]:
    """Living processes of ours that work in the test's folder."""
    found = []
    for process in psutil.process_iter(["cmdline", "status"]):
        try:
            if word in (process.info["cmdline"] or ()) and process.cwd() == str(tmp_path):
                found.append(process)
        except psutil.Error:
            continue
    return found


def test_two_producers_of_one_market_give_no_duplicate_rows_and_shares_divide_the_work(
    start: Start, simulator: Callable[..., str], candlewick: Run, tmp_path: Path, valkey_url: str, prefix: str
) -> None:
    address = simulator("--speed", 120, "--updates", 1, "--start", BASE)
    write_settings(tmp_path, address, GROUPS[:1], broker={"url": valkey_url, "prefix": prefix})
    start("write")
    whole = [start("produce", "spot"), start("produce", "spot")]
    root = tmp_path / "data" / "candles"
    series = series_of(GROUPS[:1])
    wait_until(lambda: all(len(rows(root, one)) > 3 for one in series), 60)
    for process in whole:
        process.terminate()
        assert process.wait(15) == 0
    parts = [start("produce", "spot", "--share", f"{part}/3") for part in (1, 2, 3)]
    before = {one: len(rows(root, one)) for one in series}
    wait_until(lambda: all(len(rows(root, one)) > before[one] + 2 for one in series), 60)
    shown = json.loads(candlewick("status", "--json").stdout)["markets"]["spot"]["producers"]
    assert sorted(one["share"] for one in shown) == ["1/3", "2/3", "3/3"]
    assert sum(one["series"] for one in shown) == len(series)
    source = SyntheticSource(1, dict(DEFAULT_SYMBOLS))
    for one in series:
        stored = as_dict(rows(root, one))
        wanted = truth(source, one, min(stored), max(stored))
        assert all(wanted[opens] == values for opens, values in stored.items())
    for process in parts:
        process.terminate()
        assert process.wait(15) == 0


def test_status_and_health_show_what_lives(
    start: Start, simulator: Callable[..., str], candlewick: Run, tmp_path: Path
) -> None:
    address = simulator("--speed", 120, "--start", BASE)
    write_settings(tmp_path, address, GROUPS)
    assert candlewick("health", "spot").returncode == 1
    up = start("up")
    wait_until(lambda: candlewick("health", "writer").returncode == 0)

    def flowing() -> bool:
        shown = json.loads(candlewick("status", "--json").stdout)
        producers = [one for market in shown["markets"].values() for one in market["producers"]]
        return len(producers) == 3 and all(one["candles_per_minute"] and one["last_candle"] for one in producers)

    wait_until(flowing, 60)
    text = candlewick("status").stdout
    assert "share 1/1  4 series, 1 of 1 connections" in text
    assert "candles written" in text
    assert candlewick("health", "spot").returncode == 0
    again = candlewick("up")
    assert again.returncode == 2
    assert again.stderr.rstrip().endswith("`candlewick down` stops it")
    up.send_signal(signal.SIGINT)
    assert up.wait(15) == 0
    assert candlewick("health", "spot").returncode == 1
    assert candlewick("down").stdout == "nothing runs on data\n"


def test_an_orderly_stop_leaves_nothing_running_nothing_pending_and_everything_on_disk(
    start: Start, simulator: Callable[..., str], candlewick: Run, tmp_path: Path
) -> None:
    address = simulator("--speed", 120, "--updates", 0, "--start", BASE)
    write_settings(tmp_path, address, GROUPS, writer={"flush_seconds": 20})
    up = start("up")
    wait_until(lambda: (tmp_path / "log").read_text().count("listening to") == 3, 60)
    wait_until(lambda: "candles handed over" in (tmp_path / "log").read_text() or _entries(candlewick) > 40, 60)
    os.killpg(up.pid, signal.SIGTERM)
    up.send_signal(signal.SIGTERM)
    assert up.wait(15) == 0
    log = (tmp_path / "log").read_text()
    assert log.count("handed over") >= 3
    assert "0 entries left pending" in log
    assert "killing it" not in log
    assert not psutil_family(tmp_path, "produce")
    assert not psutil_family(tmp_path, "write")
    assert sum(len(rows(tmp_path / "data" / "candles", series)) for series in series_of(GROUPS)) > 20


def _entries(candlewick: Run) -> int:
    shown = json.loads(candlewick("status", "--json").stdout)
    return sum(market["stream"]["entries"] for market in shown["markets"].values() if "stream" in market)


def test_without_an_exchange_it_keeps_trying_and_names_the_demo(
    start: Start, tmp_path: Path, unused_tcp_port: int
) -> None:
    write_settings(tmp_path, f"http://127.0.0.1:{unused_tcp_port}", GROUPS)
    up = start("up")
    wait_until(lambda: (tmp_path / "log").read_text().count("no klines from") == 3)
    log = (tmp_path / "log").read_text()
    assert log.count("`make demo` needs no exchange") == 3
    up.terminate()
    assert up.wait(15) == 0


def test_a_mistake_in_the_settings_stops_everything_with_one_line(candlewick: Run, tmp_path: Path) -> None:
    (tmp_path / "candlewick.toml").write_text('[[record]]\nmarket = "spot"\nsymbols = ["A"]\nintervals = ["9m"]\n')
    done = candlewick("up")
    assert done.returncode == 2
    assert done.stderr.startswith("candlewick: record.0.intervals.0: '9m' is not allowed")


def test_the_demo_ends_by_itself_and_shows_candles_of_all_markets(candlewick: Run, tmp_path: Path) -> None:
    """Even where the settings name another broker, which it must leave alone."""
    done = candlewick("demo", "--seconds", 12, "--speed", 240, CANDLEWICK_BROKER_URL="redis://127.0.0.1:1")
    assert done.returncode == 0, done.stderr
    for market in Market:
        assert f"\n{market} " in done.stdout
    assert "candles of 6 series" in done.stdout
    assert not psutil_family(tmp_path, "up")
    assert not psutil_family(tmp_path, "simulate")


def test_watch_prints_frames_as_they_come(simulator: Callable[..., str], candlewick: Run) -> None:
    address = simulator("--speed", 10)
    done = candlewick("watch", "coin_futures", "btcusd_perp", "3m", "--simulator", address, "--count", 3)
    assert [json.loads(line)["k"]["s"] for line in done.stdout.splitlines()] == ["BTCUSD_PERP"] * 3
