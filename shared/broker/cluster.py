"""A broker that is a Redis Cluster: clients that find whoever owns what they ask for.

    cluster://[USER:PASSWORD@]HOST[:PORT],HOST[:PORT],…      clusters:// with TLS

All keys of a market share a slot by their hash tag, and all keys of no market another one (``shared.broker.keys``). A
client has a pool of connections for each tag. Each new connection asks the first node that answers who owns the tag's
slot. A node that owns it no longer refuses what it is asked, which ends its connections: to whoever calls, a fail-over
is a broker that is away for a moment. Nothing here repeats a command, as redis-py's own cluster client does.

A pipeline keeps to the tag of its first key, and INFO or WAIT in it go where that key is. Outside of a pipeline a
command without a key goes to the owner of the keys of no market.
"""

import re
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import redis
import redis.asyncio
import redis.asyncio.client
import redis.client
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import NoBackoff
from redis.crc import key_slot
from redis.exceptions import AskError, ClusterDownError, MovedError, TryAgainError
from redis.retry import Retry

from shared.broker.cluster_nodes import AWAY, AsyncNodes, Nodes
from shared.broker.hosts import HostsAddress
from shared.broker.keys import NO_MARKET, TAGS

_ELSEWHERE = (MovedError, AskError, TryAgainError, ClusterDownError)


def cluster_client(address: HostsAddress, prefix: str, **options: Any) -> redis.Redis:
    """A blocking client of the cluster; ``options`` are redis-py's. ``prefix`` begins every key."""
    made = _Pool, (_Connection, _SSLConnection), Nodes, Retry(NoBackoff(), 0)
    return _Client(_pool(*made, address, prefix, options))


def async_cluster_client(address: HostsAddress, prefix: str, **options: Any) -> redis.asyncio.Redis:
    """An asyncio client; otherwise as ``cluster_client``."""
    made = _AsyncPool, (_AsyncConnection, _AsyncSSLConnection), AsyncNodes, AsyncRetry(NoBackoff(), 0)
    return _AsyncClient(_pool(*made, address, prefix, options))


def is_cluster(client: redis.Redis | redis.asyncio.Redis) -> bool:
    """Whether a client is one of a cluster, where no command reaches the keys of two markets."""
    return isinstance(client, _Routing)


def _pool(
    pool: Any, connections: tuple[Any, Any], nodes: Any, retry: Any, address: HostsAddress, prefix: str, options: Any
) -> Any:
    """The pool for the keys of no market, which has those for the markets: by blocking or asyncio classes."""
    options = options | address.options | address.login | {"retry": retry}
    known = nodes(address.hosts, options | ({"ssl": True} if address.has_tls else {}))

    def for_tag(tag: str, **others: Any) -> Any:
        connection = connections[address.has_tls]
        return pool(**others, connection_class=connection, nodes=known, slot=key_slot(tag.encode()), **options)

    markets = {tag: for_tag(tag) for tag in TAGS if tag != NO_MARKET}
    return for_tag(NO_MARKET, pools=markets, tags=re.compile(rf"{re.escape(prefix)}:[a-z-]+:\{{([a-z_]+)\}}"))


class _Connection(redis.Connection):
    """A connection to whoever owns a slot when it is made."""

    def __init__(self, *, nodes: Any, slot: int, **options: Any) -> None:
        super().__init__(**options)  # type: ignore[no-untyped-call]
        self._nodes, self._slot = nodes, slot

    def connect(self) -> None:
        if self.is_connected:
            return
        self.host, self.port = self._nodes.owner(self._slot)
        try:
            super().connect()  # type: ignore[no-untyped-call]
        except AWAY:
            self._nodes.doubt()
            raise

    def read_response(self, *arguments: Any, **options: Any) -> Any:
        try:
            return super().read_response(*arguments, **options)
        except _ELSEWHERE as error:
            self.disconnect()  # type: ignore[no-untyped-call]
            raise _moved(error) from None


class _SSLConnection(_Connection, redis.SSLConnection):
    """With TLS."""


class _AsyncConnection(redis.asyncio.Connection):
    """As ``_Connection``."""

    def __init__(self, *, nodes: Any, slot: int, **options: Any) -> None:
        super().__init__(**options)
        self._nodes, self._slot = nodes, slot

    async def connect(self) -> None:
        if self.is_connected:
            return
        self.host, self.port = await self._nodes.owner(self._slot)
        try:
            await super().connect()  # type: ignore[no-untyped-call]
        except AWAY:
            self._nodes.doubt()
            raise

    async def read_response(self, *arguments: Any, **options: Any) -> Any:
        try:
            return await super().read_response(*arguments, **options)
        except _ELSEWHERE as error:
            await self.disconnect()
            raise _moved(error) from None


