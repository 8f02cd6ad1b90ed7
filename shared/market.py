"""The three markets and what is fixed about each.

The figures are Binance's own limits as of late 2026 (docs/binance.md says where each was read). Addresses are
only defaults here: they move, so they are settings.
"""

from dataclasses import dataclass, replace
from enum import StrEnum


class Market(StrEnum):
    """One of Binance's three markets; the value is its name in settings, streams and folders."""

    __hash__ = str.__hash__  # Enum's own is Python code, and series are the keys of many tables

    SPOT = "spot"
    USDT_FUTURES = "usdt_futures"
    COIN_FUTURES = "coin_futures"

    @property
    def facts(self) -> "MarketFacts":
        """What the exchange fixes for this market."""
        return _FACTS[self]


@dataclass(frozen=True, slots=True)
class MarketFacts:
    """Limits and paths of one market."""

    websocket: tuple[str, ...]  # default base addresses, best first, to which ``/ws`` or ``/stream`` is added
    rest: tuple[str, ...]  # default base addresses of REST, best first
    rest_prefix: str  # of the paths of REST calls
    client_messages_per_second: int  # what a client may send on one connection before it is closed
    ping_seconds: int  # how often the server pings
    pong_deadline_seconds: int  # how long the server waits for the pong
    push_ms: int  # how often an open kline is pushed, in exchange time
    klines_limit: int  # most rows of one klines request
    weight_per_minute: int  # REST request weight allowed per minute and IP


MAX_CHANNELS_PER_CONNECTION = 1024
"""Channels the exchange allows on one connection, in every market."""

MAX_CONTROL_BYTES = 4096
"""A SUBSCRIBE message of more bytes than this is ignored by the exchange without a word."""

CONNECTION_ATTEMPTS, CONNECTION_ATTEMPTS_SECONDS = 300, 300.0
"""How many connection attempts an IP address is allowed, in how many seconds."""

_USDT_FUTURES = MarketFacts(
    websocket=("wss://fstream.binance.com/market",),
    rest=("https://fapi.binance.com",),
    rest_prefix="/fapi/v1",
    client_messages_per_second=10,
    ping_seconds=180,
    pong_deadline_seconds=600,
    push_ms=250,
    klines_limit=1500,
    weight_per_minute=2400,
)
_FACTS = {
    Market.SPOT: MarketFacts(
        websocket=(
            "wss://stream.binance.com:9443",
            "wss://stream.binance.com:443",
            "wss://data-stream.binance.vision",
        ),
        rest=(
            "https://api.binance.com",
            "https://api-gcp.binance.com",
            *(f"https://api{number}.binance.com" for number in (1, 2, 3, 4)),
            "https://data-api.binance.vision",
        ),
        rest_prefix="/api/v3",
        client_messages_per_second=5,
        ping_seconds=20,
        pong_deadline_seconds=60,
        push_ms=2000,
        klines_limit=1000,
        weight_per_minute=6000,
    ),
    Market.USDT_FUTURES: _USDT_FUTURES,
    Market.COIN_FUTURES: replace(
        _USDT_FUTURES,
        websocket=("wss://dstream.binance.com", "wss://dstream.binance.com/market"),
        rest=("https://dapi.binance.com",),
        rest_prefix="/dapi/v1",
    ),
}
