"""A single server behind a proxy that can be anything between it and its clients, and a second one to fail over to."""

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from chaos.brokers.plain import answers
from chaos.brokers.server import Server
from chaos.logbook import Logbook
from chaos.proxy import Proxy
from chaos.waiting import wait_until

_MAX_CUT_AFTER_BYTES = 400


class Single:
    """One server.

    Args:
        folder: of its files; made.
        logbook: where its output goes.
        sockets: folder with a short path.

    Attributes:
        server: the one that has the data now.
        proxy: between ``socket`` and everyone; given by whoever starts both.
    """

    def __init__(self, folder: Path, logbook: Logbook, sockets: Path) -> None:
        self.server, self._standby = (
            Server(name, folder / name, logbook, {"unixsocket": str(sockets / name)}) for name in ("broker", "standby")
        )
        self._sockets = sockets
        self.proxy: Proxy

    @property
    def socket(self) -> Path:
        """Where the server listens for the proxy."""
        return self._sockets / self.server.name

    @property
    def url(self) -> str:
        """What ``broker.url`` says of it."""
        return f"redis://127.0.0.1:{self.proxy.port}/0"

    @property
    def parts(self) -> Sequence[Server]:
        """The server."""
        return [self.server]

    primaries = servers = parts

    @property
    def cuts(self) -> int:
        """How often connections were cut; the proxy knows whether there was one."""
        return self.proxy.counts["cut"]

    def start(self) -> None:
        """Start the server."""
        self.server.start_and_wait()

    def client(self) -> Any:
        """A connection that no fault of the proxy meets."""
        return self.server.client()

    def cut(self, rng: random.Random) -> None:
        """End the connections, at once or when so many more bytes have gone by."""
        self.proxy.cut(rng.choice((0, rng.randrange(1, _MAX_CUT_AFTER_BYTES))))

    def heal(self) -> None:
        """Let the proxy do nothing but pass on."""
        self.proxy.heal()

    def begin_standby(self) -> bool:
        """Start a replica of the server, from nothing; False when there is one already."""
        standby = self._standby
        if standby.runs:
            return False
        standby.forget_everything()
        standby.start()
        with standby.client() as client:
            wait_until(lambda: answers(client), "the standby answers")
            client.replicaof("127.0.0.1", str(self.server.port))
        return True

    def fail_over(self) -> None:
        """The server dies for good, and its replica takes its place, with whatever it has by now."""
        self.server.end()
        self.server, self._standby = self._standby, self.server
        with self.client() as client:
            client.replicaof("NO", "ONE")
        self.proxy.retarget(self.socket)

    def end(self) -> None:
        """End both."""
        self.server.end()
        self._standby.end()
