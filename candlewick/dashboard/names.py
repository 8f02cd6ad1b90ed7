"""Under which names the dashboard may be asked for: its own, and whatever address a machine has. Pure.

A page of the internet whose name leads to this machine (DNS rebinding) would be trusted by the browser with all that
we answer. It needs a name for that; an address in numbers cannot be made to lead elsewhere.
"""

from collections.abc import Iterable
from ipaddress import ip_address
from urllib.parse import urlsplit


class Names:
    """The names that are ours, in whatever case: ``localhost``, this machine's own, and those that are given."""

    def __init__(self, given: Iterable[str]) -> None:
        self._names = frozenset(name.lower() for name in ("localhost", *given) if name)

    def fit(self, host: str) -> bool:
        """Whether a ``Host`` header names us, with or without a port."""
        name = _name_of(host)
        return name in self._names or _is_address(name)


def _name_of(host: str) -> str:
    """Without port and brackets, in lower case; empty for what is no host."""
    try:
        parts = urlsplit(f"//{host}")
    except ValueError:
        return ""
    return (parts.hostname or "") if parts.netloc == host and parts.username is None else ""


def _is_address(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True
