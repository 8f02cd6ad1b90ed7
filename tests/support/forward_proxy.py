"""A forward proxy on loopback: CONNECT and plain HTTP, or SOCKS5, with a user and a password if need be."""

import asyncio
import base64
import contextlib
from collections.abc import AsyncIterator
from urllib.parse import urlsplit

from shared.process.tasks import cancel


class ForwardProxy:
    """Whoever comes is led on; ``seen`` are the ways, such as ``CONNECT`` or ``socks5``, with the targets' ports."""

    def __init__(self, login: str = "") -> None:
        self.seen: list[tuple[str, int]] = []
        self.port = 0
        self._login = login
        self._serving: set[asyncio.Task[None]] = set()

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator["ForwardProxy"]:
        def begin(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            self._serving.add(asyncio.create_task(self._serve(reader, writer)))

        server = await asyncio.start_server(begin, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()
            await cancel(self._serving)
            await server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError):
                first = await reader.readexactly(1)
                await (self._socks(reader, writer) if first == b"\x05" else self._http(first, reader, writer))
        finally:
            writer.close()

    async def _http(self, first: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = first + await reader.readuntil(b"\r\n\r\n")
        method, target, _ = head.split(b"\r\n")[0].decode().split(" ")
        expected = b"Proxy-Authorization: Basic " + base64.b64encode(self._login.encode())
        if self._login and expected.lower() not in head.lower():
            writer.write(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")
            await writer.drain()
            return
        parts = urlsplit(f"//{target}" if method == "CONNECT" else target)
        assert parts.port is not None
        self.seen.append((method, parts.port))
        to, out = await asyncio.open_connection(parts.hostname, parts.port)
        if method == "CONNECT":
            writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        else:
            path = f"{parts.path}?{parts.query}"
            out.write(head.replace(target.encode(), path.encode(), 1).replace(b"eep-alive", b"lose"))
        await _both(reader, writer, to, out)

    async def _socks(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly((await reader.readexactly(1))[0])
        writer.write(b"\x05\x00")
        _, _, _, kind = await reader.readexactly(4)
        size = 4 if kind == 1 else (await reader.readexactly(1))[0]
        address = await reader.readexactly(size)
        port = int.from_bytes(await reader.readexactly(2))
        self.seen.append(("socks5", port))
        host = ".".join(map(str, address)) if kind == 1 else address.decode()
        to, out = await asyncio.open_connection(host, port)
        writer.write(b"\x05\x00\x00\x01" + bytes(6))
        await _both(reader, writer, to, out)


async def _both(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, to: asyncio.StreamReader, out: asyncio.StreamWriter
) -> None:
    async def copy(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        try:
            with contextlib.suppress(OSError):
                while part := await source.read(2**16):
                    target.write(part)
                    await target.drain()
        finally:
            target.close()

    await asyncio.gather(copy(reader, out), copy(to, writer))
