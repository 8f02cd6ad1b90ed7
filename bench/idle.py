"""What recording costs when there is little to record: the six series that ``candlewick up`` records by default.

The simulated exchange pushes at the real cadence. Each process is measured over whole minutes (``BENCH_MINUTES``, 2),
from the middle of one to the middle of another; the first end of a minute is left out. Then the same with 36 series of
one market, for a producer that has more to do. Its floor is a client that receives the same frames and forgets them.
"""

import asyncio
import multiprocessing
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import psutil
from websockets.asyncio.client import connect

from bench import options
from bench.moments import MIDDLE_SECOND, sleep_to
from bench.result import Line, Result, Usage
from bench.simulated import SIX_RECORD, SIX_SYMBOLS, Recording, recorded, symbols
from bench.usage import Meter, processes
from shared.market import Market

_MINUTES = 2
_MANY = 36
_PRODUCER, _BARE = f"producer {Market.USDT_FUTURES}", "bare client"


def run() -> list[Line]:
    """Both sizes."""
    with recorded(SIX_SYMBOLS, record=SIX_RECORD) as recording:
        few = _measured(recording)
    names = symbols(Market.USDT_FUTURES, _MANY)
    with recorded({Market.USDT_FUTURES: names}) as recording, _bare_client(recording.address, names) as bare:
        many = {usage.process: usage for usage in _measured(recording, bare)}
    return [
        Result("six series: all processes together", "% of a core", sum(usage.cpu_percent for usage in few)),
        Result(
            f"{_MANY} series of one market: the producer",
            "% of a core",
            many[_PRODUCER].cpu_percent,
            many[_BARE].cpu_percent,
        ),
        *few,
    ]


def _measured(recording: Recording, bare: psutil.Process | None = None) -> list[Usage]:
    """What each process takes, and the bare client if there is one."""
    time.sleep(60)
    sleep_to(MIDDLE_SECOND)
    meter = Meter(processes(recording.up.pid, recording.data) | ({} if bare is None else {_BARE: bare}))
    time.sleep(60 * options.minutes(_MINUTES))
    return meter.usages()[:-1]  # the last one is what else runs here


@contextmanager
def _bare_client(address: str, names: Sequence[str]) -> Iterator[psutil.Process]:
    """A client in a process of its own that receives these symbols' frames and forgets them."""
    channels = "/".join(f"{name.lower()}@kline_1m" for name in names)
    url = f"ws{address.removeprefix('http')}/{Market.USDT_FUTURES}/market/stream?streams={channels}"
    client = multiprocessing.get_context("spawn").Process(target=_receive, args=(url,), daemon=True)
    client.start()
    try:
        yield psutil.Process(client.pid)
    finally:
        client.kill()
        client.join()


def _receive(url: str) -> None:
    async def receive() -> None:
        async with connect(url, compression=None, max_queue=1024) as socket:
            while True:
                await socket.recv(decode=False)

    asyncio.run(receive())
