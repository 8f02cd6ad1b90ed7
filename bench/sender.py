"""A process that serves frames over loopback, as fast as they are taken."""

import asyncio
from collections.abc import Awaitable, Callable
from multiprocessing.connection import Connection

from websockets.asyncio.server import ServerConnection, serve


def framed(payload: bytes) -> bytes:
    """A payload of 126 to 65,535 bytes as a text frame of a server (RFC 6455, section 5.2)."""
    return b"\x81\x7e" + len(payload).to_bytes(2, "big") + payload


def serve_for_ever(answer: Connection, handle: Callable[[ServerConnection], Awaitable[None]]) -> None:
    """Serve on a free port, which is sent as the answer, until the process is killed."""

    async def main() -> None:
        async with serve(handle, "127.0.0.1", 0, compression=None, ping_interval=None) as server:
            answer.send(next(iter(server.sockets)).getsockname()[1])
            await asyncio.Event().wait()

    asyncio.run(main())
