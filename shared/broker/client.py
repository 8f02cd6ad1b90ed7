"""The broker as both sides reach it: its clients, and what must be true of the server.

Any Redis 7.0 or Valkey 8 and above will do. Nothing here retries: redis-py would repeat a command whose answer was
lost, and whoever calls decides whether repeating is right (docs/design.md, "Delivery").
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TypeVar

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
    ResponseError,
)
from redis.retry import Retry

from shared.broker.address import broker_name, broker_url
from shared.broker.sentinel import SentinelAddress, async_sentinel_client, is_sentinel, sentinel_client
from shared.errors import BrokerAwayError, BrokerError, ReplicaError
from shared.settings.model import Settings

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
    return _client(redis.Redis.from_url, sentinel_client, settings, Retry(NoBackoff(), 0), timeout_seconds)


def async_client(settings: Settings) -> AsyncClient:
    """An asyncio client; otherwise as ``sync_client``."""
    return _client(redis.asyncio.Redis.from_url, async_sentinel_client, settings, AsyncRetry(NoBackoff(), 0))


def _client(
    from_url: Callable[..., _Client],
    of_sentinels: Callable[..., _Client],
    settings: Settings,
    retry: object,
    timeout_seconds: float | None = None,
) -> _Client:
    broker = settings.broker
    login = _given(broker.username, broker.password)
    waits = {
        "socket_timeout": timeout_seconds or broker.timeout_seconds,
        "socket_connect_timeout": broker.timeout_seconds,
    }
    if is_sentinel(broker.url):
        sentinel_login = _given(broker.sentinel_username, broker.sentinel_password)
        return of_sentinels(SentinelAddress.parse(broker.url), login, sentinel_login, **waits)
    try:
        return from_url(broker_url(settings), retry=retry, **waits, **login)
    except ValueError as error:
        raise BrokerError(f"broker.url {broker_name(settings)} cannot be used: {error}") from None


def _given(username: str, password: SecretStr) -> dict[str, str]:
    login = {"username": username, "password": password.get_secret_value()}
    return {name: value for name, value in login.items() if value}


def check_server(info: Mapping[str, object], name: str) -> None:
    """Refuse a server that would lose candles, by what INFO answered; ``name`` is its address for people.

    Raises:
        BrokerError: when the server evicts keys or is older than Redis 7.0.
        ReplicaError: when it is a replica; of one that was a primary before, wait for the end of the fail-over.
    """
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
        raise ReplicaError(f"the broker {name} is a read-only replica: use its primary's address")


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
