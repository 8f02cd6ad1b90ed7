"""The whole pipeline into an object store: writers that are killed, one after the other, and every row once."""

import json
import random
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import candlewick as package
from chaos.s3 import S3
from chaos.whole.truth import control, held_by_the_exchange
from consumer.dataset.audit import audit
from consumer.dataset.dataset import Dataset
from shared.interval import MINUTE_MS
from shared.market import Market
from shared.settings.load import load_settings
from tests.support.candles import JUNE_30
from tests.support.commands import Run, Start
from tests.support.pipeline import BASE, GROUPS, write_settings
from tests.support.waiting import wait_until

FAULTS: tuple[int | str, ...] = (409, 412, 500, 503, "lost", "slow")


def test_two_writers_of_which_one_is_killed_again_and_again_store_every_row_once_whatever_the_store_answers(
    start: Start,
    simulator: Callable[..., str],
    candlewick: Run,
    tmp_path: Path,
    bucket: str,
    s3: S3,
    valkey_url: str,
    prefix: str,
) -> None:
    address, rng = simulator("--speed", 120, "--updates", 1, "--start", BASE), random.Random(1)
    met = list[int | str]()

    def meet(method: str, path: str) -> int | str | None:
        if method != "PUT" or "/staging/" in path or rng.random() > 0.5:
            return None
        met.append(rng.choice(FAULTS))
        return met[-1]

    s3.faults[urlsplit(bucket).netloc] = meet
    data: dict[str, Any] = {"store": bucket, "store_flush_seconds": 1}
    writer = {"flush_max_seconds": 2, "claim_seconds": 3}
    broker = {"url": valkey_url, "prefix": prefix}
    path = write_settings(tmp_path, address, GROUPS[:2], data=data, writer=writer, broker=broker)
    settings = load_settings(path)
    for market in ("spot", "usdt_futures"):
        start("produce", market, "--config", path)
    start("write", "--config", path)
    victim = start("write", "--config", path)
    for _ in range(2):
        seen = s3.requests["PUT"]
        wait_until(lambda seen=seen: s3.requests["PUT"] > seen + 8, 60)  # type: ignore[misc]
        victim.kill()
        victim = start("write", "--config", path)
    wait_until(lambda: control(address)["time_ms"] > JUNE_30 + 20 * MINUTE_MS, 60)  # of every interval some have closed
    until_ms = control(address)["time_ms"] // MINUTE_MS * MINUTE_MS

    def is_stored() -> bool:
        dataset = Dataset.of(settings)
        found = audit(dataset, dataset.series(with_metadata=True), None, until_ms, settings.repair)
        return len(found) == 6 and all(one.is_good for one in found)

    s3.faults.clear()
    wait_until(is_stored, 180)
    assert len(set(met)) > 2
    dataset = Dataset.of(settings)
    for series in dataset.series():
        rows = dataset.rows(series)
        end_ms = series.interval.floor(until_ms)
        times = [time for time in rows.times.tolist() if time < end_ms]
        truth = held_by_the_exchange(address, series, times[0], end_ms)
        assert times == sorted(truth)
        assert [*map(tuple, rows.values.T.tolist())][: len(times)] == [truth[time] for time in times]

    shown = json.loads(candlewick("status", "--json", "--config", path).stdout)
    assert shown["store"]["folder"] == bucket
    assert shown["health"]["state"] == "recording"
    read = candlewick("read", "spot", "BTCUSDT", "1m", "--data", bucket, "--broker", valkey_url, "--stored-only")
    assert "2024-06-30 00:" in read.stdout
    with package.open(bucket, config=path) as rec:
        frame = rec.read("spot", "BTCUSDT", "1m")
        stored = rec.read("spot", "BTCUSDT", "1m", stored_only=True)
    assert len(frame) >= len(stored) > 0


def test_the_demo_records_into_a_place_of_its_own_in_a_store(candlewick: Run, bucket: str, tmp_path: Path) -> None:
    done = candlewick("demo", "--seconds", 8, "--speed", 240, "--data", bucket)
    assert done.returncode == 0, done.stderr
    (place,) = re.findall(rf"^Recorded in ({bucket}/[-T\d]+)/candles:$", done.stdout, re.MULTILINE)
    found = Dataset.of(load_settings(flags={"data": {"store": place}}))
    assert {series.market for series in found.series()} == set(Market)
    assert not list(tmp_path.rglob("*.parquet"))
