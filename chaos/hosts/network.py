"""Hosts on one machine: network namespaces with addresses of their own, on one bridge (Linux, as root).

The broker and the exchange have an address each on the bridge, so that a host can be cut from one of them alone. A cut
is a wrong neighbour: what is sent is lost without a word, as by a cable that was pulled.
"""

import contextlib
import subprocess
from collections.abc import Iterator

BROKER, EXCHANGE = "10.77.0.1", "10.77.0.2"
_BRIDGE, _ITS_OWN, _NOBODY = "cw-bridge", "02:00:00:00:00:01", "02:00:00:00:00:99"


class NetworkError(Exception):
    """The machine does not let networks be made; the text says why."""


@contextlib.contextmanager
def bridge() -> Iterator[None]:
    """The bridge with both addresses, until the block ends."""
    _ip("link", "add", _BRIDGE, "address", _ITS_OWN, "type", "bridge")  # else it takes that of a host, which may die
    try:
        for address in (BROKER, EXCHANGE):
            _ip("addr", "add", f"{address}/24", "dev", _BRIDGE)
        _ip("link", "set", _BRIDGE, "up")
        yield
    finally:
        _ip("link", "del", _BRIDGE)


class Network:
    """One host's network.

    Args:
        number: of the host, from 1; its address is 10.77.0.(10 + number).
    """

    def __init__(self, number: int) -> None:
        self.name = f"cw-{number}"
        self._outside, inside = f"cw-{number}-out", f"cw-{number}-in"
        _ip("netns", "add", self.name)
        _ip("link", "add", self._outside, "type", "veth", "peer", "name", inside, "netns", self.name)
        _ip("link", "set", self._outside, "master", _BRIDGE, "up")
        for arguments in (
            ("addr", "add", f"10.77.0.{10 + number}/24", "dev", inside),
            ("link", "set", inside, "up"),
            ("link", "set", "lo", "up"),
        ):
            self._ip(*arguments)
        self._device = inside

    def command(self, command: list[str]) -> list[str]:
        """A command that runs on this host."""
        return ["ip", "netns", "exec", self.name, *command]

    def cut(self, address: str) -> None:
        """Lose whatever this host sends to an address."""
        self._ip("neigh", "replace", address, "lladdr", _NOBODY, "dev", self._device, "nud", "permanent")

    def heal(self, address: str) -> None:
        """Lose nothing any more."""
        self._ip("neigh", "del", address, "dev", self._device)

    def remove(self) -> None:
        """Take the host's network away."""
        _ip("link", "del", self._outside)
        _ip("netns", "del", self.name)

    def _ip(self, *arguments: str) -> None:
        _ip("-n", self.name, *arguments)


def _ip(*arguments: str) -> None:
    try:
        done = subprocess.run(["ip", *arguments], capture_output=True, text=True, check=False)
    except OSError as error:
        raise NetworkError(f"ip cannot be run: {error}") from None
    if done.returncode:
        raise NetworkError(f"ip {' '.join(arguments)}: {done.stderr.strip()}")
