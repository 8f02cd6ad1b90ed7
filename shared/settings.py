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
from typing import Any, Self

from pydantic import Field, ValidationError, model_validator
from pydantic_settings import (
    BaseSettings,
    InitSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from shared.candle import Series
from shared.errors import SettingsError
from shared.interval import Interval
from shared.market import Market
from shared.sections import (
    DEFAULT_RECORD,
    BrokerSettings,
    DataSettings,
    Duration,
    ExchangeSettings,
    LogSettings,
    PublisherSettings,
    RecordGroup,
    RepairSettings,
    Section,
    WriterSettings,
    duration_ms,
    is_pattern,
    without_secrets,
)

DEFAULT_FILE = Path("candlewick.toml")
ENV_PREFIX = "CANDLEWICK_"
CONFIG_ENV = "CANDLEWICK_CONFIG"


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
    history: Duration = Field("", description="how far back a first start reaches, such as 7d; empty: not at all")
    data: DataSettings = DataSettings()
    broker: BrokerSettings = BrokerSettings()
    exchange: ExchangeSettings = ExchangeSettings()
    repair: RepairSettings = RepairSettings()
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

    def groups(self, market: Market) -> tuple[RecordGroup, ...]:
        """What is recorded of a market."""
        return tuple(group for group in self.record if group.market is market)

    def history_ms(self, group: RecordGroup) -> int:
        """How far back a first start of a group reaches, in ms."""
        return duration_ms(self.history if group.history is None else group.history)

    def series(self, market: Market) -> tuple[Series, ...]:
        """The market's series that are named one by one, in their order, each once. Patterns are not among them."""
        return tuple(
            dict.fromkeys(
                Series(market, symbol, interval)
                for group in self.groups(market)
                for symbol in group.symbols
                if not is_pattern(symbol)
                for interval in group.intervals
            )
        )

    @property
    def candles_folder(self) -> Path:
        """Root of the dataset: finished Parquet files and nothing else."""
        return self.data.folder / "candles"

    @property
    def ledger_folder(self) -> Path:
        """What is known of the series besides their rows."""
        return self.data.folder / "ledger"

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
        if isinstance(section, type) and issubclass(section, Section):
            yield from (f"{ENV_PREFIX}{name}_{key}".upper() for key in section.model_fields)
        else:
            yield f"{ENV_PREFIX}{name}".upper()


def describe(settings: Settings) -> Iterable[tuple[str, str, str]]:
    """Every setting as its environment variable, its value and what it means. Secrets are not shown."""
    for name, field in Settings.model_fields.items():
        section = getattr(settings, name)
        if isinstance(section, Section):
            for key, inner in type(section).model_fields.items():
                value = getattr(section, key)
                shown = without_secrets(str(value)) if key == "url" else str(value)
                yield f"{ENV_PREFIX}{name}_{key}".upper(), shown, inner.description or ""
        else:
            shown = f"{len(section)} groups" if isinstance(section, tuple) else str(section)
            yield f"{ENV_PREFIX}{name}".upper(), shown, field.description or ""


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
    names = (field.alias or name for name, field in section.model_fields.items())
    return f", allowed are {', '.join(names)}"
