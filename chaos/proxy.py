"""A TCP proxy in front of a broker that breaks the connections which pass through it, on demand.

It listens on loopback and passes bytes both ways to one target, a TCP port or a Unix socket. Every order may be given
from any thread, holds for the connections that are there and for those that come, and is counted:

    cut         each connection ends after so many more bytes towards the client: in the middle of a reply
    refuse      nobody listens any more (ECONNREFUSED); connections that are there go on
    freeze      connections are accepted and nothing passes, in either direction: a black hole
    delay       each piece of data is held for so long before it passes
    throttle    so many bytes a second pass each way on each connection
    retarget    the address leads to another server from now on; connections that are there end
    heal        everything passes again

A connection is never closed in good order by a fault: what was on its way when it is cut is lost.
"""

import asyncio
import contextlib
import socket
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path

_READ_BYTES = 2**16
_START_SECONDS = 10.0

Target = int | Path
"""Where connections lead: a port on 127.0.0.1, or the path of a Unix socket."""


class Proxy:
    """One proxy, running in a loop; use ``proxy`` for one in a thread of its own.

    Args:
        target: where connections lead.

    Attributes:
        port: where it listens, on 127.0.0.1.
        counts: how often each order was given; ``cut``: those that met a connection; ``connections``, and
            ``connections cut``: how many there were.
    """

    def __init__(self, target: Target) -> None:
        self.counts: Counter[str] = Counter()
        self._target = target
        self._reserved = _bound(0)  # never listens; keeps the port ours while connections are refused
        self.port = int(self._reserved.getsockname()[1])
        self._loop: asyncio.AbstractEventLoop | None = None
        self._server: asyncio.Server | None = None
        self._open: set[_Connection] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._flows = asyncio.Event()
        self._flows.set()
        self._delay_seconds = 0.0
        self._bytes_a_second: float | None = None

    async def start(self) -> None:
        """Begin to listen."""
        self._loop = asyncio.get_running_loop()
        await self._listen()

    async def close(self) -> None:
        """End every connection and listen no more."""
        self._deafen()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for connection in tuple(self._open):
            connection.abort()
        await asyncio.sleep(0)  # a transport closes its socket in the loop's next turn
        self._reserved.close()

    def cut(self, after_bytes: int = 0) -> None:
        """End every connection of now after so many more bytes towards its client; 0: at once."""
        self._order(self._cut, after_bytes)

    def refuse(self) -> None:
        """Let nobody connect."""
        self._order(self._refuse)

    def freeze(self) -> None:
        """Accept connections and pass nothing."""
        self._order(self._freeze)

    def delay(self, seconds: float) -> None:
        """Hold each piece of data for so long."""
        self._order(self._delay, seconds)

    def throttle(self, bytes_a_second: float) -> None:
        """Pass so many bytes a second, each way, on each connection."""
        self._order(self._throttle, bytes_a_second)

    def retarget(self, target: Target) -> None:
        """Lead to another server, and end the connections to the one before."""
        self._order(self._retarget, target)

    def heal(self) -> None:
        """Let everything pass again."""
        self._order(self._heal)

    def _order(self, act: Callable[..., object], *arguments: object) -> None:
        assert self._loop is not None, "the proxy has not been started"  # noqa: S101
        self._loop.call_soon_threadsafe(act, *arguments)

    def _cut(self, after_bytes: int) -> None:
        if self._open:
            self.counts["cut"] += 1
        for connection in tuple(self._open):
            connection.cut_after(after_bytes)

    def _refuse(self) -> None:
        self.counts["refuse"] += 1
        self._deafen()

    def _freeze(self) -> None:
        self.counts["freeze"] += 1
        self._flows.clear()

    def _delay(self, seconds: float) -> None:
        self.counts["delay"] += 1
        self._delay_seconds = seconds

    def _throttle(self, bytes_a_second: float) -> None:
        self.counts["throttle"] += 1
        self._bytes_a_second = bytes_a_second

    def _retarget(self, target: Target) -> None:
        self.counts["retarget"] += 1
        self._target = target
        for connection in tuple(self._open):
            connection.abort()

    async def _listen(self) -> None:
        if self._server is None:
            self._server = await asyncio.start_server(self._accept, sock=_bound(self.port))

    def _deafen(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None

    def _heal(self) -> None:
        self._delay_seconds, self._bytes_a_second = 0.0, None
        self._flows.set()
        self._keep(asyncio.ensure_future(self._listen()))

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.counts["connections"] += 1
        self._keep(asyncio.ensure_future(self._pass(reader, writer)))

    def _keep(self, task: "asyncio.Task[None]") -> None:
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one client until either side ends."""
        connection = _Connection(writer)
        self._open.add(connection)
        pumps: list[asyncio.Task[None]] = []
        try:
            await self._flows.wait()
            there_reader, there_writer = await self._connect()
            connection.writers.append(there_writer)
            pumps = [
                asyncio.ensure_future(self._pump(reader, there_writer, None)),
                asyncio.ensure_future(self._pump(there_reader, writer, connection)),
            ]
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        except OSError:
            pass  # the target is away: so is this connection, which is how the client learns it
        finally:
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)
            self._open.discard(connection)
            self.counts["connections cut"] += connection.is_cut
            await connection.end()

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if isinstance(self._target, Path):
            return await asyncio.open_unix_connection(str(self._target))
        return await asyncio.open_connection("127.0.0.1", self._target)

    async def _pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, cut: "_Connection | None"
    ) -> None:
        """Pass one direction on until it ends; ``cut``: the connection whose replies these are."""
        with contextlib.suppress(OSError):
            while data := await reader.read(int(self._bytes_a_second or _READ_BYTES)):
                await self._flows.wait()
                await asyncio.sleep(self._delay_seconds)
                if self._bytes_a_second is not None:
                    await asyncio.sleep(len(data) / self._bytes_a_second)
                writer.write(data if cut is None else cut.allowed(data))
                await writer.drain()
                if cut is not None and cut.is_cut:
                    return


class _Connection:
    """One client's connection and what it is still allowed to receive."""

    def __init__(self, client: asyncio.StreamWriter) -> None:
        self.writers = [client]
        self.is_cut = False
        self._left: int | None = None

    def cut_after(self, count: int) -> None:
        if count == 0:
            self.is_cut = True
            self.abort()
        self._left = count

    def allowed(self, data: bytes) -> bytes:
        """What of a reply may still pass; when that is not all of it, the connection is cut."""
        if self._left is None:
            return data
        self.is_cut = self.is_cut or len(data) > self._left
        data = data[: self._left]
        self._left -= len(data)
        return data

    def abort(self) -> None:
        for writer in self.writers:
            writer.transport.abort()

    async def end(self) -> None:
        """Let go of both sides; what was passed on before still arrives."""
        try:
            for writer in self.writers:
                writer.close()
                with contextlib.suppress(OSError):
                    await writer.wait_closed()
        finally:
            self.abort()  # of a client that does not read any more


def _bound(port: int) -> socket.socket:
    """A socket on a port of loopback that other sockets of ours may share."""
    bound = socket.socket()
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    bound.bind(("127.0.0.1", port))
    return bound


@contextlib.contextmanager
def proxy(target: Target) -> Iterator[Proxy]:
    """A proxy in a thread of its own, for whoever has no loop."""
    started: Future[tuple[Proxy, asyncio.AbstractEventLoop, asyncio.Event]] = Future()
    thread = threading.Thread(target=lambda: asyncio.run(_serve(target, started)), name="proxy", daemon=True)
    thread.start()
    running, loop, stop = started.result(_START_SECONDS)
    try:
        yield running
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(_START_SECONDS)


async def _serve(target: Target, started: "Future[tuple[Proxy, asyncio.AbstractEventLoop, asyncio.Event]]") -> None:
    running, stop = Proxy(target), asyncio.Event()
    try:
        await running.start()
    except OSError as error:
        started.set_exception(error)
        return
    started.set_result((running, asyncio.get_running_loop(), stop))
    await stop.wait()
    await running.close()
