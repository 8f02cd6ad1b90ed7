"""An exchange that means harm: frames and bodies of any size, depth and kind, and a process that outlives them.

The process under attack is one of its own, so that its memory can be measured; the exchange is a real server here.
"""

import asyncio
import gzip
import json
import sys
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.server import ServerConnection, serve
from websockets.protocol import State

from shared.interval import MINUTE_MS
from tests.support.victim import SERIES

REPOSITORY = Path(__file__).parents[2]
MOST_MB = 100.0  # more than before the attack; a frame of 1 MB and what is made of it fit well into it

pytestmark = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="only Linux tells the most memory used")


async def meet(*arguments: str) -> dict[str, Any]:
    """What a victim tells after it has met a hostile exchange."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.support.victim", *arguments),
        cwd=REPOSITORY,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(100):
            output, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 0
    found: dict[str, Any] = json.loads(output)
    return found


def growth_mb(met: dict[str, Any]) -> float:
    return float(met["most_mb"] - met["before_mb"])


# WebSocket


def candle_frame(minute: int) -> str:
    open_ms = minute * MINUTE_MS
    kline = {"t": open_ms, "s": SERIES.symbol, "i": "1m", "n": 1, "x": True} | dict.fromkeys("ochlvqVQ", "1.5")
    event = {"e": "kline", "E": open_ms + MINUTE_MS, "s": SERIES.symbol, "k": kline}
    return json.dumps({"stream": "btcusdt@kline_1m", "data": event}, separators=(",", ":"))


def frame(payload: bytes, first_byte: int = 0x81) -> bytes:
    """A server's WebSocket frame, whatever its first byte says: 0x81 text, 0x01 unfinished, 0x00 continued."""
    size = len(payload)
    if size < 126:
        return bytes([first_byte, size]) + payload
    if size < 2**16:
        return bytes([first_byte, 126]) + size.to_bytes(2, "big") + payload
    return bytes([first_byte, 127]) + size.to_bytes(8, "big") + payload


async def pour(connection: ServerConnection, blocks: list[bytes], times: int) -> None:
    """Write blocks of bytes as they are, no faster than they are taken, until the other side has had enough."""
    for _ in range(times):
        for block in blocks:
            if connection.state is not State.OPEN:
                return
            connection.transport.write(block)
        await connection.drain()


MEGABYTE = b"A" * 2**20
LISTS = b"[" + b"[]," * 300_000 + b"[]]"  # 0.9 MB that become 20 MB


async def a_frame_of_100_mb(connection: ServerConnection) -> None:
    await pour(connection, [b"\x81\x7f" + (100 * 2**20).to_bytes(8, "big")], 1)
    await pour(connection, [MEGABYTE], 100)


async def a_frame_that_says_2_to_the_62(connection: ServerConnection) -> None:
    await pour(connection, [b"\x81\x7f" + (2**62).to_bytes(8, "big")], 1)
    await pour(connection, [MEGABYTE], 20)


async def a_message_of_100_mb_in_fragments(connection: ServerConnection) -> None:
    await pour(connection, [frame(b"[", 0x01)], 1)
    await pour(connection, [frame(b"1," * 30_000, 0x00)], 1700)


async def a_million_empty_fragments(connection: ServerConnection) -> None:
    await pour(connection, [frame(b"[", 0x01)], 1)
    await pour(connection, [frame(b"", 0x00) * 10_000], 100)


async def a_compressed_bomb_that_nobody_asked_for(connection: ServerConnection) -> None:
    assert connection.request is not None
    assert "Sec-WebSocket-Extensions" not in connection.request.headers
    await pour(connection, [frame(zlib.compress(b" " * 2**27, wbits=-15), 0xC1)], 1)


async def frames_nested_a_million_deep(connection: ServerConnection) -> None:
    await pour(connection, [frame(b"[" * 1_000_000), frame(b'{"a":' * 200_000)], 20)


async def frames_nested_a_thousand_deep(connection: ServerConnection) -> None:
    """As deep as JSON may be for the decoder, and deeper than Python can print."""
    nested = b"[" * 1010 + b"]" * 1010
    for text in (b'{"result":%b,"id":9}', b'{"error":%b}', b'{"e":"kline","k":{"x":%b}}'):
        await pour(connection, [frame(text % nested)], 20)


async def frames_of_many_small_lists(connection: ServerConnection) -> None:
    await pour(connection, [frame(LISTS)], 10)


async def a_hundred_thousand_pings(connection: ServerConnection) -> None:
    await pour(connection, [frame(b"p" * 125, 0x89) * 1000], 100)


async def bytes_that_are_no_frame(connection: ServerConnection) -> None:
    await pour(connection, [b"\xff" * 1000], 1)


