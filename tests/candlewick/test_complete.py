"""Not one candle missing: the whole pipeline against an exchange where everything goes wrong."""

import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from redis.exceptions import RedisError

from chaos.whole.truth import control, held_by_the_exchange, stored
from consumer.dataset.dataset import Dataset
from shared.broker.client import sync_client
from shared.broker.heartbeat import heartbeats
from shared.broker.keys import Keys
from shared.candle import Series
from shared.interval import DAY_MS, HOUR_MS, MINUTE_MS, Interval
from shared.market import Market
from shared.settings.load import load_settings
from shared.settings.model import Settings
from tests.support.candles import JUNE_30
from tests.support.commands import Run, Start
from tests.support.completeness import audits, is_complete
from tests.support.pipeline import write_settings
from tests.support.servers import RealServer
from tests.support.waiting import wait_until

BASE, EVENING, NEXT_DAY = "2024-06-30T00:00", "2024-06-30T18:00", "2024-07-01T00:00"


QUICK = {
    "silence_timeout_seconds": 3,
    "open_timeout_seconds": 3,
    "acknowledge_timeout_seconds": 3,
    "rest_timeout_seconds": 3,
    "retry_max_seconds": 1,
    "symbols_seconds": 3,
}


def reported(settings: Settings, name: str) -> int:
    """The greatest value that any producer's heartbeat gives for a name; 0 while there is none."""
    client = sync_client(settings)
    try:
        alive = heartbeats(client, Keys(settings.broker.prefix))
        return max((int(body[name]) for (role, _), body in alive.items() if role != "writer"), default=0)
    except (RedisError, OSError):
        return 0
    finally:
        client.close()


@pytest.mark.timeout(600)
def test_with_every_fault_at_once_a_quarter_of_a_day_of_thirty_series_ends_without_a_missing_candle(
    tmp_path: Path, simulator: Callable[..., str], start: Start, candlewick: Run
) -> None:
    faults = ["--fault", "all", "--fault", "delisting=25"]
    address = simulator(
        "--speed", 1440, "--start", EVENING, "--end", NEXT_DAY, "--updates", 1, "--wait-for", 12, "--seed", 7, *faults
    )
    groups: list[dict[str, Any]] = [
        {"market": "spot", "symbols": ["BTCUSDT", "BNBUSDT", "ETHUSDT", "SOLUSDT"], "intervals": ["1m", "5m", "1h"]},
        {"market": "usdt_futures", "symbols": ["*"], "intervals": ["1m", "3m", "5m"]},
        {"market": "coin_futures", "symbols": ["*_PERP"], "intervals": ["1m", "3m", "15m", "1d"]},
    ]
    repair = {"grace_seconds": 1200, "quiet_seconds": 2400}
    path = write_settings(tmp_path, address, groups, exchange=QUICK | {"simulator": address}, repair=repair)
    settings, end_ms = load_settings(path), JUNE_30 + DAY_MS
    up = start("up", "--config", path)

    wait_until(lambda: control(address)["time_ms"] > end_ms - HOUR_MS, 300)
    httpx.patch(f"{address}/control/faults", json={"listing": 0})  # the end of the data is no time to begin
    wait_until(lambda: control(address)["time_ms"] > end_ms + HOUR_MS, 300)
    met = control(address)
    httpx.patch(f"{address}/control/faults", json={"all": 0, "holes": met["faults"]["holes"]})
    wait_until(lambda: is_complete(settings, 30, end_ms), 200)
    up.send_signal(signal.SIGTERM)
    assert up.wait(20) == 0

    audited = candlewick("audit", "--config", path, "--to", NEXT_DAY)
    assert audited.returncode == 0, audited.stdout
    found = audits(settings, end_ms)
    assert sum(audit.tally.missing for audit in found) == 0
    for one in found:
        truth = held_by_the_exchange(address, one.series, one.span.begin_ms, one.span.end_ms)
        assert stored(settings.candles_folder, one.series) == truth, one.series
        assert one.tally.absent == one.tally.expected - len(truth), one.series
    assert sum(audit.tally.absent for audit in found) > 2
    assert sum(audit.tally.present for audit in found) > 2_250
    assert any(audit.ended for audit in found)
    broken = sum(met["injected"].get(name, 0) for name in ("drop", "close", "shutdown", "silent_connection"))
    assert broken > 3, "a connection every few seconds"
    assert not {"no_close", "late_close", "corrupt", "truncated", "duplicate", "out_of_order"} - met["injected"].keys()
    assert not {"rest_5xx", "rest_slow", "rest_garbage", "listing", "delisting"} - met["injected"].keys()
    assert all(pool["calls_while_banned"] == 0 for pool in met["weights"].values())


