"""What is published is on disk and then acknowledged, whatever dies."""

import fcntl
import logging
import os
import signal
from collections.abc import Callable
from typing import Any

import pytest
import redis

from consumer.storage.layout import series_folder
from shared.broker.heartbeat import heartbeats
from shared.broker.keys import Keys
from shared.candle import Series
from shared.interval import Interval
from shared.market import Market
from shared.settings.model import Settings
from tests.support.candles import BTC
from tests.support.waiting import wait_until
from tests.support.writing import ETH, candles, pending, publish, start_process, stored, writing

SPOT = Series(Market.SPOT, "BTCUSDT", Interval.M1)


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
    by_minute = zip(candles(1500), candles(1500, ETH), strict=True)
    publish(client, keys, [candle for both in by_minute for candle in both])
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
) -> None:
    """As a writer that is stopped in the middle of a flush holds it."""
    settings = make_settings()
    folder = settings.candles_folder / series_folder(BTC)
    folder.mkdir(parents=True)
    fd = os.open(folder, os.O_RDONLY)
    fcntl.flock(fd, fcntl.LOCK_EX)
    with caplog.at_level(logging.INFO), writing(settings, speed=20):
        publish(client, keys, candles(3))
        for at in range(10):
            publish(client, keys, candles(1, ETH, first=at))
            wait_until(lambda at=at: len(stored(settings, ETH)) == at + 1)  # type: ignore[misc]
        wait_until(lambda: f"{BTC} is locked by another writer" in caplog.text)
        os.close(fd)
        wait_until(lambda: stored(settings) == [0, 1, 2])
        wait_until(lambda: "every series can be written again" in caplog.text)
