"""Ends of every kind: a second signal, processes restarted one at a time, a broker that loses what it had taken."""

import os
import shutil
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import redis

from candlewick.up.serving import serving_pids
from chaos.whole.truth import control, held_by_the_exchange, stored
from consumer.dataset.dataset import Dataset
from shared.broker.keys import Keys
from shared.interval import MINUTE_MS
from shared.market import Market
from shared.settings.load import load_settings
from tests.support.candles import JUNE_30
from tests.support.commands import Start
from tests.support.completeness import audits, is_complete
from tests.support.disk import Disk
from tests.support.pipeline import BASE, GROUPS, lives, psutil_family, write_settings
from tests.support.servers import RealServer
from tests.support.waiting import wait_until
from tests.support.writing import candles, pending, publish

KEYS = Keys("candlewick")
SPOT = [group for group in GROUPS if group["market"] == "spot"]

Process = subprocess.Popen[bytes]


def end_at_once(process: Process) -> int:
    """Ask until it is gone: the first signal asks, its echoes within a second change nothing, a later one ends it."""

    def is_gone() -> bool:
        process.send_signal(signal.SIGTERM)
        return process.poll() is not None

    wait_until(is_gone, 15)
    return process.wait()


def test_a_second_signal_ends_a_writer_at_once_and_nothing_is_lost(
    start: Start, make_server: Callable[..., RealServer], tmp_path: Path
) -> None:
    """The broker hangs, so that an orderly end would take a minute."""
    server = make_server()
    broker = {"url": server.url, "timeout_seconds": 60}
    write_settings(tmp_path, "http://127.0.0.1:1", GROUPS, broker=broker, writer={"flush_seconds": 3})
    client = redis.Redis.from_url(server.url)
    writer = start("write")
    wait_until(lambda: lives(client, KEYS, writer))
    publish(client, KEYS, candles(200))
    wait_until(lambda: pending(client, KEYS) == 200)
    os.kill(server.pid, signal.SIGSTOP)
    assert end_at_once(writer) == -signal.SIGTERM
    os.kill(server.pid, signal.SIGCONT)
    second = start("write")
    wait_until(lambda: lives(client, KEYS, second) and pending(client, KEYS) == 0)
    rows = Dataset.in_folder(tmp_path / "data").rows(candles(1)[0].series)
    assert rows.times.tolist() == [candle.open_time_ms for candle in candles(200)]
    client.close()


def test_a_second_signal_ends_a_producer_at_once_and_its_successor_misses_nothing(
    start: Start, simulator: Callable[..., str], make_server: Callable[..., RealServer], tmp_path: Path
) -> None:
    address = simulator("--speed", 120, "--start", BASE, "--updates", 1)
    server = make_server()
    broker = {"url": server.url, "timeout_seconds": 60}
    path = write_settings(tmp_path, address, SPOT, broker=broker, publisher={"drain_seconds": 60})
    settings = load_settings(path)
    start("write")
    producer = start("produce", "spot")
    wait_until(lambda: is_complete(settings, 4, JUNE_30 + 10 * MINUTE_MS), 60)
    os.kill(server.pid, signal.SIGSTOP)
    held_from_ms = control(address)["time_ms"]
    wait_until(lambda: control(address)["time_ms"] > held_from_ms + 3 * MINUTE_MS)
    assert end_at_once(producer) != 0
    os.kill(server.pid, signal.SIGCONT)
    start("produce", "spot")
    until_ms = held_from_ms + 10 * MINUTE_MS
    wait_until(lambda: control(address)["time_ms"] > until_ms + MINUTE_MS)
    wait_until(lambda: is_complete(settings, 4, until_ms), 60)
    assert all(audit.tally.absent == 0 for audit in audits(settings, until_ms))


@pytest.mark.timeout(300)
def test_restarting_one_process_at_a_time_under_load_loses_nothing(
    start: Start, simulator: Callable[..., str], make_server: Callable[..., RealServer], tmp_path: Path
) -> None:
    """As an upgrade goes: writers first, then producers, each asked to leave and started again, the broker too."""
    address = simulator("--speed", 300, "--start", BASE, "--updates", 1)
    server = make_server()
    path = write_settings(tmp_path, address, GROUPS, broker={"url": server.url}, repair={"grace_seconds": 300})
    settings = load_settings(path)
    client = redis.Redis.from_url(server.url)
    commands = [("write",), ("write",), ("produce", "spot"), ("produce", "usdt_futures"), ("produce", "coin_futures")]
    running = [start(*command) for command in commands]
    wait_until(lambda: is_complete(settings, 7, JUNE_30 + 10 * MINUTE_MS), 60)
    for at, command in enumerate(commands):
        wait_until(lambda at=at: lives(client, KEYS, running[at]))  # type: ignore[misc]
        running[at].terminate()
        assert running[at].wait(20) == 0, command
        running[at] = start(*command)
        wait_until(lambda at=at: lives(client, KEYS, running[at]))  # type: ignore[misc]
    server.kill()
    server.start()
    until_ms = control(address)["time_ms"] + 20 * MINUTE_MS
    wait_until(lambda: control(address)["time_ms"] > until_ms + 10 * MINUTE_MS, 60)
    wait_until(lambda: is_complete(settings, 7, until_ms), 90)
    for one in audits(settings, until_ms):
        truth = held_by_the_exchange(address, one.series, one.span.begin_ms, one.span.end_ms)
        got = stored(settings.candles_folder, one.series)
        assert {time: row for time, row in got.items() if time < one.span.end_ms} == truth
    client.close()