@pytest.mark.timeout(400)
@pytest.mark.parametrize("broker_away", [True], ids=["with the broker away"])
def test_a_producer_that_is_killed_and_comes_back_after_an_hour_misses_nothing(
    tmp_path: Path,
    simulator: Callable[..., str],
    start: Start,
    make_server: Callable[..., RealServer],
    broker_away: bool,
) -> None:
    address = simulator("--speed", 600, "--start", BASE, "--updates", 1, "--wait-for", 3)
    groups = [{"market": "usdt_futures", "symbols": ["BTCUSDT", "ETHUSDT", "币安人生USDT"], "intervals": ["1m"]}]
    server = make_server()
    path = write_settings(tmp_path, address, groups, broker={"url": server.url}, repair={"grace_seconds": 300})
    settings = load_settings(path)
    start("write", "--config", path)
    producer = start("produce", "usdt_futures", "--config", path)
    wait_until(lambda: is_complete(settings, 3, JUNE_30 + 10 * MINUTE_MS), 90)

    producer.kill()
    producer.wait()
    died_ms = control(address)["time_ms"]
    if broker_away:
        server.kill()
    wait_until(lambda: control(address)["time_ms"] > died_ms + HOUR_MS, 90)
    start("produce", "usdt_futures", "--config", path)
    if broker_away:
        wait_until(lambda: control(address)["time_ms"] > died_ms + 2 * HOUR_MS, 90)
        server.start()
    until_ms = died_ms + 3 * HOUR_MS
    wait_until(lambda: control(address)["time_ms"] > until_ms + 10 * MINUTE_MS, 90)
    wait_until(lambda: is_complete(settings, 3, until_ms), 90)
    for one in audits(settings, until_ms):
        assert one.tally.absent == 0
        truth = held_by_the_exchange(address, one.series, one.span.begin_ms, one.span.end_ms)
        got = stored(settings.candles_folder, one.series)
        assert {time: row for time, row in got.items() if time < one.span.end_ms} == truth


@pytest.mark.timeout(400)
@pytest.mark.parametrize("status", [418])  # 429 closes the pool in the same way, only for less time
def test_a_ban_is_obeyed_by_all_shown_in_status_and_holds_up_no_live_candle(
    tmp_path: Path, simulator: Callable[..., str], start: Start, candlewick: Run, status: int
) -> None:
    address = simulator("--speed", 60, "--start", BASE, "--updates", 1, "--fault", "no_close=0.4")
    groups = [
        {"market": "usdt_futures", "symbols": ["BTCUSDT", "ETHUSDT", "SOLUSDT"], "intervals": ["1m"]},
        {"market": "coin_futures", "symbols": ["BTCUSD_PERP", "ETHUSD_PERP"], "intervals": ["1m"]},
    ]
    path = write_settings(tmp_path, address, groups)
    settings = load_settings(path)
    start("up", "--config", path)

    wait_until(lambda: reported(settings, "repaired") > 0, 60)
    closing = {"pool": "futures", "status": status, "seconds": 16}
    httpx.post(f"{address}/control/rest", json=closing, timeout=30).raise_for_status()
    wait_until(lambda: reported(settings, "rest_status") == status, 60)
    before = sum(audit.tally.present for audit in audits(settings, None))
    assert f"REST answers {status}: nothing is asked for" in candlewick("status", "--config", path).stdout
    wait_until(lambda: sum(audit.tally.present for audit in audits(settings, None)) > before + 5, 60)
    assert control(address)["weights"]["futures"]["closed_seconds"] > 0, (
        "live candles came while nothing could be asked"
    )

    wait_until(lambda: control(address)["weights"]["futures"]["closed_seconds"] == 0, 60)
    until_ms = control(address)["time_ms"] - control(address)["time_ms"] % MINUTE_MS
    wait_until(lambda: is_complete(settings, 5, until_ms), 90)
    assert control(address)["weights"]["futures"]["calls_while_banned"] == 0


