"""Every setting: its key, type, default, range and meaning.

Each description stands in docs/settings.md and in ``candlewick settings`` word for word.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, model_validator

from shared.interval import Interval
from shared.market import MAX_CHANNELS_PER_CONNECTION, Market
from shared.settings.types import (
    BrokerAddress,
    Duration,
    OptionalRestAddress,
    ProxyAddress,
    RestAddresses,
    Seconds,
    StoreAddress,
    SymbolPattern,
    Umask,
    WebSocketAddresses,
    split_addresses,
)
from shared.source import simulated, source_of


class Section(BaseModel):
    """A table of the settings file: frozen, and without any key that is not named here, or was formerly."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    former: ClassVar[Mapping[str, str]] = {}  # former names of keys, each with today's

    @model_validator(mode="before")
    @classmethod
    def _take_former_names(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        for former, key in cls.former.items():
            if former in values and key in values:
                raise ValueError(f"{former} is the former name of {key}: only one of them may be given")
        return {cls.former.get(key, key): value for key, value in values.items()}


class DataSettings(Section):
    """Where files live."""

    folder: Path = Field(Path("data"), description="folder of the dataset and of the embedded broker")
    store: StoreAddress = Field(
        "", description="s3://, gs:// or az:// URL of an object store for the candles; empty: the folder"
    )
    store_flush_seconds: Annotated[float, Field(ge=1, le=86_400)] = Field(
        900.0, description="pause between flushes to an object store, where each costs a request; reads join the stream"
    )
    file_umask: Umask = Field(
        "", description="umask of what is stored: 027 lets the group read, 077 nobody else; empty: the process's own"
    )


class BrokerSettings(Section):
    """The broker: an embedded Valkey, or any Redis 7.0 or Valkey 8 and above by URL."""

    url: BrokerAddress = Field(
        "",
        description="redis://, rediss://, unix://, sentinel://HOST,HOST/NAME or cluster://HOST,HOST; "
        "empty: the embedded Valkey in the data folder",
    )
    username: str = Field("", description="user name, where the URL names none")
    password: SecretStr = Field(SecretStr(""), description="password, where the URL names none; never logged")
    sentinel_username: str = Field("", description="user name of the Sentinels themselves, where they ask for one")
    sentinel_password: SecretStr = Field(SecretStr(""), description="their password; never logged")
    prefix: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]{1,64}$")] = Field(
        "candlewick", description="first part of every key"
    )
    retention_days: Annotated[float, Field(gt=0)] = Field(
        7.0, description="days that entries stay in a stream for replay, by when they were received"
    )
    retention_entries: Annotated[int, Field(ge=0)] = Field(
        10_000_000,
        description="entries of a market that stay at most, 250 bytes each; older ones go once they are stored",
    )
    timeout_seconds: Seconds = Field(5.0, description="longest wait for one answer")
    replicas: Annotated[int, Field(ge=0, le=100)] = Field(
        0, description="replicas that should have what was published, asked by WAIT for a second; fewer are a trouble"
    )


