"""Every row that the exchange closed is in Parquet, whatever dies."""

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

from consumer.storage.table import VALUE_COLUMNS, Rows
from shared.broker.client import sync_client
from shared.broker.heartbeat import heartbeats
from shared.broker.keys import Keys
from shared.candle import Series
from shared.settings.load import load_settings
from simulator.market.klines import KlineSource, SyntheticSource
from simulator.market.recorded import RecordedSource
from simulator.server.simulator import DEFAULT_SYMBOLS
from tests.support.candles import JUNE_30
from tests.support.commands import Run, Start
from tests.support.pipeline import BASE, GROUPS, lives, psutil_family, rows, series_of, write_settings
from tests.support.waiting import wait_until

HOUR_MS = 3_600_000


CHANNELS = 7


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


@pytest.mark.parametrize("victims", [("write",), ("produce usdt_futures", "valkey", "everything")], ids=" ".join)
def test_whatever_is_killed_comes_back_and_nothing_in_the_broker_is_lost_or_doubled(
    start: Start, simulator: Callable[..., str], candlewick: Run, tmp_path: Path, victims: tuple[str, ...]
) -> None:
    """Kill -9; afterwards what the streams hold and what is on disk are the same rows, all with the right values."""
    address = simulator("--speed", 120, "--updates", 1, "--start", BASE, "--wait-for", CHANNELS)
    write_settings(tmp_path, address, GROUPS)
    up = start("up")
    root = tmp_path / "data" / "candles"
    wait_until(lambda: all(len(rows(root, series)) > 1 for series in series_of(GROUPS)), 60)
    for victim in victims:
        up = _kill(victim, up, start, tmp_path)
        before = {series: len(rows(root, series)) for series in series_of(GROUPS)}
        wait_until(lambda: all(len(rows(root, series)) > before[series] + 1 for series in series_of(GROUPS)), 60)  # noqa: B023
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
        if victims == ("write",):
            assert stored.keys() == wanted.keys(), "no candle between the first and the last is missing"


def _kill(victim: str, up: "subprocess.Popen[bytes]", start: Start, tmp_path: Path) -> "subprocess.Popen[bytes]":
    """Kill -9, and wait until somebody else has its place; the supervisor, which may be another one then."""
    if victim == "valkey":
        settings = load_settings(tmp_path / "candlewick.toml", {"data": {"folder": tmp_path / "data"}})
        client: Any = sync_client(settings)
        os.kill(client.info()["process_id"], signal.SIGKILL)
        client.close()
    elif victim == "everything":
        up.kill()
        up.wait()
        wait_until(lambda: not psutil_family(tmp_path, "produce") and not psutil_family(tmp_path, "write"))
        return start("up")
    else:
        child = children(up, victim)[0]
        child.kill()
        wait_until(lambda: any(one.pid != child.pid for one in children(up, victim)))
    return up


def test_two_producers_of_one_market_give_no_duplicate_rows_and_shares_divide_the_work(
    start: Start, simulator: Callable[..., str], tmp_path: Path, valkey_url: str, client: Any, keys: Keys
) -> None:
    address = simulator("--speed", 120, "--updates", 1, "--start", BASE)
    write_settings(tmp_path, address, GROUPS[:1], broker={"url": valkey_url, "prefix": keys.prefix})
    start("write")
    whole = [start("produce", "spot"), start("produce", "spot")]
    root = tmp_path / "data" / "candles"
    series = series_of(GROUPS[:1])
    wait_until(lambda: all(len(rows(root, one)) > 3 for one in series), 60)
    wait_until(lambda: all(lives(client, keys, process) for process in whole))
    for process in whole:
        process.terminate()
        assert process.wait(15) == 0
    parts = [start("produce", "spot", "--share", f"{part}/3") for part in (1, 2, 3)]
    before = {one: len(rows(root, one)) for one in series}
    wait_until(lambda: all(len(rows(root, one)) > before[one] + 2 for one in series), 60)
    wait_until(lambda: all(lives(client, keys, process) for process in parts))

    def shown() -> list[Any]:
        return [body for (role, _), body in heartbeats(client, keys).items() if role == "spot"]

    wait_until(lambda: sum(int(body["series"]) for body in shown()) == len(series))  # the first beat precedes the list
    assert sorted(body["share"] for body in shown()) == ["1/3", "2/3", "3/3"]
    source = SyntheticSource(1, dict(DEFAULT_SYMBOLS))
    for one in series:
        stored = as_dict(rows(root, one))
        wanted = truth(source, one, min(stored), max(stored))
        assert all(wanted[opens] == values for opens, values in stored.items())
    for process in parts:
        process.terminate()
        assert process.wait(15) == 0
