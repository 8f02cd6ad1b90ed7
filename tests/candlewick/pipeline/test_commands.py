"""Status, health, stopping, the demo: what its user meets."""

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path

from shared.market import Market
from tests.support.commands import Run, Start
from tests.support.pipeline import BASE, GROUPS, psutil_family, rows, series_of, write_settings
from tests.support.waiting import wait_until


def test_status_and_health_show_what_lives(
    start: Start, simulator: Callable[..., str], candlewick: Run, tmp_path: Path
) -> None:
    address = simulator("--speed", 120, "--start", BASE, "--updates", 1)
    write_settings(tmp_path, address, GROUPS)
    assert candlewick("health", "spot").returncode == 3
    up = start("up")
    wait_until(lambda: candlewick("health", "writer").returncode == 0)

    def flowing() -> bool:
        shown = json.loads(candlewick("status", "--json").stdout)
        producers = [one for market in shown["markets"].values() for one in market["producers"]]
        return len(producers) == 3 and all(one["candles_per_minute"] and one["last_candle"] for one in producers)

    wait_until(flowing, 60)
    shown = candlewick("status")
    assert shown.returncode == 0, shown.stdout
    lines = shown.stdout.splitlines()
    assert lines[0].startswith("recording: 7 series, newest candle to 2024-06-30T")
    (row,) = (line.split() for line in lines if line.startswith("spot  ") and " of 1" in line)
    assert row[:5] == ["spot", "4", "1", "of", "1"]
    assert f"spot: simulated {address}" in lines
    assert any(line.startswith("writer  ") and " written, " in line for line in lines)
    assert candlewick("health", "spot").stdout == "well\n"
    again = candlewick("up")
    assert again.returncode == 2
    assert again.stderr.rstrip().endswith("`candlewick down` stops it")
    up.send_signal(signal.SIGINT)
    assert up.wait(15) == 0
    assert candlewick("health", "spot").returncode == 3
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
    start: Start, tmp_path: Path, refused_port: int
) -> None:
    write_settings(tmp_path, f"http://127.0.0.1:{refused_port}", GROUPS)
    up = start("up")
    wait_until(lambda: (tmp_path / "log").read_text().count("no klines from") == 3)
    log = (tmp_path / "log").read_text()
    assert log.count("`make demo` needs no exchange") == 3
    up.terminate()
    assert up.wait(15) == 0


def test_stopped_before_its_processes_have_begun_is_an_orderly_end(
    start: Start, tmp_path: Path, refused_port: int
) -> None:
    """A signal that meets a process before it can listen ends it: it holds nothing yet."""
    write_settings(tmp_path, f"http://127.0.0.1:{refused_port}", GROUPS)
    up = start("up")
    wait_until(lambda: bool(psutil_family(tmp_path, "write")))
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


def test_down_leaves_a_broker_alone_that_was_started_by_hand(start: Start, candlewick: Run, tmp_path: Path) -> None:
    write_settings(tmp_path, "http://127.0.0.1:1", GROUPS)
    broker = start("broker")
    wait_until(lambda: candlewick("dead-letters", "list").returncode == 0)
    done = candlewick("down")
    assert done.stdout == "nothing records on data: its broker was started by hand and is left alone\n"
    assert candlewick("dead-letters", "list").stdout == "0 dead letters\n"
    broker.terminate()
    assert broker.wait(15) == 0
    assert candlewick("down").stdout == "nothing runs on data\n"
