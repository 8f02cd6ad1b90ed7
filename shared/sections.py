"""The sections of the settings: every key, its type, its default, its range and what it means.

Values only: ``shared.settings`` puts them together and loads them. Each description stands in docs/settings.md and in
``candlewick settings`` word for word.
"""

import re
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr

from shared.candle import checked_symbol
from shared.errors import MalformedCandleError
from shared.interval import DAY_MS, HOUR_MS, MINUTE_MS, SECOND_MS, Interval
from shared.market import MAX_CHANNELS_PER_CONNECTION, Market


def _symbol(text: str) -> str:
    try:
        return checked_symbol(text.strip().upper())
    except MalformedCandleError as error:
        raise ValueError(str(error)) from None


def _address(text: str, schemes: tuple[str, ...]) -> str:
    if not text.startswith(tuple(f"{scheme}://" for scheme in schemes)):
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


def _websocket_address(text: str) -> str:
    return _address(text, ("ws", "wss"))


def _http_address(text: str) -> str:
    return _address(text, ("http", "https"))


def _broker_address(text: str) -> str:
    if not text:
        return text
    return _address(text, ("redis", "rediss", "unix", "valkey", "valkeys"))


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

    Raises:
        ValueError: when it is not of that form.
    """
    match = re.fullmatch(r"(\d{1,6})([smhdw])", text.strip(), re.ASCII)
    if not text.strip():
        return 0
    if match is None:
        raise ValueError(f"{text!r} is not a length of time such as 90s, 30m, 12h, 7d or 2w")
    return int(match[1]) * _UNITS_MS[match[2]]


_UNITS_MS = {"s": SECOND_MS, "m": MINUTE_MS, "h": HOUR_MS, "d": DAY_MS, "w": 7 * DAY_MS}

SymbolPattern = Annotated[str, AfterValidator(_pattern)]
Duration = Annotated[str, AfterValidator(_duration)]
WebSocketAddress = Annotated[str, AfterValidator(_websocket_address)]
RestAddress = Annotated[str, AfterValidator(_http_address)]
Seconds = Annotated[float, Field(gt=0, le=86_400 * 366)]


class Section(BaseModel):
    """A table of the settings file: frozen, and without any key that is not named here."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class DataSettings(Section):
    """Where files live."""

    folder: Path = Field(Path("data"), description="folder of the dataset and of the embedded broker")


class BrokerSettings(Section):
    """The broker: an embedded Valkey, or any Redis 7.0 or Valkey 8 and above by URL."""

    url: Annotated[str, AfterValidator(_broker_address)] = Field(
        "", description="redis://, rediss:// or unix://; empty: the embedded Valkey in the data folder"
    )
    username: str = Field("", description="user name, where the URL names none")
    password: SecretStr = Field(SecretStr(""), description="password, where the URL names none; never logged")
    prefix: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]{1,64}$")] = Field(
        "candlewick", description="first part of every key"
    )
    retention_days: Annotated[float, Field(gt=0)] = Field(
        7.0, description="days that entries stay in a stream for replay after they were written"
    )
    timeout_seconds: Seconds = Field(5.0, description="longest wait for one answer")


class ExchangeSettings(Section):
    """Where the exchange is and how its connections are kept."""

    simulator: Annotated[str, AfterValidator(lambda text: text and _http_address(text))] = Field(
        "", description="address of `candlewick simulate`; takes the place of all addresses below"
    )
    spot_websocket: WebSocketAddress = Field(Market.SPOT.facts.websocket, description="base address, spot")
    usdt_futures_websocket: WebSocketAddress = Field(
        Market.USDT_FUTURES.facts.websocket, description="base address, USDT-margined futures"
    )
    coin_futures_websocket: WebSocketAddress = Field(
        Market.COIN_FUTURES.facts.websocket, description="base address, coin-margined futures"
    )
    spot_rest: RestAddress = Field(Market.SPOT.facts.rest, description="base address of REST, spot")
    usdt_futures_rest: RestAddress = Field(
        Market.USDT_FUTURES.facts.rest, description="base address of REST, USDT-margined futures"
    )
    coin_futures_rest: RestAddress = Field(
        Market.COIN_FUTURES.facts.rest, description="base address of REST, coin-margined futures"
    )
    rest_timeout_seconds: Seconds = Field(10.0, description="longest wait for the answer to a REST request")
    weight_share: Annotated[float, Field(gt=0, le=0.9)] = Field(
        0.5, description="part of the exchange's request weight a minute that this host uses"
    )
    weight_folder: str = Field(
        "", description="folder where this host's processes share their weight; empty: among the temporary files"
    )
    symbols_seconds: Seconds = Field(300.0, description="how often the list of symbols is read again")
    channels_per_connection: Annotated[int, Field(ge=1, le=MAX_CHANNELS_PER_CONNECTION)] = Field(
        200, description="most channels on one connection; the exchange allows 1024, clients keep to 200"
    )
    open_timeout_seconds: Seconds = Field(10.0, description="longest wait for a connection")
    acknowledge_timeout_seconds: Seconds = Field(10.0, description="longest wait for the answer to SUBSCRIBE")
    silence_timeout_seconds: Seconds = Field(60.0, description="a connection without a kline for so long is replaced")
    lifetime_hours: Annotated[float, Field(gt=0, le=24)] = Field(
        23.5, description="a connection is replaced at this age; the exchange closes it at 24 hours"
    )
    retry_most_seconds: Seconds = Field(30.0, description="longest pause between connection attempts")

    def websocket(self, market: Market) -> str:
        """Base address of a market's WebSocket, without ``/ws`` or ``/stream``."""
        if self.simulator:
            address = f"ws{self.simulator.removeprefix('http')}/{market}"
            return f"{address}/market" if market is Market.USDT_FUTURES else address
        return str(getattr(self, f"{market}_websocket"))

    def rest(self, market: Market) -> str:
        """Base address of a market's REST calls, without the path's prefix."""
        return f"{self.simulator}/{market}" if self.simulator else str(getattr(self, f"{market}_rest"))