LOSING = [
    a_frame_of_100_mb,
    a_frame_that_says_2_to_the_62,
    a_message_of_100_mb_in_fragments,
    a_million_empty_fragments,
    a_compressed_bomb_that_nobody_asked_for,
    bytes_that_are_no_frame,
]
HARMLESS = [
    frames_nested_a_million_deep,
    frames_of_many_small_lists,
    a_hundred_thousand_pings,
    frames_nested_a_thousand_deep,
]
Attack = Callable[[ServerConnection], Awaitable[None]]


@asynccontextmanager
async def hostile(attack: Attack) -> AsyncIterator[tuple[str, list[int]]]:
    """An exchange: candle of minute 0, the attack, and candle 1; over the next connection candle 2 and no harm."""
    connections: list[int] = []

    async def handle(connection: ServerConnection) -> None:
        connections.append(len(connections))
        await connection.recv()
        await connection.send('{"result":null,"id":1}')
        if len(connections) > 1:
            await connection.send(candle_frame(2))
            await connection.wait_closed()
            return
        await connection.send(candle_frame(0))
        try:
            await attack(connection)
            await pour(connection, [frame(candle_frame(1).encode())], 1)
        except ConnectionError:
            return
        await connection.close()

    async with serve(handle, "127.0.0.1", 0, ping_interval=None, close_timeout=60) as server:
        yield f"http://127.0.0.1:{next(iter(server.sockets)).getsockname()[1]}", connections


@pytest.mark.parametrize("attack", LOSING)
async def test_a_frame_too_large_or_none_at_all_costs_a_connection_and_no_memory(attack: Attack) -> None:
    async with hostile(attack) as (address, connections):
        met = await meet("listen", address, "2")
    assert met["minutes"] == [0, 2]
    assert not met["failed"]
    assert len(connections) == 2
    assert growth_mb(met) < MOST_MB


@pytest.mark.parametrize("attack", HARMLESS)
async def test_hostile_messages_cost_no_connection_and_no_memory(attack: Attack) -> None:
    """What was sent after them over the same connection is taken."""
    async with hostile(attack) as (address, _):
        met = await meet("listen", address, "2")
    assert met["minutes"] == [0, 1, 2]
    assert not met["failed"]
    assert growth_mb(met) < MOST_MB


# REST

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"


@asynccontextmanager
async def answering(*parts: bytes, endless: bytes = b"") -> AsyncIterator[tuple[str, list[bytes]]]:
    """An exchange that answers every request with these bytes, and then with ``endless`` until nobody listens."""
    asked: list[bytes] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            asked.append(await reader.readuntil(b"\r\n\r\n"))
            for part in parts:
                writer.write(part.replace(b"HERE", address.encode()))
                await writer.drain()
            while endless:
                writer.write(endless)
                await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        address = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        yield address, asked


def chunk(content: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(content), content)


BOMB = gzip.compress(b" " * 2**28, 6)
REST_ATTACKS = {
    "a body without end": ((HEAD + b"Transfer-Encoding: chunked\r\n\r\n",), chunk(b"[" * 2**16)),
    "a body that says a gigabyte": ((HEAD + b"Content-Length: 1073741824\r\n\r\n",), b"[" * 2**16),
    "256 MB in 260 kB of gzip": (
        (HEAD + b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(BOMB), BOMB),
        b"",
    ),
    "headers without end": ((b"HTTP/1.1 200 OK\r\n",), b"X-A: " + b"a" * 8000 + b"\r\n"),
    "a row nested 1010 deep": (
        (HEAD + b"Content-Length: 2044\r\n\r\n" + b"[[0," + b"[" * 1010 + b"]" * 1010 + b",0" * 9 + b"]]",),
        b"",
    ),
    "a count of weight in 5000 digits": (
        (HEAD + b"X-MBX-USED-WEIGHT-1M: " + b"9" * 5000 + b"\r\nContent-Length: 2\r\n\r\n[]",),
        b"",
    ),
    "a ban of 5000 digits": (
        (b"HTTP/1.1 418 X\r\nRetry-After: " + b"9" * 5000 + b"\r\nContent-Length: 2\r\n\r\n[]",),
        b"",
    ),
}


@pytest.mark.parametrize("attack", list(REST_ATTACKS))
async def test_a_hostile_answer_is_one_of_two_errors_or_an_answer_and_costs_no_memory(
    attack: str, tmp_path: Path
) -> None:
    parts, endless = REST_ATTACKS[attack]
    async with answering(*parts, endless=endless) as (address, _):
        met = await meet("ask", address, str(tmp_path))
    assert met["outcome"] in ("RestUnavailableError", "RestRefusedError", "answer")
    assert growth_mb(met) < MOST_MB


async def test_a_redirect_is_not_followed(tmp_path: Path) -> None:
    async with answering(b"HTTP/1.1 302 Found\r\nLocation: HERE/elsewhere\r\nContent-Length: 0\r\n\r\n") as (
        address,
        asked,
    ):
        met = await meet("ask", address, str(tmp_path))
    assert met["outcome"] == "RestUnavailableError"
    assert len(asked) == 1
