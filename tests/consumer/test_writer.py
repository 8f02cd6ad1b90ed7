"""The writer process: from the streams to disk, through crashes of itself, the broker and the disk."""

import fcntl
import itertools
import logging
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import redis

import consumer.writer
from consumer.layout import series_folder
from consumer.read import read_rows
from consumer.writer import Writer
from shared.broker import Keys
from shared.candle import Candle, Series
from shared.entry import encode_entry
from shared.errors import BrokerError
from shared.heartbeat import heartbeats
from shared.interval import Interval
from shared.market import Market
from shared.settings import Settings, load_settings
from tests.conftest import BTC, JUNE_30, MINUTE, make_candle, wait_until

ETH = Series(Market.USDT_FUTURES, "ETHUSDT", Interval.M1)
SPOT = Series(Market.SPOT, "BTCUSDT", Interval.M1)


def candles(count: int, series: Series = BTC, first: int = 0) -> list[Candle]:
    return [make_candle(series, JUNE_30 + at * MINUTE) for at in range(first, first + count)]


def publish(client: Any, keys: Keys, candles: list[Candle]) -> None:
    pipeline = client.pipeline(transaction=False)
    for candle in candles:
        pipeline.xadd(keys.candles(candle.series.market), encode_entry(candle))
    pipeline.execute()


@contextmanager
def writing(settings: Settings) -> Iterator[Writer]:
    writer = Writer(settings)
    failures: list[BaseException] = []

    def run() -> None:
        try:
            writer.run()
        except BaseException as error:  # noqa: BLE001 # handed to the test
            failures.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield writer
    finally:
        writer.stop()
        thread.join(30)
        assert not thread.is_alive()
    if failures:
        raise failures[0]


