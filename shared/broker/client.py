"""The broker as both sides reach it: its address, its clients, and what must be true of the server.

Any Redis 7.0 or Valkey 8 and above will do. Nothing here retries: redis-py would repeat a command whose answer was
lost, and whoever calls decides whether repeating is right (docs/design.md, "Delivery").
"""

import hashlib
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar
from urllib.parse import parse_qsl, quote, urlencode, urlsplit, urlunsplit

import redis
import redis.asyncio
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

from shared.errors import BrokerAwayError, BrokerError, ReplicaError
from shared.settings.model import Settings
from shared.settings.types import without_secrets

SyncClient = redis.Redis
AsyncClient = redis.asyncio.Redis
_Client = TypeVar("_Client")

CONNECTION_ERRORS = (redis.ConnectionError, redis.TimeoutError, OSError)
"""What a client raises while the broker is away; the same call may succeed later."""

_SUN_PATH_BYTES = 100  # a Unix socket's path holds 104 bytes on macOS, 108 on Linux
_OLDEST_REDIS = 7
_FIXED_OPTIONS = ("protocol", "decode_responses", "encoding")  # of a URL; others would change what answers look like


def embedded_folder(settings: Settings) -> Path:
    """Folder of the embedded broker's files."""
    return settings.data.folder / "broker"


def embedded_socket(settings: Settings) -> Path:
    """Unix socket of the embedded broker, in the broker's folder.

    Where that path is too long for a socket, it lies in the user's state folder, which nobody cleans, under a name made
    from the broker's folder. BrokerError when that is too long, too.
    """
    folder = embedded_folder(settings).resolve()
    state = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local/state") / "candlewick"
    for socket in (folder / "valkey.sock", state / f"{hashlib.sha256(os.fsencode(folder)).hexdigest()[:16]}.sock"):
        if len(os.fsencode(socket)) <= _SUN_PATH_BYTES:
            return socket
    raise BrokerError(f"the paths of {folder} and {state} are too long for the embedded broker's socket")


def broker_url(settings: Settings) -> str:
    """The URL to connect to: the setting, or the embedded broker's socket."""
    if not settings.broker.url:
        return f"unix://{quote(str(embedded_socket(settings)))}"
    parts = urlsplit(settings.broker.url)
    options = [(name, value) for name, value in parse_qsl(parts.query) if name not in _FIXED_OPTIONS]
    url = urlunsplit(parts._replace(scheme=parts.scheme.replace("valkey", "redis"), query=urlencode(options)))
    return url if parts.netloc else url.replace(":", "://", 1)  # urlunsplit leaves the slashes of an empty host out


def broker_name(settings: Settings) -> str:
    """The broker's address for people: no user, no password, no options."""
    if not settings.broker.url:
        return f"the embedded Valkey at {embedded_socket(settings)}"
    return without_secrets(settings.broker.url)


def sync_client(settings: Settings, timeout_seconds: float | None = None) -> SyncClient:
    """A blocking client. It does not connect before its first command and never repeats one by itself.

    It waits ``timeout_seconds`` for an answer at most, by default ``broker.timeout_seconds``.
    """
    return _client(redis.Redis.from_url, settings, Retry(NoBackoff(), 0), timeout_seconds)


def async_client(settings: Settings) -> AsyncClient:
    """An asyncio client; otherwise as ``sync_client``."""
    return _client(redis.asyncio.Redis.from_url, settings, AsyncRetry(NoBackoff(), 0))


def _client(
    from_url: Callable[..., _Client], settings: Settings, retry: object, timeout_seconds: float | None = None
) -> _Client:
    broker = settings.broker
    login = {"username": broker.username, "password": broker.password.get_secret_value()}
    try:
        return from_url(
            broker_url(settings),
            retry=retry,
            socket_timeout=timeout_seconds or broker.timeout_seconds,
            socket_connect_timeout=broker.timeout_seconds,
            **{name: value for name, value in login.items() if value},
        )
    except ValueError as error:
        raise BrokerError(f"broker.url {broker_name(settings)} cannot be used: {error}") from None


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