class _AsyncSSLConnection(_AsyncConnection, redis.asyncio.SSLConnection):
    """With TLS."""


def _moved(error: Exception) -> redis.ConnectionError:
    return redis.ConnectionError(f"the node does not own this slot, or the cluster is down: {error}")


class _Tags:
    """What is particular to the pool for the keys of no market: it has the others, and knows which is whose."""

    def __init__(self, *, pools: Any = (), tags: Any = None, **options: Any) -> None:
        super().__init__(**options)
        self.pools: dict[str, Any] = dict(pools)
        self._tags = tags

    def tag_of(self, command: Sequence[Any]) -> str | None:
        """The tag of a command's first key; None when it has none."""
        for word in command[1:]:
            text = word.decode(errors="replace") if isinstance(word, bytes) else word
            if isinstance(text, str) and (found := self._tags.match(text)):
                return str(found[1])
        return None

    def of(self, tag: str) -> Any:
        """The pool for a tag's keys."""
        return self.pools.get(tag, self)

    def for_key(self, key: str) -> Any:
        """The pool for a key."""
        return self.of(self.tag_of(("", key)) or NO_MARKET)


class _Pool(_Tags, redis.ConnectionPool):
    """Lets go of the connections for the markets with its own."""

    def disconnect(self, inuse_connections: bool = True) -> None:
        super().disconnect(inuse_connections)
        for pool in self.pools.values():
            pool.disconnect(inuse_connections)


class _AsyncPool(_Tags, redis.asyncio.ConnectionPool):
    """Likewise."""

    async def disconnect(self, inuse_connections: bool = True) -> None:
        await super().disconnect(inuse_connections)
        for pool in self.pools.values():
            await pool.disconnect(inuse_connections)


class _Routing:
    """A client whose commands go over the pool of their key's tag."""

    plain: ClassVar[Any]
    pipelines: ClassVar[Any]
    connection_pool: Any
    response_callbacks: Any

    def __init__(self, pool: Any) -> None:
        super().__init__(connection_pool=pool)  # type: ignore[call-arg] # of redis-py's client
        self.auto_close_connection_pool = True
        self._clients = {tag: self.plain(connection_pool=one) for tag, one in pool.pools.items()}

    def execute_command(self, *command: Any, **options: Any) -> Any:
        client = self._clients.get(self.connection_pool.tag_of(command))
        send: Callable[..., Any] = super().execute_command if client is None else client.execute_command  # type: ignore[misc]
        return send(*command, **options)

    def pipeline(self, transaction: bool = True, shard_hint: str | None = None) -> Any:  # redis-py's
        return self.pipelines(self.connection_pool, self.response_callbacks, transaction, shard_hint)


class _RoutedPipeline:
    """A pipeline that keeps to the tag of its first key."""

    connection_pool: Any

    def __init__(self, pool: Any, *arguments: Any) -> None:
        super().__init__(pool, *arguments)  # type: ignore[call-arg] # of redis-py's pipeline
        self._router, self._tag = pool, ""

    def execute_command(self, *command: Any, **options: Any) -> Any:
        tag = self._router.tag_of(command)
        if tag is not None and tag != self._tag:
            if self._tag:
                raise ValueError(f"a pipeline over keys of {self._tag} and {tag}: no node of a cluster has both")
            self._tag, self.connection_pool = tag, self._router.of(tag)
        return super().execute_command(*command, **options)  # type: ignore[misc]


class _Pipeline(_RoutedPipeline, redis.client.Pipeline):
    """Blocking."""


class _AsyncPipeline(_RoutedPipeline, redis.asyncio.client.Pipeline):  # type: ignore[misc] # redis-py's own bases
    """Asyncio."""


class _Client(_Routing, redis.Redis):
    """Blocking."""

    plain, pipelines = redis.Redis, _Pipeline


class _AsyncClient(_Routing, redis.asyncio.Redis):  # type: ignore[misc] # redis-py's own bases
    """Asyncio."""

    plain, pipelines = redis.asyncio.Redis, _AsyncPipeline
