"""What comes in quick succession is taken in together, all of it and in order."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from websockets.asyncio.client import connect
from websockets.asyncio.server import ServerConnection, serve

from producers.exchange.coalescing import CoalescingConnection

FRAMES = 300


class Counting(CoalescingConnection):
    """Counts how often data is handed over."""

    taken = 0

    def data_received(self, data: bytes) -> None:
        self.taken += 1
        super().data_received(data)


@asynccontextmanager
async def connected(
    talk: Callable[[ServerConnection], Awaitable[None]], max_queue: int = 1024
) -> AsyncIterator[CoalescingConnection]:
    async with serve(talk, "127.0.0.1", 0, compression=None) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        address = f"ws://127.0.0.1:{port}"
        made = {"create_connection": Counting, "max_queue": max_queue, "compression": None}
        async with connect(address, proxy=None, **made) as connection:  # type: ignore[arg-type]
            assert isinstance(connection, CoalescingConnection)
            yield connection


async def rapid(connection: ServerConnection) -> None:
    """One frame at a time, as fast as a frame can follow another."""
    for number in range(FRAMES):
        await connection.send(str(number))
        await asyncio.sleep(0)
    await connection.wait_closed()


async def test_many_frames_are_taken_in_by_few_steps_and_in_order() -> None:
    async with connected(rapid) as connection:
        assert [int(await connection.recv()) for _ in range(FRAMES)] == list(range(FRAMES))
        assert isinstance(connection, Counting)
        assert connection.taken < FRAMES / 3


@pytest.mark.parametrize("max_queue", [1, 8])
async def test_a_reader_that_is_slow_still_slows_the_sender_and_gets_all(max_queue: int) -> None:
    async with connected(rapid, max_queue) as connection:
        found = []
        for _ in range(FRAMES):
            found.append(int(await connection.recv()))
            await asyncio.sleep(0.0001)
        assert found == list(range(FRAMES))


async def test_what_was_on_its_way_when_the_other_side_closed_is_there() -> None:
    async def talk(connection: ServerConnection) -> None:
        for number in range(FRAMES):
            await connection.send(str(number))

    async with connected(talk) as connection:
        assert [int(message) async for message in connection] == list(range(FRAMES))
