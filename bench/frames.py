"""Frames through socket and parser, in microseconds of CPU a frame.

A process of its own sends frames as fast as they are taken. Ours is the producers' ``Socket``; the floor is a loop that
receives and forgets; the old way decodes every frame and puts closed ones on a queue.
"""

import asyncio
import json
import multiprocessing
import time
from collections.abc import Awaitable, Callable
from multiprocessing.connection import Connection

from websockets.asyncio.client import connect
from websockets.asyncio.server import ServerConnection

from bench.result import Result, best_of
from bench.sender import framed, serve_for_ever
from producers.exchange.connection import Connection as ExchangeConnection
from producers.exchange.connection import Counters
from producers.exchange.event_time import EventTime
from shared.market import Market
from shared.process.tasks import Tasks
from shared.settings.sections import ExchangeSettings

_FRAMES = 20_000
_BLOCK = 500
_OPEN = (
    '{"stream":"btcusdt@kline_1m","data":{"e":"kline","E":1719765539838,"s":"BTCUSDT","k":{"t":1719765480000,'
    '"T":1719765539999,"s":"BTCUSDT","i":"1m","f":5122041311,"L":5122041720,"o":"61607.90","c":"61623.30",'
    '"h":"61623.30","l":"61605.30","v":"16.692","n":410,"x":false,"q":"1028411.77850","V":"12.553",'
    '"Q":"773414.33780","B":"0"}}}'
)
_CLOSED = _OPEN.replace('"x":false', '"x":true')


def run() -> list[Result]:
    """Both kinds of frames."""
    return [
        _compare("open frames, socket and parser", _OPEN, aim=1.2),
        _compare("closed frames, socket and parser", _CLOSED, aim=None),
    ]


def _compare(name: str, frame: str, aim: float | None) -> Result:
    here, there = multiprocessing.Pipe()
    context = multiprocessing.get_context("spawn")
    sender = context.Process(target=_send_for_ever, args=(there, frame), daemon=True)
    sender.start()
    address = f"ws://127.0.0.1:{here.recv()}"
    contestants: dict[str, Callable[[], float]] = {
        "floor": lambda: asyncio.run(_cpu_of(_bare, address)),
        "ours": lambda: asyncio.run(_cpu_of(_ours, address)),
        "old": lambda: asyncio.run(_cpu_of(_old_way, address)),
    }
    best = best_of(15, contestants)
    sender.kill()
    sender.join()
    return Result(name, "µs CPU a frame", best["ours"], best["floor"], best["old"], aim)


async def _cpu_of(receive: Callable[[str], Awaitable[None]], address: str) -> float:
    began = time.process_time()
    await receive(address)
    return (time.process_time() - began) / _FRAMES * 1e6


async def _bare(address: str) -> None:
    async with connect(address, compression=None, ping_interval=None, max_queue=1024) as socket:
        await socket.send('{"id":1}')
        await socket.recv()
        for _ in range(_FRAMES):
            await socket.recv(decode=False)


async def _old_way(address: str) -> None:
    queue: asyncio.Queue[object] = asyncio.Queue()
    async with connect(address, compression=None, ping_interval=None, max_queue=1024) as socket:
        await socket.send('{"id":1}')
        await socket.recv()
        for _ in range(_FRAMES):
            kline = json.loads(await socket.recv())["data"]["k"]
            if kline["x"]:
                await queue.put({name: float(kline[name]) for name in "ohlcvqnVQ"})


async def _ours(address: str) -> None:
    counters = Counters()
    settings = ExchangeSettings(spot_websocket=address)
    connection = ExchangeConnection(Market.SPOT, address, settings, lambda _: None, counters, EventTime())
    async with Tasks() as tasks:
        await connection.open(tasks)
        await connection.subscribe(["btcusdt@kline_1m"])
        while counters.frames < _FRAMES:
            await asyncio.sleep(0.01)
        await connection.close()


def _send_for_ever(answer: Connection, frame: str) -> None:
    block = framed(frame.encode()) * _BLOCK

    async def handle(connection: ServerConnection) -> None:
        number = json.loads(await connection.recv())["id"]
        await connection.send(json.dumps({"result": None, "id": number}))
        for _ in range(_FRAMES // _BLOCK + 1):
            connection.transport.write(block)
            await connection.drain()
        await connection.wait_closed()

    serve_for_ever(answer, handle)
