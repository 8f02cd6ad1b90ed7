"""The three markets and what is fixed about each.

The figures are Binance's own limits as of late 2026 (docs/binance.md says where each was read). Addresses are
only defaults here: they move, so they are settings.
"""

from dataclasses import dataclass
from enum import StrEnum


class Market(StrEnum):
    """One of Binance's three markets; the value is its name in settings, streams and folders."""

    SPOT = "spot"
    USDT_FUTURES = "usdt_futures"
    COIN_FUTURES = "coin_futures"

    @property
    def facts(self) -> "MarketFacts":
        """What the exchange fixes for this market."""
        return _FACTS[self]


@dataclass(frozen=True, slots=True)
class MarketFacts:
    """Limits and paths of one market.

    Attributes:
        websocket: default base address, to which ``/ws`` or ``/stream`` is added.
        rest: default base address for REST.
        rest_prefix: path prefix of the REST calls, such as ``/api/v3``.
        client_messages_per_second: what a client may send on one connection before it is closed.
        ping_seconds: how often the server pings.
        pong_deadline_seconds: how long the server waits for the pong.
        push_ms: how often an open kline is pushed, in exchange time.
        klines_limit: most rows of one klines request.
        weight_per_minute: REST request weight allowed per minute and IP.
    """

    websocket: str
    rest: str
    rest_prefix: str
    client_messages_per_second: int
    ping_seconds: int
    pong_deadline_seconds: int
    push_ms: int
    klines_limit: int
    weight_per_minute: int


MAX_CHANNELS_PER_CONNECTION = 1024
"""Channels the exchange allows on one connection, in every market."""

MAX_CONTROL_BYTES = 4096
"""A SUBSCRIBE message of more bytes than this is ignored by the exchange without a word."""

CONNECTION_ATTEMPTS = 300
"""Connection attempts allowed per IP within ``CONNECTION_ATTEMPTS_SECONDS``."""

CONNECTION_ATTEMPTS_SECONDS = 300.0

_FACTS = {
    Market.SPOT: MarketFacts(
        websocket="wss://stream.binance.com:9443",
        rest="https://api.binance.com",
        rest_prefix="/api/v3",
        client_messages_per_second=5,
        ping_seconds=20,
        pong_deadline_seconds=60,
        push_ms=2000,
        klines_limit=1000,
        weight_per_minute=6000,
    ),
    Market.USDT_FUTURES: MarketFacts(
        websocket="wss://fstream.binance.com/market",
        rest="https://fapi.binance.com",
        rest_prefix="/fapi/v1",
        client_messages_per_second=10,
        ping_seconds=180,
        pong_deadline_seconds=600,
        push_ms=250,
        klines_limit=1500,
        weight_per_minute=2400,
    ),
    Market.COIN_FUTURES: MarketFacts(
        websocket="wss://dstream.binance.com",
        rest="https://dapi.binance.com",
        rest_prefix="/dapi/v1",
        client_messages_per_second=10,
        ping_seconds=180,
        pong_deadline_seconds=600,
        push_ms=250,
        klines_limit=1500,
        weight_per_minute=2400,
    ),
}
