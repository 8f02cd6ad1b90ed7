"""Every setting, read once, validated whole, frozen.

Sources, the first that names a value wins: command-line flags, environment (``CANDLEWICK_`` + section + ``_`` +
key, as in ``CANDLEWICK_BROKER_URL``; ``CANDLEWICK_RECORD`` takes JSON), the settings file (TOML), the defaults
below. A mistake anywhere is one ``SettingsError`` that names the key and what is allowed.
"""

import os
import tomllib
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, ValidationError, model_validator
from pydantic_settings import (
    BaseSettings,
    InitSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from shared.candle import Series, checked_symbol
from shared.errors import MalformedCandleError, SettingsError
from shared.interval import Interval
from shared.market import MAX_CHANNELS_PER_CONNECTION, Market

DEFAULT_FILE = Path("candlewick.toml")
ENV_PREFIX = "CANDLEWICK_"
CONFIG_ENV = "CANDLEWICK_CONFIG"


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


Symbol = Annotated[str, AfterValidator(_symbol)]
WebSocketAddress = Annotated[str, AfterValidator(_websocket_address)]
Seconds = Annotated[float, Field(gt=0, le=86_400 * 366)]


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class DataSettings(_Section):
    """Where files live."""

    folder: Path = Field(Path("data"), description="folder of the dataset and of the embedded broker")


class BrokerSettings(_Section):
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


class ExchangeSettings(_Section):
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


class PublisherSettings(_Section):
    """How a producer hands candles to the broker."""

    buffer_candles: Annotated[int, Field(ge=1)] = Field(
        100_000,
        description="candles held while the broker is away; beyond it new ones are refused and logged",
    )
    batch_candles: Annotated[int, Field(ge=1, le=10_000)] = Field(500, description="most candles in one pipeline")
    drain_seconds: Seconds = Field(4.0, description="how long a stopping producer tries to hand over what it holds")


class WriterSettings(_Section):
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
    threads: Annotated[int, Field(ge=1, le=64)] = Field(2, description="partitions written at the same time")
    cache_mb: Annotated[int, Field(ge=0)] = Field(256, description="most memory for partitions kept between flushes")
    lock_timeout_seconds: Seconds = Field(
        0.25, description="longest wait for another writer's lock on a series before the others go on"
    )
    log_candles: Annotated[int, Field(ge=0)] = Field(
        20, description="a flush of more candles logs one summary instead of a line a candle"
    )


class LogSettings(_Section):
    """What is logged."""

    level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field("INFO", description="lowest level that is shown")


class RecordGroup(_Section):
    """Symbols of one market, each recorded at each of the intervals."""

    market: Market
    symbols: Annotated[tuple[Symbol, ...], Field(min_length=1)]
    intervals: Annotated[tuple[Interval, ...], Field(min_length=1)]


DEFAULT_RECORD = (
    RecordGroup(market=Market.USDT_FUTURES, symbols=("BTCUSDT", "ETHUSDT"), intervals=(Interval.M1,)),
    RecordGroup(market=Market.COIN_FUTURES, symbols=("BTCUSD_PERP", "ETHUSD_PERP"), intervals=(Interval.M3,)),
    RecordGroup(market=Market.SPOT, symbols=("BTCUSDT", "BNBUSDT"), intervals=(Interval.M1,)),
)


class Settings(BaseSettings):
    """All settings of all processes. Build it with ``load_settings``."""

    model_config = SettingsConfigDict(
        frozen=True,
        extra="forbid",
        env_prefix=ENV_PREFIX,
        env_nested_delimiter="_",
        env_nested_max_split=1,
        env_ignore_empty=True,
    )

    record: tuple[RecordGroup, ...] = Field(DEFAULT_RECORD, description="what is recorded")
    data: DataSettings = DataSettings()
    broker: BrokerSettings = BrokerSettings()
    exchange: ExchangeSettings = ExchangeSettings()
    publisher: PublisherSettings = PublisherSettings()
    writer: WriterSettings = WriterSettings()
    log: LogSettings = LogSettings()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003 # the signature is pydantic-settings' own
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Flags first, then environment, then the file (see ``load_settings``)."""
        flags = init_settings.init_kwargs if isinstance(init_settings, InitSettingsSource) else {}
        file = flags.pop("_file", {})
        return init_settings, env_settings, InitSettingsSource(settings_cls, init_kwargs=file)

    @model_validator(mode="after")
    def _times_fit_each_other(self) -> Self:
        if self.writer.flush_most_seconds < self.writer.flush_seconds:
            raise ValueError("writer.flush_most_seconds: must not be below writer.flush_seconds")
        if self.writer.claim_seconds <= self.writer.flush_most_seconds:
            raise ValueError("writer.claim_seconds: must be above writer.flush_most_seconds, or writers rob each other")
        return self

    def check_record(self) -> Self:
        """These settings, if every interval is offered by its market.

        Apart from the rest, because it depends on which exchange is recorded from, and whoever only reads what was
        recorded need not say that again.

        Raises:
            SettingsError: naming the group and what its market offers.
        """
        for number, group in enumerate(self.record):
            for interval in group.intervals:
                if interval not in self.intervals(group.market):
                    raise SettingsError(
                        f"record.{number}.intervals: {interval} is spot's alone, {group.market} has "
                        f"{', '.join(self.intervals(group.market))}"
                    )
        return self

    def intervals(self, market: Market) -> tuple[Interval, ...]:
        """Intervals that the market offers; the simulator offers every interval everywhere."""
        if market is Market.SPOT or self.exchange.simulator:
            return tuple(Interval)
        return tuple(interval for interval in Interval if interval is not Interval.S1)

    def series(self, market: Market) -> tuple[Series, ...]:
        """The market's series in the order they were named, each once."""
        return tuple(
            dict.fromkeys(
                Series(market, symbol, interval)
                for group in self.record
                if group.market is market
                for symbol in group.symbols
                for interval in group.intervals
            )
        )

    @property
    def candles_folder(self) -> Path:
        """Root of the dataset: finished Parquet files and nothing else."""
        return self.data.folder / "candles"

    @property
    def staging_folder(self) -> Path:
        """Files being written, on the same filesystem as the dataset."""
        return self.data.folder / "staging"


def load_settings(
    file: Path | None = None,
    flags: Mapping[str, Any] | None = None,
) -> Settings:
    """The settings in force.

    Args:
        file: settings file; by default what ``CANDLEWICK_CONFIG`` names, else ``candlewick.toml`` in the working
            folder if there is one.
        flags: nested values from the command line, such as ``{"broker": {"url": "redis://…"}}``.

    Raises:
        SettingsError: one line that names the source, the key and what is allowed.
    """
    if file is None and os.environ.get(CONFIG_ENV):
        file = Path(os.environ[CONFIG_ENV])
    from_file = _read_toml(file or DEFAULT_FILE, must_exist=file is not None)
    _refuse_unknown_variables()
    try:
        return Settings(**{**(flags or {}), "_file": from_file})
    except ValidationError as error:
        raise SettingsError("; ".join(_describe(error))) from None
    except ValueError as error:  # pydantic-settings, for a variable that should hold JSON
        raise SettingsError(f"environment: {error} (lists and tables are given as JSON)") from None


def variables() -> Iterable[str]:
    """Names of all environment variables that are settings."""
    for name, field in Settings.model_fields.items():
        section = field.annotation
        if isinstance(section, type) and issubclass(section, _Section):
            yield from (f"{ENV_PREFIX}{name}_{key}".upper() for key in section.model_fields)
        else:
            yield f"{ENV_PREFIX}{name}".upper()


def describe(settings: Settings) -> Iterable[tuple[str, str, str]]:
    """Every setting as its environment variable, its value and what it means. Secrets are not shown."""
    for name, field in Settings.model_fields.items():
        section = getattr(settings, name)
        if isinstance(section, _Section):
            for key, inner in type(section).model_fields.items():
                value = getattr(section, key)
                shown = without_secrets(str(value)) if key == "url" else str(value)
                yield f"{ENV_PREFIX}{name}_{key}".upper(), shown, inner.description or ""
        else:
            yield f"{ENV_PREFIX}{name}".upper(), f"{len(section)} groups", field.description or ""


def without_secrets(url: str) -> str:
    """A broker's URL without user, password and options."""
    if not url:
        return url
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def _read_toml(file: Path, *, must_exist: bool) -> dict[str, Any]:
    try:
        with file.open("rb") as stream:
            return tomllib.load(stream)
    except FileNotFoundError:
        if must_exist:
            raise SettingsError(f"settings file {file} does not exist") from None
        return {}
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise SettingsError(f"settings file {file} cannot be read: {error}") from None


def _refuse_unknown_variables() -> None:
    known = {*variables(), CONFIG_ENV}
    unknown = sorted(name for name in os.environ if name.startswith(ENV_PREFIX) and name not in known)
    if unknown:
        short = {name.removeprefix(ENV_PREFIX): name for name in known}
        near = get_close_matches(unknown[0].removeprefix(ENV_PREFIX), short, n=1, cutoff=0.45)
        hint = f"did you mean {short[near[0]]}?" if near else "`candlewick settings` lists those that are"
        raise SettingsError(f"environment variable {unknown[0]} is not a setting; {hint}")


def _describe(error: ValidationError) -> Iterable[str]:
    details = error.errors(include_url=False)
    for detail in details:
        if any(detail["loc"] == other["loc"][: len(detail["loc"])] for other in details if other is not detail):
            continue  # a list is called too short when all its members were refused: they say it better
        key = ".".join(str(part) for part in detail["loc"])
        text = detail["msg"].removeprefix("Value error, ").replace("Input should be", "must be")
        if detail["type"] == "missing":
            yield f"{key}: is missing"
        elif detail["type"] == "too_short":
            yield f"{key}: must name at least one"
        elif key == "record":
            yield "record: must be groups, each under [[record]] with market, symbols and intervals"
        elif detail["type"] == "tuple_type":
            yield f'{key}: must be a list, such as ["BTCUSDT"]'
        elif detail["type"] == "extra_forbidden":
            yield f"{key}: there is no such setting{_near(detail['loc'])}"
        elif not key:
            yield text
        elif key.startswith("broker"):
            yield f"{key}: {text}"  # the value may hold a password
        else:
            yield f"{key}: {detail['input']!r:.80} is not allowed, {text}"


def _near(location: tuple[int | str, ...]) -> str:
    section: Any = Settings
    for part in location[:-1]:
        if isinstance(part, int):
            section = RecordGroup
        elif part in section.model_fields and part != "record":
            section = section.model_fields[part].annotation
    return f", allowed are {', '.join(section.model_fields)}"
