"""A Redis Cluster of three primaries with a replica each."""

from pathlib import Path
from typing import Any

import redis
from redis.crc import REDIS_CLUSTER_HASH_SLOTS, key_slot

from chaos.brokers.plain import free_port
from chaos.brokers.server import Server
from chaos.brokers.several import Several
from chaos.logbook import Logbook
from chaos.waiting import wait_until

_PRIMARIES = 3
_NODE_TIMEOUT_MS = 1000


class Cluster(Several):
    """Six nodes; whoever is a primary now.

    Args:
        folder: of all their files; made.
        logbook: where their output goes.
    """

    def __init__(self, folder: Path, logbook: Logbook) -> None:
        nodes = [
            Server(
                f"node {number}",
                folder / f"node-{number}",
                logbook,
                {
                    "cluster-enabled": "yes",
                    "cluster-port": str(free_port()),
                    "cluster-node-timeout": str(_NODE_TIMEOUT_MS),
                },
            )
            for number in range(2 * _PRIMARIES)
        ]
        super().__init__(f"cluster://{','.join(f'127.0.0.1:{node.port}' for node in nodes)}", nodes)

    def start(self) -> None:
        """Start all, divide the slots, and wait until every primary has its replica."""
        for server in self.servers:
            server.start_and_wait()
        first = self.servers[0]
        for number, server in enumerate(self.servers):
            with server.client() as client:
                if number < _PRIMARIES:
                    bounds = [REDIS_CLUSTER_HASH_SLOTS * at // _PRIMARIES for at in (number, number + 1)]
                    client.execute_command("CLUSTER ADDSLOTSRANGE", bounds[0], bounds[1] - 1)
                if server is not first:
                    bus = self._bus_port(first)
                    client.execute_command("CLUSTER MEET", "127.0.0.1", first.port, bus)
        wait_until(lambda: all(self._knows_all(server) for server in self.servers), "the nodes meet")
        for primary, replica in zip(self.servers[:_PRIMARIES], self.servers[_PRIMARIES:], strict=True):
            with primary.client() as client:
                name = client.execute_command("CLUSTER MYID")
            with replica.client() as client:
                client.execute_command("CLUSTER REPLICATE", name)
        self.await_whole()

    @property
    def is_whole(self) -> bool:
        """Whether every node finds the cluster well, and each primary has its replica in step."""
        return all(self._finds_it_well(server) for server in self.servers) and (
            sum(server.has_replica for server in self.servers) == _PRIMARIES
        )

    def owner(self, key: str) -> Server:
        """The primary that owns a key's slot, as the first node says that answers."""
        slot = key_slot(key.encode())
        for server in self.servers:
            try:
                with server.client() as client:
                    ranges = client.execute_command("CLUSTER SLOTS")
            except (redis.RedisError, OSError):
                continue
            port = next(nodes[0][1] for first, last, *nodes in ranges if first <= slot <= last)
            return next(one for one in self.servers if one.port == port)
        raise AssertionError("no node answers")

    @staticmethod
    def _bus_port(server: Server) -> int:
        with server.client() as client:
            return int(client.config_get("cluster-port")["cluster-port"])

    def _knows_all(self, server: Server) -> bool:
        return self._info(server).get("cluster_known_nodes") == str(len(self.servers))

    def _finds_it_well(self, server: Server) -> bool:
        return self._info(server).get("cluster_state") == "ok"

    @staticmethod
    def _info(server: Server) -> dict[str, str]:
        try:
            with server.client() as client:
                text: Any = client.execute_command("CLUSTER INFO")
        except (redis.RedisError, OSError):
            return {}
        if isinstance(text, dict):
            return {str(name): str(value) for name, value in text.items()}
        return dict(line.split(":", 1) for line in text.decode().split())