def stored(settings: Settings, series: Series = BTC) -> list[int]:
    if not (settings.candles_folder / series_folder(series)).is_dir():
        return []
    return [(int(time) - JUNE_30) // MINUTE for time in read_rows(settings.candles_folder, series).times]


def pending(client: Any, keys: Keys, market: Market = Market.USDT_FUTURES) -> int:
    try:
        return int(client.xpending(keys.candles(market), "writers")["pending"])
    except redis.ResponseError:
        return -1  # the group is not there yet


def test_what_is_published_is_on_disk_and_then_acknowledged(
    make_settings: Callable[..., Settings], client: Any, keys: Keys, caplog: pytest.LogCaptureFixture
) -> None:
    settings = make_settings()
    publish(client, keys, candles(3))
    with caplog.at_level(logging.INFO), writing(settings):
        wait_until(lambda: stored(settings) == [0, 1, 2])
        publish(client, keys, candles(2, SPOT))
        wait_until(lambda: stored(settings, SPOT) == [0, 1])
        wait_until(lambda: pending(client, keys) == 0)
    assert "Record usdt_futures BTCUSDT-1m at 2024-06-30 00:01:00+00:00" in caplog.text


def test_many_candles_are_one_line_in_the_log(
    make_settings: Callable[..., Settings], client: Any, keys: Keys, caplog: pytest.LogCaptureFixture
) -> None:
    settings = make_settings()
    publish(client, keys, candles(1500) + candles(1500, ETH))
    with caplog.at_level(logging.INFO), writing(settings):
        wait_until(lambda: len(stored(settings, ETH)) == 1500)
    assert "Record usdt_futures" not in caplog.text
    assert "candles of 2 series in" in caplog.text


def test_stopping_writes_what_was_published_before(
    make_settings: Callable[..., Settings], client: Any, keys: Keys
) -> None:
    settings = make_settings(writer={"flush_seconds": 30})
    with writing(settings):
        wait_until(lambda: client.exists(keys.candles(Market.USDT_FUTURES)) == 1)
        publish(client, keys, candles(50))
    assert stored(settings) == list(range(50))
    assert pending(client, keys) == 0


def test_the_broker_killed_and_started_again_loses_and_doubles_nothing(
    make_server: Callable[..., Any], make_settings: Callable[..., Settings], keys: Keys
) -> None:
    server = make_server()
    settings = make_settings(broker={"url": server.url}, writer={"flush_seconds": 0.05})
    client = redis.Redis.from_url(server.url)
    with writing(settings):
        for kill in range(3):
            publish(client, keys, candles(20, first=20 * kill))
            wait_until(lambda kill=kill: len(stored(settings)) >= 20 * kill + 1)  # type: ignore[misc]
            server.kill()
            server.start()
        wait_until(lambda: stored(settings) == list(range(60)))
        wait_until(lambda: pending(client, keys) == 0)
    client.close()


def start_process(settings: Settings) -> "subprocess.Popen[bytes]":
    environment = {
        "CANDLEWICK_BROKER_URL": settings.broker.url,
        "CANDLEWICK_BROKER_PREFIX": settings.broker.prefix,
        "CANDLEWICK_DATA_FOLDER": str(settings.data.folder),
        "CANDLEWICK_WRITER_FLUSH_SECONDS": "0.05",
        "CANDLEWICK_WRITER_FLUSH_MOST_SECONDS": "0.5",
        "CANDLEWICK_WRITER_CLAIM_SECONDS": "1",
    }
    command = [sys.executable, "-P", "-m", "candlewick", "write", "--log-level", "WARNING"]
    return subprocess.Popen(command, env=os.environ | environment, start_new_session=True)


def test_killed_again_and_again_under_load_it_loses_and_doubles_nothing(
    make_settings: Callable[..., Settings], client: Any, keys: Keys
) -> None:
    settings = make_settings()
    total = 0
    for kill in range(4):
        writer = start_process(settings)
        for _ in range(10):
            publish(client, keys, candles(30, first=total))
            publish(client, keys, candles(30, ETH, first=total))
            total += 30
        wait_until(lambda kill=kill: len(stored(settings)) > 300 * kill)  # type: ignore[misc]
        writer.send_signal(signal.SIGKILL)
        writer.wait()
    writer = start_process(settings)
    wait_until(lambda: any(name.endswith(f"-{writer.pid}") for _, name in heartbeats(client, keys)))
    wait_until(lambda: stored(settings) == stored(settings, ETH) == list(range(total)))
    wait_until(lambda: pending(client, keys) == 0)
    writer.terminate()
    assert writer.wait(15) == 0
    assert [path for path in settings.staging_folder.rglob("*") if path.is_file()] == []


def test_two_writers_share_the_load_and_one_that_is_stopped_is_taken_over(
    make_settings: Callable[..., Settings], client: Any, keys: Keys
) -> None:
    """The stopped one holds entries and no lock: it was between two reads."""
    settings = make_settings()
    writers = [start_process(settings), start_process(settings)]
    try:
        wait_until(lambda: len(heartbeats(client, keys)) == 2)
        publish(client, keys, candles(200))
        wait_until(lambda: stored(settings) == list(range(200)) and pending(client, keys) == 0)
        writers[0].send_signal(signal.SIGSTOP)
        lives = {name: body["consumer"] for (_, name), body in heartbeats(client, keys).items()}
        stopped = next(consumer for name, consumer in lives.items() if name.endswith(f"-{writers[0].pid}"))
        writers[1].send_signal(signal.SIGSTOP)
        publish(client, keys, candles(5, first=200))
        client.xreadgroup("writers", stopped, {keys.candles(Market.USDT_FUTURES): ">"}, count=5)
        writers[1].send_signal(signal.SIGCONT)
        for first in range(205, 1005, 100):
            publish(client, keys, candles(100, first=first))
        wait_until(lambda: stored(settings) == list(range(1005)), 60)
        writers[0].send_signal(signal.SIGCONT)
        publish(client, keys, candles(100, first=1005))
        wait_until(lambda: stored(settings) == list(range(1105)) and pending(client, keys) == 0)
    finally:
        for writer in writers:
            writer.send_signal(signal.SIGCONT)
            writer.terminate()
        for writer in writers:
            assert writer.wait(15) == 0


def test_a_series_that_stays_locked_is_named_and_others_go_on(
    make_settings: Callable[..., Settings],
    client: Any,
    keys: Keys,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As a writer that is stopped in the middle of a flush holds it."""
    monkeypatch.setattr(consumer.writer, "_LOCKED_LONG_SECONDS", 0.5)
    settings = make_settings()
    folder = settings.candles_folder / series_folder(BTC)
    folder.mkdir(parents=True)
    fd = os.open(folder, os.O_RDONLY)
    fcntl.flock(fd, fcntl.LOCK_EX)
    with caplog.at_level(logging.INFO), writing(settings):
        publish(client, keys, candles(3))
        for at in range(10):
            publish(client, keys, candles(1, ETH, first=at))
            wait_until(lambda at=at: len(stored(settings, ETH)) == at + 1)  # type: ignore[misc]
        wait_until(lambda: f"{BTC} is locked by another writer" in caplog.text)
        os.close(fd)
        wait_until(lambda: stored(settings) == [0, 1, 2])
        wait_until(lambda: "every series can be written again" in caplog.text)


def test_a_disk_that_refuses_leaves_entries_pending_and_writing_resumes_by_itself(
    make_settings: Callable[..., Settings], client: Any, keys: Keys, caplog: pytest.LogCaptureFixture
) -> None:
    """A file stands where the series' folder should be; other series are not held up."""
    settings = make_settings()
    obstacle = settings.candles_folder / series_folder(BTC)
    obstacle.parent.mkdir(parents=True)
    obstacle.write_text("not a folder")
    publish(client, keys, candles(3) + candles(3, ETH))
    with caplog.at_level(logging.INFO), writing(settings):
        wait_until(lambda: stored(settings, ETH) == [0, 1, 2])
        wait_until(lambda: pending(client, keys) == 3)
        wait_until(lambda: "1 series stay pending" in caplog.text)
        obstacle.unlink()
        wait_until(lambda: stored(settings) == [0, 1, 2])
        wait_until(lambda: pending(client, keys) == 0)
        wait_until(lambda: "every series can be written again" in caplog.text)


def test_a_damaged_partition_is_never_overwritten_and_its_entries_stay_pending(
    make_settings: Callable[..., Settings], client: Any, keys: Keys
) -> None:
    settings = make_settings()
    path = settings.candles_folder / series_folder(BTC) / "2024-06-30.parquet"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"PAR1 damaged")
    publish(client, keys, candles(3))
    with writing(settings):
        wait_until(lambda: pending(client, keys) == 3)
    assert path.read_bytes() == b"PAR1 damaged"
    assert pending(client, keys) == 3


def test_a_broker_that_evicts_is_refused_with_the_remedy(make_server: Callable[..., Any], tmp_path: Path) -> None:
    server = make_server("valkey", maxmemory_policy="allkeys-lru")
    settings = load_settings(flags={"broker": {"url": server.url}, "data": {"folder": tmp_path / "data"}})
    with pytest.raises(BrokerError, match="set `maxmemory-policy noeviction`"), writing(settings):
        pass


def test_two_different_candles_under_one_key_are_counted_and_logged(
    make_settings: Callable[..., Settings], client: Any, keys: Keys, caplog: pytest.LogCaptureFixture
) -> None:
    settings = make_settings()
    publish(client, keys, [make_candle(close="1", trades=1), make_candle(close="2", trades=2)])
    with caplog.at_level(logging.WARNING), writing(settings):
        wait_until(lambda: stored(settings) == [0])
    assert "two different candles of usdt_futures BTCUSDT-1m at 2024-06-30 00:00:00+00:00" in caplog.text


def test_a_dead_broker_is_waited_for_and_stopping_meanwhile_does_not_wait(
    make_server: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With an hour between two tries: whoever stops it does not wait for the next one."""
    server = make_server()
    settings = load_settings(flags={"broker": {"url": server.url}, "data": {"folder": tmp_path / "data"}})
    server.kill()
    monkeypatch.setattr(consumer.writer, "backoff", lambda **_: itertools.repeat(3600.0))
    with writing(settings):
        pass


def test_one_partition_that_cannot_be_written_never_holds_up_the_others(
    make_settings: Callable[..., Settings], client: Any, keys: Keys
) -> None:
    """Ten times more entries for it than a batch holds."""
    settings = make_settings(writer={"batch_candles": 200, "flush_most_seconds": 0.5, "claim_seconds": 1})
    path = settings.candles_folder / series_folder(BTC) / "2024-06-30.parquet"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"PAR1 damaged")
    publish(client, keys, candles(1000) + candles(1000))
    publish(client, keys, candles(50, ETH))
    with writing(settings):
        wait_until(lambda: stored(settings, ETH) == list(range(50)))
        path.unlink()
        wait_until(lambda: stored(settings) == list(range(1000)), 60)
        wait_until(lambda: pending(client, keys) == 0, 60)


def test_a_broker_at_its_memory_limit_is_drained(
    make_server: Callable[..., Any], make_settings: Callable[..., Settings], keys: Keys
) -> None:
    server = make_server()
    settings = make_settings(broker={"url": server.url}, writer={"flush_seconds": 3})
    client = redis.Redis.from_url(server.url)
    with writing(settings):
        wait_until(lambda: pending(client, keys) == 0)
    publish(client, keys, candles(30))
    client.config_set("maxmemory", "1mb")
    with writing(settings):
        wait_until(lambda: len(stored(settings)) == 30)
        wait_until(lambda: pending(client, keys) == 0)
    client.close()