@pytest.mark.timeout(300)
def test_a_broker_that_is_emptied_again_and_again_costs_no_candle(
    start: Start, simulator: Callable[..., str], make_server: Callable[..., RealServer], tmp_path: Path
) -> None:
    """Each time a writer had been stopped for a while, so that there was something to lose."""
    address = simulator("--speed", 120, "--start", BASE, "--updates", 1)
    server = make_server()
    path = write_settings(tmp_path, address, GROUPS, broker={"url": server.url}, repair={"grace_seconds": 300})
    settings = load_settings(path)
    client = redis.Redis.from_url(server.url)
    writer = start("write")
    for market in ("spot", "usdt_futures", "coin_futures"):
        start("produce", market)
    wait_until(lambda: is_complete(settings, 7, JUNE_30 + 10 * MINUTE_MS), 60)
    for _ in range(3):
        writer.send_signal(signal.SIGSTOP)
        before = {market: client.xlen(KEYS.candles(market)) for market in Market}
        wait_until(lambda old=before: all(client.xlen(KEYS.candles(m)) > old[m] for m in Market), 60)  # type: ignore[misc]
        client.flushall()
        writer.send_signal(signal.SIGCONT)
        now_ms = control(address)["time_ms"]
        wait_until(lambda now_ms=now_ms: control(address)["time_ms"] > now_ms + 3 * MINUTE_MS, 60)  # type: ignore[misc]
    assert "candles and facts that it had taken: they are published again" in (tmp_path / "log").read_text()
    until_ms = control(address)["time_ms"]
    wait_until(lambda: control(address)["time_ms"] > until_ms + 10 * MINUTE_MS, 60)
    wait_until(lambda: is_complete(settings, 7, until_ms), 90)
    for one in audits(settings, until_ms):
        assert one.tally.absent == 0
        truth = held_by_the_exchange(address, one.series, one.span.begin_ms, one.span.end_ms)
        got = stored(settings.candles_folder, one.series)
        assert {time: row for time, row in got.items() if time < one.span.end_ms} == truth
    client.close()


@pytest.mark.timeout(120)
@pytest.mark.parametrize("how", ["renamed", "deleted"])
def test_a_data_folder_that_is_taken_away_stops_everything_and_no_second_one_begins(
    how: str, start: Start, simulator: Callable[..., str], tmp_path: Path
) -> None:
    address = simulator("--speed", 120, "--start", BASE, "--updates", 1)
    settings = load_settings(write_settings(tmp_path, address, SPOT))
    up = start("up")
    wait_until(lambda: is_complete(settings, 4, JUNE_30 + 5 * MINUTE_MS), 60)
    data, away = tmp_path / "data", tmp_path / "away"
    data.rename(away)
    if how == "deleted":
        shutil.rmtree(away)
    assert up.wait(30) == 2
    log = (tmp_path / "log").read_text()
    assert f"{data} is not the folder any more that it was: renamed, deleted or unmounted: stopping" in log
    assert not data.exists()
    assert not psutil_family(tmp_path, "write")
    assert not psutil_family(tmp_path, "produce")
    if how == "renamed":
        assert serving_pids(away / "broker") == []
        again = start("up", "--data", "away")
        wait_until(lambda: (tmp_path / "log").read_text().count("writing to ") > 1, 60)  # it has ears for a signal now
        until_ms = control(address)["time_ms"] // MINUTE_MS * MINUTE_MS
        moved = settings.model_copy(update={"data": settings.data.model_copy(update={"folder": away})})
        wait_until(lambda: is_complete(moved, 4, until_ms), 60)
        again.terminate()
        assert again.wait(20) == 0


def test_a_data_folder_that_is_unmounted_stops_the_writer_and_nothing_goes_below_it(
    disk: Disk, start: Start, make_server: Callable[..., RealServer], tmp_path: Path
) -> None:
    server = make_server()
    data = disk.folder / "data"
    data.mkdir()
    write_settings(tmp_path, "http://127.0.0.1:1", SPOT, broker={"url": server.url}, data={"folder": str(data)})
    client = redis.Redis.from_url(server.url)
    writer = start("write")
    wait_until(lambda: lives(client, KEYS, writer))
    publish(client, KEYS, candles(10))
    wait_until(lambda: pending(client, KEYS) == 0)
    disk.unmount()
    publish(client, KEYS, candles(10, first=10))
    assert writer.wait(20) == 2
    assert "renamed, deleted or unmounted" in (tmp_path / "log").read_text()
    assert not list(disk.folder.iterdir()), "no second dataset below the mount"
    assert client.xinfo_groups(KEYS.candles(Market.USDT_FUTURES))[0]["last-delivered-id"] is not None
    client.close()