@pytest.mark.timeout(300)
def test_every_symbol_of_a_real_list_is_recorded_while_symbols_come_and_go(
    tmp_path: Path, simulator: Callable[..., str], start: Start, candlewick: Run, real_data: Path
) -> None:
    address = simulator("--speed", 8, "--start", BASE, "--updates", 0, "--exchange-info", real_data / "exchange_info")
    groups = [{"market": "spot", "symbols": ["*"], "intervals": ["1m"]}]
    path = write_settings(tmp_path, address, groups, exchange={"simulator": address, "symbols_seconds": 3})
    settings = load_settings(path)
    trading = 1262
    start("up", "--config", path, stdout=subprocess.DEVNULL)
    wait_until(lambda: len(Dataset.in_folder(settings.data.folder).series(with_metadata=True)) >= trading, 120)
    assert control(address)["accepted"] == 7, "200 channels each, and none closed for too many messages"

    httpx.post(f"{address}/control/symbols", json={"market": "spot", "list": ["NEWUSDT"], "delist": ["BTCUSDT"]})
    listed_ms = control(address)["time_ms"]
    new, old = (Series(Market.SPOT, symbol, Interval.M1) for symbol in ("NEWUSDT", "BTCUSDT"))
    dataset = Dataset.in_folder(settings.data.folder)
    wait_until(lambda: dataset.metadata(old).end_ms is not None, 60)
    assert dataset.metadata(old).reason == "its status is BREAK"
    wait_until(lambda: min(stored(settings.candles_folder, new), default=2**62) <= listed_ms, 60)
    assert stored(settings.candles_folder, old), "nothing is deleted"
    assert control(address)["accepted"] == 7, "no other series was disturbed"

    removed = candlewick("symbols", "remove", "spot", "ETHUSDT", "--config", path)
    assert removed.returncode == 0, removed.stderr
    assert "removed by command: ETHUSDT" in removed.stdout
    eth = new._replace(symbol="ETHUSDT")
    wait_until(lambda: dataset.metadata(eth).end_ms is not None, 30)
    assert candlewick("symbols", "add", "spot", "ETHUSDT", "--config", path).returncode == 0
    wait_until(lambda: dataset.metadata(eth).end_ms is None, 30)
    until_ms = listed_ms + 2 * MINUTE_MS
    wait_until(lambda: reported(settings, "event_time_ms") > until_ms and reported(settings, "missing") == 0, 120)
    wait_until(lambda: all(audit.is_good for audit in audits(settings, until_ms)), 60)
    assert control(address)["accepted"] == 7


def test_a_first_start_reaches_back_and_a_broker_that_forgot_everything_is_told_by_the_disk(
    tmp_path: Path,
    simulator: Callable[..., str],
    start: Start,
    make_server: Callable[..., RealServer],
) -> None:
    address = simulator("--speed", 300, "--start", "2024-06-30T12:00", "--updates", 1)
    groups: list[dict[str, Any]] = [
        {"market": "coin_futures", "symbols": ["BTCUSD_PERP"], "intervals": ["1m"], "history": "30h"},
        {"market": "coin_futures", "symbols": ["ETHUSD_PERP"], "intervals": ["1h", "1d", "1w"], "history": "3w"},
    ]
    server = make_server()
    path = write_settings(tmp_path, address, groups, broker={"url": server.url}, repair={"grace_seconds": 300})
    settings = load_settings(path)
    writer = start("write", "--config", path)
    producer = start("produce", "coin_futures", "--config", path)
    noon_ms = JUNE_30 + 12 * HOUR_MS
    wait_until(lambda: is_complete(settings, 4, noon_ms), 60)
    btc, hourly, daily, weekly = (audit.span.begin_ms for audit in audits(settings, noon_ms))
    assert 29 * HOUR_MS < noon_ms - btc < 31 * HOUR_MS
    assert 20 * DAY_MS < noon_ms - hourly < 22 * DAY_MS
    assert 20 * DAY_MS < noon_ms - daily < 23 * DAY_MS
    assert 20 * DAY_MS < noon_ms - weekly < 28 * DAY_MS

    producer.kill()
    producer.wait()
    writer.kill()
    writer.wait()
    died_ms = control(address)["time_ms"]
    client = sync_client(settings)
    client.flushall()
    client.close()
    wait_until(lambda: control(address)["time_ms"] > died_ms + HOUR_MS, 60)
    start("produce", "coin_futures", "--config", path)
    start("write", "--config", path)
    wait_until(lambda: is_complete(settings, 4, died_ms + HOUR_MS), 90)
