"""A writer that runs, and what it has written."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import redis

from consumer.dataset.dataset import Dataset
from consumer.storage.layout import series_folder
from consumer.writer import Writer
from shared.broker.entry import encode_entry
from shared.broker.keys import Keys
from shared.candle import Candle, Series
from shared.interval import Interval
from shared.market import Market
from shared.settings.model import Settings
from tests.support.candles import BTC, JUNE_30, MINUTE, make_candle

ETH = Series(Market.USDT_FUTURES, "ETHUSDT", Interval.M1)


def candles(count: int, series: Series = BTC, first: int = 0) -> list[Candle]:
    return [make_candle(series, JUNE_30 + at * MINUTE) for at in range(first, first + count)]


def publish(client: Any, keys: Keys, candles: list[Candle]) -> None:
    pipeline = client.pipeline()  # in one transaction: whoever reads meanwhile finds all of them, or none
    for candle in candles:
        pipeline.xadd(keys.candles(candle.series.market), encode_entry(candle))
    pipeline.execute()


class FastClock:
    """A clock that goes ``speed`` times as fast as time."""

    def __init__(self, speed: float) -> None:
        self._speed = speed

    def monotonic(self) -> float:
        return time.monotonic() * self._speed

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds / self._speed)


@contextmanager
def writing(settings: Settings, speed: float = 1.0) -> Iterator[Writer]:
    writer = Writer(settings, clock=FastClock(speed))
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
    return [(int(time) - JUNE_30) // MINUTE for time in Dataset.in_folder(settings.data.folder).rows(series).times]


def pending(client: Any, keys: Keys, market: Market = Market.USDT_FUTURES) -> int:
    try:
        return int(client.xpending(keys.candles(market), "writers")["pending"])
    except redis.ResponseError:
        return -1  # the group is not there yet


def environment_of(settings: Settings) -> dict[str, str]:
    return {
        "CANDLEWICK_BROKER_URL": settings.broker.url,
        "CANDLEWICK_BROKER_PREFIX": settings.broker.prefix,
        "CANDLEWICK_DATA_FOLDER": str(settings.data.folder),
        "CANDLEWICK_WRITER_FLUSH_SECONDS": "0.05",
        "CANDLEWICK_WRITER_FLUSH_MOST_SECONDS": "0.5",
        "CANDLEWICK_WRITER_CLAIM_SECONDS": "1",
    }


def start_process(settings: Settings) -> "subprocess.Popen[bytes]":
    command = [sys.executable, "-P", "-m", "candlewick", "write", "--log-level", "WARNING"]
    return subprocess.Popen(command, env=os.environ | environment_of(settings), start_new_session=True)
