"""What brokers of several servers have in common: who takes writes, and how their connections are cut."""

import contextlib
import random
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

import redis

from chaos.brokers.server import Server
from chaos.logbook import Logbook
from chaos.processes import Part
from chaos.waiting import wait_until

_WHOLE_SECONDS = 60.0


class Several:
    """Servers of which some are primaries; whoever breaks one looks for it first.

    Attributes:
        url: what ``broker.url`` says of them.
        servers: all that keep data.
        parts: all processes.
        cuts: how often connections were cut.
    """

    def __init__(self, url: str, servers: Sequence[Server], others: Sequence[Part] = ()) -> None:
        self.url = url
        self.servers = servers
        self.parts: Sequence[Part] = (*servers, *others)
        self.cuts = 0

    def start(self) -> None:
        """Start all, and wait until it is whole."""
        raise NotImplementedError

    @property
    def primaries(self) -> Sequence[Server]:
        """The servers that take writes now."""
        return [server for server in self.servers if server.is_primary]

    @property
    def is_whole(self) -> bool:
        """Whether everybody knows of everybody, and each primary has a replica in step."""
        raise NotImplementedError

    def await_whole(self) -> None:
        """Wait until it is."""
        wait_until(lambda: self.is_whole, f"the servers of {self.url} find each other", _WHOLE_SECONDS)

    def cut(self, rng: random.Random) -> None:
        """End the connections of all clients to one of the servers."""
        server = rng.choice(self.servers)
        if not server.runs or server.is_stopped:
            return
        with contextlib.suppress(redis.RedisError, OSError), server.client() as client:
            self.cuts += bool(client.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"))

    def heal(self) -> None:
        """Nothing lies between it and its clients."""

    def end(self) -> None:
        """End all."""
        for part in self.parts:
            part.end()


_Broker = TypeVar("_Broker", bound=Several)


@contextlib.contextmanager
def running(kind: Callable[[Path, Logbook], _Broker], folder: Path) -> Iterator[_Broker]:
    """A broker that lives until the block ends; its files and its log lie in a new folder."""
    folder.mkdir()
    with Logbook(folder / "log") as logbook, contextlib.ExitStack() as stack:
        broker = kind(folder, logbook)
        stack.callback(broker.end)
        broker.start()
        yield broker
