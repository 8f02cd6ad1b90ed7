"""A server in a process of its own that sends kline frames as fast as they are taken.

A client subscribes as at Binance: by the address (``?streams=``) or by ``SUBSCRIBE``. Frames begin when it has
subscribed to all symbols.
"""

import json
import multiprocessing
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection

from websockets.asyncio.server import ServerConnection

from bench.sender import framed, serve_for_ever

SYMBOLS = [f"S{number:03}USDT" for number in range(200)]
CHANNELS = [f"{symbol.lower()}@kline_1m" for symbol in SYMBOLS]
FRAMES = 60_000
"""What a contestant takes in one run."""

_MINUTE_MS, _OPEN_MS = 60_000, 1_719_765_480_000
_FRAMES_A_MINUTE = 30  # of a spot symbol: an update every two seconds, the last of which closes
_CHUNK = 500


@contextmanager
def served(frames_a_close: int) -> Iterator[str]:
    """A feed in which one frame in so many closes a candle; its address."""
    here, there = multiprocessing.Pipe()
    server = multiprocessing.get_context("spawn").Process(target=_serve, args=(there, frames_a_close), daemon=True)
    server.start()
    try:
        yield f"ws://127.0.0.1:{here.recv()}"
    finally:
        server.kill()
        server.join()


def frames(frames_a_close: int) -> list[bytes]:
    """A cycle of messages: every symbol's, with as many open ones before each closing one."""
    count = frames_a_close * max(1, _FRAMES_A_MINUTE // frames_a_close)
    return [
        _frame(symbol, number // frames_a_close, is_closed=number % frames_a_close == frames_a_close - 1)
        for number in range(count)
        for symbol in SYMBOLS
    ]


def _frame(symbol: str, minute: int, *, is_closed: bool) -> bytes:
    open_ms = _OPEN_MS + minute * _MINUTE_MS
    text = (
        f'{{"stream":"{symbol.lower()}@kline_1m","data":{{"e":"kline","E":{open_ms + _MINUTE_MS + 38},"s":"{symbol}",'
        f'"k":{{"t":{open_ms},"T":{open_ms + _MINUTE_MS - 1},"s":"{symbol}","i":"1m","f":5122041311,"L":5122041720,'
        '"o":"61607.90000000","c":"61623.30000000","h":"61623.30000000","l":"61605.30000000","v":"16.69200000",'
        f'"n":410,"x":{"true" if is_closed else "false"},"q":"1028411.77850000","V":"12.55300000",'
        '"Q":"773414.33780000","B":"0"}}}'
    )
    return text.encode()


def _serve(answer: Connection, frames_a_close: int) -> None:
    sent = [framed(frame) for frame in frames(frames_a_close)]
    chunks = [b"".join(sent[first : first + _CHUNK]) for first in range(0, len(sent), _CHUNK)]

    async def handle(connection: ServerConnection) -> None:
        left = 0 if connection.request and "streams=" in connection.request.path else len(CHANNELS)
        while left > 0:
            request = json.loads(await connection.recv())
            await connection.send(json.dumps({"result": None, "id": request["id"]}))
            left -= len(request["params"])
        count = 0
        while count < FRAMES + _CHUNK:
            for chunk in chunks:
                connection.transport.write(chunk)
                await connection.drain()
                count += _CHUNK
        await connection.wait_closed()

    serve_for_ever(answer, handle)