class ExchangeSettings(Section):
    """Where the exchange is and how its connections are kept."""

    former: ClassVar[Mapping[str, str]] = {"retry_most_seconds": "retry_max_seconds"}

    simulator: OptionalRestAddress = Field(
        "", description="address of `candlewick simulate`; takes the place of all addresses below"
    )
    spot_websocket: WebSocketAddresses = Field(
        ", ".join(Market.SPOT.facts.websocket), description="base addresses, spot; each gives way to the next"
    )
    usdt_futures_websocket: WebSocketAddresses = Field(
        ", ".join(Market.USDT_FUTURES.facts.websocket), description="base addresses, USDT-margined futures"
    )
    coin_futures_websocket: WebSocketAddresses = Field(
        ", ".join(Market.COIN_FUTURES.facts.websocket), description="base addresses, coin-margined futures"
    )
    spot_rest: RestAddresses = Field(
        ", ".join(Market.SPOT.facts.rest), description="base addresses of REST, spot; each gives way to the next"
    )
    usdt_futures_rest: RestAddresses = Field(
        ", ".join(Market.USDT_FUTURES.facts.rest), description="base addresses of REST, USDT-margined futures"
    )
    coin_futures_rest: RestAddresses = Field(
        ", ".join(Market.COIN_FUTURES.facts.rest), description="base addresses of REST, coin-margined futures"
    )
    proxy: ProxyAddress = Field(
        "",
        description="proxy to the exchange: http://, https://, socks5:// or socks5h://; `direct`: none; "
        "empty: what HTTPS_PROXY, ALL_PROXY and NO_PROXY say",
    )
    mix_sources: bool = Field(
        False, description="record although the store or the broker has candles of another exchange"
    )
    rest_timeout_seconds: Seconds = Field(10.0, description="longest wait for the answer to a REST request")
    weight_share: Annotated[float, Field(gt=0, le=0.9)] = Field(
        0.5, description="part of the exchange's request weight a minute that this host, or all of `address`, may use"
    )
    address: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]{0,64}$")] = Field(
        "", description="a name for the public address of hosts that share one: they share its weight, in the broker"
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
    retry_max_seconds: Seconds = Field(30.0, description="longest pause between connection attempts")

    def websocket(self, market: Market) -> tuple[str, ...]:
        """Base addresses of a market's WebSocket, best first, without ``/ws`` or ``/stream``."""
        if self.simulator:
            address = f"ws{self.simulator.removeprefix('http')}/{market}"
            return (f"{address}/market" if market is Market.USDT_FUTURES else address,)
        return split_addresses(getattr(self, f"{market}_websocket"))

    def rest(self, market: Market) -> tuple[str, ...]:
        """Base addresses of a market's REST calls, best first, without the path's prefix."""
        if self.simulator:
            return (f"{self.simulator}/{market}",)
        return split_addresses(getattr(self, f"{market}_rest"))

    def source(self, market: Market) -> str:
        """Which exchange a market's candles come from."""
        return simulated(self.simulator) if self.simulator else source_of((*self.rest(market), *self.websocket(market)))


class SharingSettings(Section):
    """How several producers of one market share its series."""

    redundancy: Annotated[int, Field(ge=1, le=10)] = Field(
        1, description="how many producers record each series, on different hosts where there are"
    )
    lost_seconds: Annotated[float, Field(ge=2, le=600)] = Field(
        5.0, description="a producer that has said nothing in the broker for so long is taken for dead by the others"
    )
    host: Annotated[str, Field(pattern=r"^[^\s]{0,100}$")] = Field(
        "", description="name of this machine, for `redundancy`; empty: its own"
    )


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

    @property
    def due_ms(self) -> int:
        """How long after its end a candle may still be on its way, in ms: beyond it nobody brings it any more."""
        return int((self.grace_seconds + self.quiet_seconds) * 1000)


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

    former: ClassVar[Mapping[str, str]] = {"flush_most_seconds": "flush_max_seconds"}

    group: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]{1,64}$")] = Field(
        "writers", description="consumer group that the writers share"
    )
    flush_seconds: Annotated[float, Field(ge=0.05, le=3600)] = Field(
        0.2, description="pause from a series' first waiting candle to its flush, when there is little to do"
    )
    flush_max_seconds: Annotated[float, Field(ge=0.05, le=3600)] = Field(
        30.0, description="longest rest after a busy time; it rests for as long as it took to write each series once"
    )
    batch_candles: Annotated[int, Field(ge=1)] = Field(50_000, description="a flush begins at so many candles")
    claim_seconds: Seconds = Field(60.0, description="entries idle for so long are taken over from another writer")
    tries: Annotated[int, Field(ge=1, le=1000)] = Field(
        5,
        description="how often an entry may fail by an internal error, or end the writer, before it is tried alone",
    )
    threads: Annotated[int, Field(ge=1, le=64)] = Field(2, description="partitions written at the same time")
    cache_mb: Annotated[int, Field(ge=0)] = Field(256, description="most memory for partitions kept between flushes")
    lock_timeout_seconds: Seconds = Field(
        0.25, description="longest wait for another writer's lock on a series before the others go on"
    )
    compact: bool = Field(
        False, description="join the small files of months that are over by itself; read docs/decisions.md before"
    )
    log_candles: Annotated[int, Field(ge=0)] = Field(
        20, description="a flush of more candles logs one summary instead of a line a candle"
    )


