"""A broker that Redis Sentinel watches: its address, and clients that find the primary, whichever it is now.

    sentinel://[USER:PASSWORD@]HOST[:PORT],HOST[:PORT],…/NAME[/DB]      sentinels:// with TLS

Each new connection asks the first Sentinel that answers for the primary's address. A primary that was demoted refuses
what is written, which ends its connections. User and password are the primary's; the Sentinels' own are settings.
"""

from typing import Any

import redis
import redis.asyncio
import redis.asyncio.sentinel
import redis.sentinel
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import NoBackoff
from redis.retry import Retry

from shared.broker.hosts import HostsAddress


def sentinel_client(address: HostsAddress, sentinel_login: dict[str, str], **options: Any) -> redis.Redis:
    """A blocking client of the primary. ``sentinel_login`` is for the Sentinels; ``options`` are redis-py's."""
    made = _Pool, redis.sentinel.Sentinel, Retry(NoBackoff(), 0)
    return redis.Redis.from_pool(_pool(*made, address, sentinel_login, options))


def async_sentinel_client(address: HostsAddress, sentinel_login: dict[str, str], **options: Any) -> redis.asyncio.Redis:
    """An asyncio client; otherwise as ``sentinel_client``."""
    made = _AsyncPool, redis.asyncio.sentinel.Sentinel, AsyncRetry(NoBackoff(), 0)
    return redis.asyncio.Redis.from_pool(_pool(*made, address, sentinel_login, options))


def _pool(
    pool: Any, sentinel: Any, retry: Any, address: HostsAddress, sentinel_login: dict[str, str], options: dict[str, Any]
) -> Any:
    """Connections to the primary, and what asks the Sentinels for it: by redis-py's blocking or asyncio classes."""
    login = {name: options.pop(name) for name in ("username", "password") if name in options}
    common = options | address.options | {"ssl": address.has_tls, "retry": retry}
    manager = sentinel(address.hosts, sentinel_kwargs=common | sentinel_login)
    name, _, database = address.path.partition("/")
    return pool(name, manager, **common, **login | address.login, db=int(database or 0))


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
