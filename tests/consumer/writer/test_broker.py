"""The broker's troubles, as a writer meets them."""

import itertools
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import redis

import consumer.journal
import consumer.storage.candle_store
import consumer.writer
from consumer.storage.layout import series_folder
from shared.broker.keys import Keys
from shared.errors import BrokerError
from shared.settings.load import load_settings
from shared.settings.model import Settings
from tests.support.candles import BTC, make_candle
from tests.support.waiting import wait_until
from tests.support.writing import ETH, candles, pending, publish, stored, writing


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
    settings = make_settings(writer={"batch_candles": 200, "flush_max_seconds": 0.5, "claim_seconds": 1})
    path = settings.candles_folder / series_folder(BTC)
    path.parent.mkdir(parents=True)
    path.write_bytes(b"not a folder")
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