class LogSettings(Section):
    """What is logged."""

    level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field("INFO", description="lowest level that is shown")
    format: Literal["text", "json"] = Field("text", description="lines for people, or a JSON object a line")


class MetricsSettings(Section):
    """Where each process says how it does: ``/metrics``, ``/healthz`` and ``/readyz``."""

    host: str = Field("127.0.0.1", description="address to listen on")
    port: Annotated[int, Field(ge=0, le=65_000)] = Field(
        9750, description="of spot; usdt_futures, coin_futures and writer have the three that follow; 0: none"
    )

    def port_of(self, role: str) -> int:
        """The port of a market's producer, or of ``writer``; 0: none."""
        return self.port and self.port + [*Market, "writer"].index(role)


class DashboardSettings(Section):
    """The page that shows how the recording does, and its candles."""

    host: str = Field("127.0.0.1", description="address to listen on")
    port: Annotated[int, Field(ge=0, le=65_535)] = Field(9760, description="port to listen on; 0: any that is free")
    names: tuple[str, ...] = Field(
        (), description="further names under which a reverse proxy serves it; requests for any other are refused"
    )
    days: Annotated[int, Field(ge=1, le=366)] = Field(30, description="how many days each series' strip shows")

    @property
    def address(self) -> str:
        """Where a browser of this machine finds it."""
        host = "127.0.0.1" if self.host in ("0.0.0.0", "::", "") else self.host  # noqa: S104 # compared alone
        return f"http://[{host}]:{self.port}" if ":" in host else f"http://{host}:{self.port}"


class AlarmSettings(Section):
    """Who is told when something is not well, and when it is again."""

    urls: tuple[SecretStr, ...] = Field((), description="where to, as Apprise spells it, such as tgram://TOKEN/CHAT")
    look_seconds: Annotated[float, Field(ge=0.1, le=3600)] = Field(15.0, description="between two looks")
    lasting_seconds: Annotated[float, Field(ge=0, le=86_400)] = Field(
        60.0, description="how long something must have been so before it is told, and gone before its all-clear"
    )
    pause_seconds: Annotated[float, Field(ge=0, le=86_400)] = Field(
        60.0, description="shortest time between two messages; what happens meanwhile goes into the next one"
    )
    daily: Annotated[str, Field(pattern=r"^([01]\d|2[0-3]):[0-5]\d$|^$")] = Field(
        "", description="time of day in UTC, such as 08:00, of a message that all is well, or what is not; empty: none"
    )
    least_free_gb: Annotated[float, Field(ge=0)] = Field(
        5.0, description="room on the data folder's disk below which it is nearly full"
    )


class RecordGroup(Section):
    """Symbols of one market, each recorded at each of the intervals."""

    market: Market
    symbols: Annotated[tuple[SymbolPattern, ...], Field(min_length=1)]
    """Names, or patterns with ``*`` and ``?`` that are matched against the exchange's own list."""
    intervals: Annotated[tuple[Interval, ...], Field(min_length=1)]
    exclude: Annotated[tuple[SymbolPattern, ...], Field(alias="except")] = ()
    """Names and patterns that the patterns among ``symbols`` leave out."""
    contracts: Annotated[tuple[Literal["perpetual", "dated"], ...], Field(min_length=1)] = ("perpetual", "dated")
    """Which futures contracts the patterns take; a name is taken whatever its contract."""
    history: Duration | None = None
    """How far back a first start reaches; None: as far as the settings' own ``history``."""


DEFAULT_RECORD = (
    RecordGroup(market=Market.USDT_FUTURES, symbols=("BTCUSDT", "ETHUSDT"), intervals=(Interval.M1,)),
    RecordGroup(market=Market.COIN_FUTURES, symbols=("BTCUSD_PERP", "ETHUSD_PERP"), intervals=(Interval.M3,)),
    RecordGroup(market=Market.SPOT, symbols=("BTCUSDT", "BNBUSDT"), intervals=(Interval.M1,)),
)