class RepairSettings(Section):
    """How what did not come over the WebSocket is fetched over REST."""

    grace_seconds: Annotated[float, Field(ge=0, le=86_400)] = Field(
        5.0, description="exchange time after a candle's end from which it counts as missing"
    )
    quiet_seconds: Annotated[float, Field(ge=0, le=86_400)] = Field(
        600.0,
        description="exchange time up to which candles of a series that rarely trades are collected for one request",
    )
    requests_at_once: Annotated[int, Field(ge=1, le=64)] = Field(4, description="most REST requests under way")


class PublisherSettings(Section):
    """How a producer hands candles to the broker."""

    buffer_candles: Annotated[int, Field(ge=1)] = Field(
        100_000,
        description="candles held while the broker is away; beyond it new ones are refused and logged",
    )
    batch_candles: Annotated[int, Field(ge=1, le=10_000)] = Field(500, description="most candles in one pipeline")
    drain_seconds: Seconds = Field(4.0, description="how long a stopping producer tries to hand over what it holds")


class WriterSettings(Section):
    """How the writer turns entries into files."""

    group: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]{1,64}$")] = Field(
        "writers", description="consumer group that the writers share"
    )
    flush_seconds: Annotated[float, Field(ge=0.05, le=3600)] = Field(
        0.5, description="pause from the first waiting candle to its flush, when there is little to do"
    )
    flush_most_seconds: Annotated[float, Field(ge=0.05, le=3600)] = Field(
        30.0, description="the pause stretches with the cost of a flush, up to this"
    )
    batch_candles: Annotated[int, Field(ge=1)] = Field(50_000, description="a flush begins at so many candles")
    claim_seconds: Seconds = Field(60.0, description="entries idle for so long are taken over from another writer")
    tries: Annotated[int, Field(ge=1, le=1000)] = Field(
        5, description="how often an entry may end the writer, or fail by a fault of ours, before it is a dead letter"
    )
    threads: Annotated[int, Field(ge=1, le=64)] = Field(2, description="partitions written at the same time")
    cache_mb: Annotated[int, Field(ge=0)] = Field(256, description="most memory for partitions kept between flushes")
    lock_timeout_seconds: Seconds = Field(
        0.25, description="longest wait for another writer's lock on a series before the others go on"
    )
    log_candles: Annotated[int, Field(ge=0)] = Field(
        20, description="a flush of more candles logs one summary instead of a line a candle"
    )


class LogSettings(Section):
    """What is logged."""

    level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field("INFO", description="lowest level that is shown")


class RecordGroup(Section):
    """Symbols of one market, each recorded at each of the intervals.

    Attributes:
        market: which.
        symbols: names, or patterns with ``*`` and ``?`` that are matched against the exchange's own list.
        intervals: at which each of them is recorded.
        exclude: names and patterns that the patterns among ``symbols`` leave out; ``except`` in the file.
        contracts: which futures contracts the patterns take; a name is taken whatever its contract.
        history: how far back a first start reaches; None: as far as the settings' own ``history``.
    """

    market: Market
    symbols: Annotated[tuple[SymbolPattern, ...], Field(min_length=1)]
    intervals: Annotated[tuple[Interval, ...], Field(min_length=1)]
    exclude: Annotated[tuple[SymbolPattern, ...], Field(alias="except")] = ()
    contracts: Annotated[tuple[Literal["perpetual", "dated"], ...], Field(min_length=1)] = ("perpetual", "dated")
    history: Duration | None = None


DEFAULT_RECORD = (
    RecordGroup(market=Market.USDT_FUTURES, symbols=("BTCUSDT", "ETHUSDT"), intervals=(Interval.M1,)),
    RecordGroup(market=Market.COIN_FUTURES, symbols=("BTCUSD_PERP", "ETHUSD_PERP"), intervals=(Interval.M3,)),
    RecordGroup(market=Market.SPOT, symbols=("BTCUSDT", "BNBUSDT"), intervals=(Interval.M1,)),
)


def without_secrets(url: str) -> str:
    """A broker's URL without user, password and options."""
    if not url:
        return url
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
