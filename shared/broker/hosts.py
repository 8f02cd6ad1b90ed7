"""A broker's address that names several hosts, taken apart.

    SCHEME://[USER:PASSWORD@]HOST[:PORT],HOST[:PORT],…[/PATH][?OPTION=VALUE&…]

The options are redis-py's, as of a ``rediss://`` address: ``ssl_ca_certs`` and such.
"""

from typing import Any, NamedTuple
from urllib.parse import unquote, urlsplit

from redis.connection import parse_url

from shared.broker.address import FIXED_OPTIONS
from shared.settings.types import split_hosts


class HostsAddress(NamedTuple):
    """What an address says.

    Attributes:
        hosts: and ports, in the order in which they are asked.
        path: without the slashes around it.
        login: user name and password, as far as the address has them.
        has_tls: whether they speak TLS.
        options: of the connections.
    """

    hosts: tuple[tuple[str, int], ...]
    path: str
    login: dict[str, str]
    has_tls: bool
    options: dict[str, Any]

    @classmethod
    def parse(cls, url: str, default_port: int) -> "HostsAddress":
        """From a URL that the settings have checked. ValueError where an option's value is none."""
        parts = urlsplit(url)
        login, _, hosts = parts.netloc.rpartition("@")
        username, _, password = login.partition(":")
        named = {"username": unquote(username), "password": unquote(password)}
        options = parse_url(f"redis://host?{parts.query}")  # type: ignore[no-untyped-call]
        del options["host"]
        return cls(
            hosts=tuple((host, port or default_port) for host, port in split_hosts(hosts)),
            path=unquote(parts.path.strip("/")),
            login={name: value for name, value in named.items() if value},
            has_tls=parts.scheme.endswith("s"),
            options={name: value for name, value in options.items() if name not in FIXED_OPTIONS},
        )
