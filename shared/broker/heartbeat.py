"""What each living process says of itself, for ``candlewick status`` and for health checks.

A heartbeat is a JSON value under a key that expires: a process that dies is gone from the list without anybody
removing it. Every process writes its own and only its own.
"""

import os
import socket
from collections import deque
from collections.abc import Coroutine, Mapping
from typing import Any, overload

import orjson

from shared.broker.client import AsyncClient, SyncClient
from shared.broker.keys import Keys

BEAT_SECONDS = 2.0  # how often a process says that it lives
EXPIRE_SECONDS = 15  # a process that has said nothing for so long is taken for dead
_WINDOW_SECONDS = 60.0


def host_name() -> str:
    """This machine's name."""
    return socket.gethostname()


def process_name() -> str:
    """Host and process id: unique among living processes."""
    return f"{host_name()}-{os.getpid()}"


class Rate:
    """Counts a minute, from a counter that only grows."""

    def __init__(self) -> None:
        self._samples: deque[tuple[float, int]] = deque()

    def sample(self, now_seconds: float, count: int) -> float:
        """Take a sample; the counts a minute over the last minute, extrapolated while less is known."""
        self._samples.append((now_seconds, count))
        while now_seconds - self._samples[0][0] > _WINDOW_SECONDS:
            self._samples.popleft()
        began, first = self._samples[0]
        span = now_seconds - began
        return round((count - first) * 60 / span, 1) if span > 0 else 0.0


@overload
def beat(client: SyncClient, keys: Keys, role: str, body: Mapping[str, Any]) -> None: ...
@overload
def beat(client: AsyncClient, keys: Keys, role: str, body: Mapping[str, Any]) -> Coroutine[Any, Any, None]: ...
def beat(client: SyncClient | AsyncClient, keys: Keys, role: str, body: Mapping[str, Any]) -> Any:
    """Write this process's heartbeat. Over an asyncio client the call has to be awaited."""
    return client.set(keys.heartbeat(role, process_name()), orjson.dumps(body), ex=EXPIRE_SECONDS)


@overload
def fall_silent(client: SyncClient, keys: Keys, role: str) -> None: ...
@overload
def fall_silent(client: AsyncClient, keys: Keys, role: str) -> Coroutine[Any, Any, None]: ...
def fall_silent(client: SyncClient | AsyncClient, keys: Keys, role: str) -> Any:
    """Take this process's heartbeat away, at its orderly end. Over an asyncio client the call has to be awaited."""
    return client.delete(keys.heartbeat(role, process_name()))


def heartbeats(client: SyncClient, keys: Keys) -> dict[tuple[str, str], dict[str, Any]]:
    """All living processes' heartbeats by role and process name."""
    found = {}
    for key in client.scan_iter(match=keys.heartbeat("*", "*"), count=1000):
        value = client.get(key)
        try:
            body = orjson.loads(value) if isinstance(value, bytes) else None
        except orjson.JSONDecodeError:
            body = None
        if isinstance(body, dict):  # else gone, or nobody's of ours
            role, name = key.decode().rsplit(":", 2)[-2:]
            found[role, name] = body
    return dict(sorted(found.items()))
