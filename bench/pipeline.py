"""From the broker to disk as fast as it goes: a writer that finds a long stream, and drains it.

The embedded broker, with its append-only file synced at every write, holds 200,000 candles of 400 series, minute by
minute as they would have come. ``candlewick write`` is timed from the first entry that it reads to the last that it
acknowledges, which it does when the entry's file and folder are synced; its start is left out. The floor is a bare loop
of redis-py with hiredis that reads the same entries for a group of its own and acknowledges them: it decodes nothing
and keeps nothing.
"""

import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import psutil
from redis.exceptions import RedisError

from bench.result import Line, Result
from bench.simulated import COMMAND, end, symbols
from bench.usage import cpu_seconds
from shared.broker.client import sync_client
from shared.broker.entry import encode_entry
from shared.broker.keys import Keys
from shared.candle import Candle, Series
from shared.interval import DAY_MS, MINUTE_MS, Interval
from shared.market import Market
from shared.settings.load import load_settings
from shared.source import simulated

_SERIES, _MINUTES = 400, 500
_CANDLES = _SERIES * _MINUTES
_DAY = 19_904 * DAY_MS  # 2024-06-30
_BATCH, _READ_COUNT = 1000, 2000
_PATIENCE_SECONDS, _LOOK_SECONDS = 300, 0.02
_STREAM_MARKET = Market.SPOT


class _Cost(NamedTuple):
    """Seconds that it took, and seconds of CPU of the process."""

    seconds: float
    cpu_seconds: float


def run() -> list[Line]:
    """The floor and the writer, on the same stream."""
    folder = Path(tempfile.mkdtemp(prefix="cw-", dir=Path.cwd()))
    try:
        with _broker(folder / "data") as client:
            keys = Keys("candlewick")
            stream = keys.candles(_STREAM_MARKET)
            client.set(keys.sources(_STREAM_MARKET), simulated("http://127.0.0.1:1"))
            _fill(client, stream)
            floors = [_bare(client, stream, f"bare-{turn}") for turn in range(3)]
            ours = _writer(client, stream, folder / "data")
    finally:
        shutil.rmtree(folder)
    name = f"{_CANDLES:,} published candles of {_SERIES} series to disk"
    floor = _Cost(min(one.seconds for one in floors), min(one.cpu_seconds for one in floors))
    micros = 1e6 / _CANDLES
    return [
        Result(name, "µs a candle", ours.seconds * micros, floor.seconds * micros, is_steady=False),  # the disk is not
        Result("the same", "candles a second", _CANDLES / ours.seconds),
        Result("the same", "µs CPU a candle", ours.cpu_seconds * micros, floor.cpu_seconds * micros),
    ]


@contextmanager
def _broker(data: Path) -> Iterator[Any]:
    """A client of an embedded broker that runs alone."""
    settings = load_settings(flags={"data": {"folder": data}})
    with ExitStack() as stack:
        broker = subprocess.Popen(
            [*COMMAND, "broker", "--data", str(data)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        stack.callback(end, broker)
        client: Any = sync_client(settings)
        stack.callback(client.close)
        _await(lambda: _answers(client))
        yield client


def _answers(client: Any) -> bool:
    try:
        return bool(client.ping())
    except RedisError:
        return False


def _fill(client: Any, stream: str) -> None:
    """Candles of every series, a minute after the other."""
    series = [Series(_STREAM_MARKET, symbol, Interval.M1) for symbol in symbols(_STREAM_MARKET, _SERIES)]
    values = ("61607.90", "61624.90", "61605.30", "61624.90", "16.710", "1029521.00470")
    taken = ("12.571", "774523.56400")
    pipeline = client.pipeline(transaction=False)
    for open_ms in range(_DAY, _DAY + _MINUTES * MINUTE_MS, MINUTE_MS):
        end_ms = open_ms + MINUTE_MS
        for one in series:
            candle = Candle(one, open_ms, *values, 418, *taken, "websocket", end_ms, end_ms)
            pipeline.xadd(stream, encode_entry(candle))
            if len(pipeline) == _BATCH:
                pipeline.execute()
    pipeline.execute()


def _bare(client: Any, stream: str, group: str) -> _Cost:
    """A loop that reads the stream for a group and acknowledges it."""
    client.xgroup_create(stream, group, id="0")
    began, used = time.perf_counter(), time.process_time()
    while answer := client.xreadgroup(group, "bare", {stream: ">"}, count=_READ_COUNT):
        client.xack(stream, group, *(number for number, _ in answer[0][1]))
    cost = _Cost(time.perf_counter() - began, time.process_time() - used)
    client.xgroup_destroy(stream, group)
    return cost


def _writer(client: Any, stream: str, data: Path) -> _Cost:
    """A writer that finds the whole stream."""
    command = [*COMMAND, "write", _STREAM_MARKET, "--data", str(data), "--log-level", "ERROR"]
    with ExitStack() as stack:
        process = subprocess.Popen(command)
        stack.callback(end, process)
        _await(lambda: _position(client, stream)[0] > 0)
        began, used = time.perf_counter(), cpu_seconds(psutil.Process(process.pid))
        _await(lambda: _position(client, stream) == (_CANDLES, 0))
        return _Cost(time.perf_counter() - began, cpu_seconds(psutil.Process(process.pid)) - used)


def _position(client: Any, stream: str) -> tuple[int, int]:
    """Entries that the only group has read, and those of them that are pending."""
    for group in client.xinfo_groups(stream):
        return int(group["entries-read"] or 0), int(group["pending"])
    return 0, 0


def _await(condition: Callable[[], bool]) -> None:
    until = time.monotonic() + _PATIENCE_SECONDS
    while not condition():
        if time.monotonic() > until:
            raise TimeoutError(f"that took longer than {_PATIENCE_SECONDS} s")
        time.sleep(_LOOK_SECONDS)
