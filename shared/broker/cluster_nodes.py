"""The nodes of a Redis Cluster: whoever answers first says which of them owns a slot."""

import contextlib
from collections.abc import Sequence
from typing import Any

import redis
import redis.asyncio
from redis.exceptions import AuthenticationError, AuthorizationError

from shared.errors import BrokerError

Node = tuple[str, int]
"""Host and port."""

AWAY = (redis.ConnectionError, redis.TimeoutError, OSError)
_DENIED = (AuthenticationError, AuthorizationError)
_SLOTS = "CLUSTER SLOTS"


class _Known:
    """The nodes to ask, best first."""

    def __init__(self, seeds: Sequence[Node], options: dict[str, Any]) -> None:
        self._seeds = self._nodes = tuple(seeds)
        self._options = options

    def _to_ask(self) -> tuple[Node, ...]:
        return tuple(dict.fromkeys((*self._nodes, *self._seeds)))

    def doubt(self) -> None:
        """Whoever answered last named an owner that is away: others may know better."""
        self._nodes = (*self._nodes[1:], *self._nodes[:1])

    def _owner(self, asked: Node, answer: Any, slot: int) -> Node:
        """Whom an answer to CLUSTER SLOTS names, which gives an empty host for the node that was asked."""

        def node(found: Any) -> Node:
            host = found[0].decode() if isinstance(found[0], bytes) else found[0]
            return (asked[0] if host in (None, "", "?") else host, int(found[1]))

        ranges = [(first, last, [node(found) for found in nodes]) for first, last, *nodes in answer]
        self._nodes = tuple(dict.fromkeys((asked, *(one for _, _, nodes in ranges for one in nodes))))
        for first, last, nodes in ranges:
            if first <= slot <= last:
                return nodes[0]
        raise redis.ConnectionError(f"nobody in the cluster owns slot {slot} at present")

    @staticmethod
    def _away(error: Exception) -> Exception:
        """An error of a node's that is away: the next one is asked. Any other is raised."""
        if isinstance(error, _DENIED) or not isinstance(error, AWAY):  # redis-py takes the former for lost connections
            if "cluster support disabled" in str(error):
                text = "the broker is a single server, not a node of a cluster: use redis:// in place of cluster://"
                raise BrokerError(text) from None
            raise error
        return error

    @staticmethod
    def _nobody(error: Exception | None) -> redis.ConnectionError:
        return redis.ConnectionError(f"no node of the cluster answers: {error}")


class Nodes(_Known):
    """Asked over blocking connections."""

    def owner(self, slot: int) -> Node:
        """Who owns a slot, as the first node says that answers. ConnectionError when none does."""
        trouble: Exception | None = None
        for node in self._to_ask():
            client: Any = redis.Redis(*node, **self._options)
            with contextlib.closing(client):
                try:
                    return self._owner(node, client.execute_command(_SLOTS), slot)
                except (*AWAY, redis.RedisError) as error:
                    trouble = self._away(error)
        raise self._nobody(trouble)


class AsyncNodes(_Known):
    """Asked over asyncio connections."""

    async def owner(self, slot: int) -> Node:
        """As of ``Nodes``."""
        trouble: Exception | None = None
        for node in self._to_ask():
            client: Any = redis.asyncio.Redis(host=node[0], port=node[1], **self._options)
            async with client:
                try:
                    return self._owner(node, await client.execute_command(_SLOTS), slot)
                except (*AWAY, redis.RedisError) as error:
                    trouble = self._away(error)
        raise self._nobody(trouble)
