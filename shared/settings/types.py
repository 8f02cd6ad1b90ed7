"""Types of single settings: symbols and patterns, addresses, lengths of time. Each error says what is allowed."""

import re
from collections.abc import Iterable
from functools import partial
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field

from shared.candle import checked_symbol
from shared.errors import MalformedCandleError
from shared.interval import UNIT_MS

DIRECT = "direct"
"""In place of a proxy: none, whatever the environment says."""


def _symbol(text: str) -> str:
    try:
        return checked_symbol(text.strip().upper())
    except MalformedCandleError as error:
        raise ValueError(str(error)) from None


def _address(schemes: tuple[str, ...], text: str, *, may_be_empty: bool = False) -> str:
    if may_be_empty and not text:
        return text
    if not is_one_of(text, schemes):
        raise ValueError(f"an address begins with {' or '.join(f'{scheme}://' for scheme in schemes)}")
    try:
        parts = urlsplit(text)
        named = parts.path if parts.scheme == "unix" else parts.hostname and (parts.port or True)
    except ValueError:
        named = None
    if not named:
        raise ValueError(
            "an address names a host and, after a colon, a port; / ? # in a password are written %2F %3F %23"
        )
    return text.rstrip("/")


STORE_SCHEMES = ("s3", "gs", "az")
SENTINEL_SCHEMES = ("sentinel", "sentinels")
SENTINEL_PORT = 26379
CLUSTER_SCHEMES = ("cluster", "clusters")
CLUSTER_PORT = 6379
_BROKER_SCHEMES = ("redis", "rediss", "unix", "valkey", "valkeys", *SENTINEL_SCHEMES, *CLUSTER_SCHEMES)


def is_one_of(url: str, schemes: Iterable[str]) -> bool:
    """Whether an address has one of these schemes."""
    return url.startswith(tuple(f"{scheme}://" for scheme in schemes))


def _broker_address(text: str) -> str:
    if is_one_of(text, SENTINEL_SCHEMES):
        what = "of Sentinels is sentinel://HOST[:PORT],HOST[:PORT]/NAME[/DB], NAME being what they watch"
        return _hosts_address(text, r"/[\w.%-]+(/\d{1,4})?/?", what)
    if is_one_of(text, CLUSTER_SCHEMES):
        return _hosts_address(text, "/?", "of a Redis Cluster is cluster://HOST[:PORT],HOST[:PORT], some of its nodes")
    return _address(_BROKER_SCHEMES, text, may_be_empty=True)


def _hosts_address(text: str, path: str, what: str) -> str:
    try:
        parts = urlsplit(text)
        hosts = split_hosts(parts.netloc.rpartition("@")[2])
    except ValueError:
        hosts = ()
    if not hosts or re.fullmatch(path, parts.path) is None or parts.fragment:
        raise ValueError(f"an address {what}; / ? # in a password are written %2F %3F %23")
    return text.rstrip("/")


def split_hosts(text: str) -> tuple[tuple[str, int | None], ...]:
    """Hosts and ports of a list with commas, an IPv6 host in brackets. ValueError where one is none."""
    found = []
    for one in text.split(","):
        parts = urlsplit(f"//{one.strip()}")
        if not parts.hostname or parts.path or parts.query:
            raise ValueError(f"{one!r} is no host")
        found.append((parts.hostname, parts.port))
    return tuple(found)


def checked_proxy(text: str) -> str:
    """A proxy's address, ``direct`` or an empty text as it is; ValueError, without the address, for any other."""
    if text in ("", DIRECT):
        return text
    try:
        return _address(("http", "https", "socks5", "socks5h"), text)
    except ValueError as error:
        raise ValueError(f"{error}, or is `{DIRECT}` for none") from None


def _umask(text: str) -> str:
    if text and (re.fullmatch(r"0?[0-7]{3}", text, re.ASCII) is None or int(text, 8) & 0o700):
        raise ValueError("a umask is three octal digits, such as 027, and leaves the user all rights")
    return text


def _joined(value: object) -> object:
    """A list as the text that stands for it; pydantic judges whatever else it is."""
    return ", ".join(value) if isinstance(value, list) and all(isinstance(one, str) for one in value) else value


def _addresses(schemes: tuple[str, ...], text: str) -> str:
    return ", ".join(_address(schemes, address) for address in split_addresses(text) or ("",))


def split_addresses(text: str) -> tuple[str, ...]:
    """The addresses of a list, in their order."""
    return tuple(address.strip() for address in text.split(",") if address.strip())


def _pattern(text: str) -> str:
    text = text.strip().upper()
    if not is_pattern(text):
        return _symbol(text)
    _symbol(text.replace("*", "A").replace("?", "A"))
    return text


def is_pattern(symbol: str) -> bool:
    """Whether it stands for any number of symbols: ``*`` for any characters, ``?`` for one."""
    return "*" in symbol or "?" in symbol


def _duration(text: str) -> str:
    duration_ms(text)
    return text


def duration_ms(text: str) -> int:
    """A length of time such as ``7d`` in ms: a number and one of s, m, h, d, w; an empty text is none.

    ValueError says what is wrong with any other text.
    """
    match = re.fullmatch(r"(\d{1,6})([smhdw])", text.strip(), re.ASCII)
    if not text.strip():
        return 0
    if match is None:
        raise ValueError(f"{text!r} is not a length of time such as 90s, 30m, 12h, 7d or 2w")
    return int(match[1]) * UNIT_MS[match[2]]


def _store_address(text: str) -> str:
    if not text:
        return text
    parts = urlsplit(text)
    if parts.scheme not in STORE_SCHEMES or not parts.hostname or parts.query or "@" in parts.netloc:
        raise ValueError("an object store is s3://BUCKET/PATH, gs://BUCKET/PATH or az://CONTAINER/PATH, without a key")
    return text.rstrip("/")


Umask = Annotated[str, AfterValidator(_umask)]
ProxyAddress = Annotated[str, AfterValidator(checked_proxy)]
SymbolPattern = Annotated[str, AfterValidator(_pattern)]
Duration = Annotated[str, AfterValidator(_duration)]
WebSocketAddresses = Annotated[str, BeforeValidator(_joined), AfterValidator(partial(_addresses, ("ws", "wss")))]
RestAddresses = Annotated[str, BeforeValidator(_joined), AfterValidator(partial(_addresses, ("http", "https")))]
"""Several addresses, given as a list or separated by commas."""

OptionalRestAddress = Annotated[str, AfterValidator(partial(_address, ("http", "https"), may_be_empty=True))]
StoreAddress = Annotated[str, AfterValidator(_store_address)]
BrokerAddress = Annotated[str, AfterValidator(_broker_address)]
Seconds = Annotated[float, Field(gt=0, le=86_400 * 366)]


def without_secrets(url: str) -> str:
    """A broker's URL without user, password and options."""
    if not url:
        return url
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
