"""A broker that Redis Sentinel watches: its address, and clients that find the primary, whichever it is now.

    sentinel://[USER:PASSWORD@]HOST[:PORT],HOST[:PORT],…/NAME[/DB]      sentinels:// with TLS

Each new connection asks the first Sentinel that answers for the primary's address. A primary that was demoted refuses
what is written, which ends its connections. User and password are the primary's; the Sentinels' own are settings.
"""

from typing import Any, NamedTuple
from urllib.parse import unquote, urlsplit

import redis
import redis.asyncio
import redis.asyncio.sentinel
import redis.sentinel
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import NoBackoff
from redis.retry import Retry

from shared.settings.types import SENTINEL_PORT, SENTINEL_SCHEMES, split_hosts


class SentinelAddress(NamedTuple):
    """An address, taken apart.

    Attributes:
        sentinels: hosts and ports, in the order in which they are asked.
        name: the primary's, as the Sentinels know it.
        database: its number.
        username: of the primary; empty where it asks for none.
        password: likewise.
        has_tls: whether Sentinels and primary speak TLS.
    """

    sentinels: tuple[tuple[str, int], ...]
    name: str
    database: int
    username: str
    password: str
    has_tls: bool

    @classmethod
    def parse(cls, url: str) -> "SentinelAddress":
        """From a URL that the settings have checked."""
        parts = urlsplit(url)
        login, _, hosts = parts.netloc.rpartition("@")
        username, _, password = login.partition(":")
        name, _, database = parts.path.strip("/").partition("/")
        sentinels = tuple((host, port or SENTINEL_PORT) for host, port in split_hosts(hosts))
        secrets = unquote(username), unquote(password)
        return cls(sentinels, unquote(name), int(database or 0), *secrets, parts.scheme == "sentinels")


def is_sentinel(url: str) -> bool:
    """Whether an address is one of Sentinels."""
    return url.startswith(tuple(f"{scheme}://" for scheme in SENTINEL_SCHEMES))


def sentinel_client(
    address: SentinelAddress, login: dict[str, str], sentinel_login: dict[str, str], **options: Any
) -> redis.Redis:
    """A blocking client of the primary. ``login`` has what the address leaves out; ``options`` are redis-py's."""
    made = _Pool, redis.sentinel.Sentinel, Retry(NoBackoff(), 0)
    return redis.Redis.from_pool(_pool(*made, address, login, sentinel_login, options))


def async_sentinel_client(
    address: SentinelAddress, login: dict[str, str], sentinel_login: dict[str, str], **options: Any
) -> redis.asyncio.Redis:
    """An asyncio client; otherwise as ``sentinel_client``."""
    made = _AsyncPool, redis.asyncio.sentinel.Sentinel, AsyncRetry(NoBackoff(), 0)
    return redis.asyncio.Redis.from_pool(_pool(*made, address, login, sentinel_login, options))


def _pool(
    pool: Any,
    sentinel: Any,
    retry: Any,
    address: SentinelAddress,
    login: dict[str, str],
    sentinel_login: dict[str, str],
    options: dict[str, Any],
) -> Any:
    """Connections to the primary, and what asks the Sentinels for it: by redis-py's blocking or asyncio classes."""
    common = options | {"ssl": address.has_tls, "retry": retry}
    named = {"username": address.username, "password": address.password}
    of_primary = login | {name: value for name, value in named.items() if value}
    manager = sentinel(address.sentinels, sentinel_kwargs=common | sentinel_login)
    return pool(address.name, manager, **common, **of_primary, db=address.database)


class _Pool(redis.sentinel.SentinelConnectionPool):
    """Lets go of the connections to the Sentinels with its own."""

    def disconnect(self, inuse_connections: bool = True) -> None:
        super().disconnect(inuse_connections)
        for sentinel in self.sentinel_manager.sentinels:
            sentinel.connection_pool.disconnect()


class _AsyncPool(redis.asyncio.sentinel.SentinelConnectionPool):
    """Likewise."""

    async def disconnect(self, inuse_connections: bool = True) -> None:
        await super().disconnect(inuse_connections)
        for sentinel in self.sentinel_manager.sentinels:
            await sentinel.connection_pool.disconnect()
