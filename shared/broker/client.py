"""The broker as both sides reach it: its clients, and what must be true of the server.

Any Redis 7.0 or Valkey 8 and above will do. Nothing here retries: redis-py would repeat a command whose answer was
lost, and whoever calls decides whether repeating is right (docs/design.md, "Delivery").
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any, Generic, NamedTuple, TypeVar, cast

import redis
import redis.asyncio
from pydantic import SecretStr
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import NoBackoff
from redis.exceptions import (
    AuthenticationError,
    AuthorizationError,
    BusyLoadingError,
    NoPermissionError,
    ReadOnlyError,
    ResponseError,
)
from redis.retry import Retry

from shared.broker.address import broker_name, broker_url
from shared.broker.cluster import async_cluster_client, cluster_client, is_cluster
from shared.broker.hosts import HostsAddress
from shared.broker.sentinel import async_sentinel_client, sentinel_client
from shared.errors import BrokerAwayError, BrokerError, ReplicaError
from shared.settings.model import Settings
from shared.settings.types import CLUSTER_PORT, CLUSTER_SCHEMES, SENTINEL_PORT, SENTINEL_SCHEMES, is_one_of

SyncClient = redis.Redis
AsyncClient = redis.asyncio.Redis
_Client = TypeVar("_Client")

CONNECTION_ERRORS = (redis.ConnectionError, redis.TimeoutError, OSError)
"""What a client raises while the broker is away; the same call may succeed later."""

_OLDEST_REDIS = 7


def sync_client(settings: Settings, timeout_seconds: float | None = None) -> SyncClient:
    """A blocking client. It does not connect before its first command and never repeats one by itself.

    It waits ``timeout_seconds`` for an answer at most, by default ``broker.timeout_seconds``.
    """
    return _client(_BLOCKING, settings, timeout_seconds)


def async_client(settings: Settings) -> AsyncClient:
    """An asyncio client; otherwise as ``sync_client``."""
    return _client(_ASYNCIO, settings)


class _Makers(NamedTuple, Generic[_Client]):
    """What makes a client, by the kind of address."""

    of_server: Callable[..., _Client]
    of_sentinels: Callable[..., _Client]
    of_cluster: Callable[..., _Client]


_BLOCKING = _Makers(partial(redis.Redis.from_url, retry=Retry(NoBackoff(), 0)), sentinel_client, cluster_client)
_ASYNCIO = _Makers(
    partial(redis.asyncio.Redis.from_url, retry=AsyncRetry(NoBackoff(), 0)),
    async_sentinel_client,
    async_cluster_client,
)


def _client(makers: _Makers[_Client], settings: Settings, timeout_seconds: float | None = None) -> _Client:
    broker, url = settings.broker, settings.broker.url
    login = _given(broker.username, broker.password)
    waits = {
        "socket_timeout": timeout_seconds or broker.timeout_seconds,
        "socket_connect_timeout": broker.timeout_seconds,
    }
    try:
        if is_one_of(url, SENTINEL_SCHEMES):
            of_sentinels = _given(broker.sentinel_username, broker.sentinel_password)
            return makers.of_sentinels(HostsAddress.parse(url, SENTINEL_PORT), of_sentinels, **waits, **login)
        if is_one_of(url, CLUSTER_SCHEMES):
            return makers.of_cluster(HostsAddress.parse(url, CLUSTER_PORT), broker.prefix, **waits, **login)
        return makers.of_server(broker_url(settings), **waits, **login)
    except ValueError as error:
        raise BrokerError(f"broker.url {broker_name(settings)} cannot be used: {error}") from None


def _given(username: str, password: SecretStr) -> dict[str, str]:
    login = {"username": username, "password": password.get_secret_value()}
    return {name: value for name, value in login.items() if value}


def pool_for(client: AsyncClient, key: str) -> redis.asyncio.ConnectionPool:
    """The pool whose connections lead to the server that has a key."""
    pool: Any = client.connection_pool
    return cast("redis.asyncio.ConnectionPool", pool.for_key(key) if is_cluster(client) else pool)


def check_server(info: Mapping[str, object], name: str) -> None:
    """Refuse a server that would lose candles, by what INFO answered; ``name`` is its address for people.

    Raises:
        BrokerError: when the server evicts keys, is older than Redis 7.0, or is a node of a cluster that is not named
            as one.
        ReplicaError: when it is a replica; of one that was a primary before, wait for the end of the fail-over.
        redis.ReadOnlyError: when it is one, and the address is of those that lead to a primary in the end.
    """
    if info.get("cluster_enabled") and not is_one_of(name, CLUSTER_SCHEMES):
        raise BrokerError(f"the broker {name} is a node of a Redis Cluster: write cluster:// and some of its nodes")
    policy = info.get("maxmemory_policy", "noeviction")
    if policy != "noeviction":
        raise BrokerError(
            f"the broker {name} has maxmemory-policy {policy} and would throw candles away when its memory is full: "
            "set `maxmemory-policy noeviction`"
        )
    version = str(info.get("redis_version", ""))
    major = version.split(".", maxsplit=1)[0]
    if major.isdigit() and int(major) < _OLDEST_REDIS:
        raise BrokerError(f"the broker {name} is version {version}: Redis 7.0 or Valkey 8 is the oldest that works")
    if info.get("role") == "slave":
        if is_one_of(name, (*SENTINEL_SCHEMES, *CLUSTER_SCHEMES)):
            raise ReadOnlyError(f"{name} still leads to a server that is a replica by now")
        raise ReplicaError(f"the broker {name} is a read-only replica: use its primary's address")


def server_info(client: SyncClient, key: str) -> Mapping[str, object]:
    """What INFO says of the server that has a key; of a cluster the keys of another market may be on another one."""
    pipeline: Any = client.pipeline(transaction=False)
    return cast("Mapping[str, object]", pipeline.exists(key).info().execute()[1])


async def server_info_async(client: AsyncClient, key: str) -> Mapping[str, object]:
    """``server_info`` over an asyncio client."""
    pipeline: Any = client.pipeline(transaction=False)
    return cast("Mapping[str, object]", (await pipeline.exists(key).info().execute())[1])


@contextmanager
def broker_errors(settings: Settings) -> Iterator[None]:
    """What redis-py raises in the block as a BrokerError of one line: BrokerAwayError if asking again may help."""
    try:
        yield
    except redis.RedisError as error:
        away = BrokerAwayError(f"{broker_name(settings)} does not answer: {error}")
        raise fatal_answer(error, settings) or away from None


def fatal_answer(error: BaseException, settings: Settings) -> BrokerError | None:
    """The error to stop with, if the broker's answer will not change by asking again; else None."""
    if isinstance(error, BusyLoadingError):
        return None
    if isinstance(error, NoPermissionError):
        text = "does not let its user do what it has to (docs/security.md lists the rights)"
        return BrokerError(f"the broker {broker_name(settings)} {text}: {error}")
    denied = isinstance(error, (AuthenticationError, AuthorizationError))
    if denied or (isinstance(error, ResponseError) and str(error).startswith(("NOAUTH", "WRONGPASS"))):
        return BrokerError(f"the broker {broker_name(settings)} refuses the user or password: {error}")
    return None
