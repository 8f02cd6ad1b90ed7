"""All settings as one frozen value, and what follows from them."""

from pathlib import Path
from typing import Self

from pydantic import Field, model_validator
from pydantic_settings import BaseSettings, InitSettingsSource, PydanticBaseSettingsSource, SettingsConfigDict

from shared.candle import Series
from shared.errors import SettingsError
from shared.interval import Interval
from shared.market import Market
from shared.settings.sections import (
    DEFAULT_RECORD,
    AlarmSettings,
    BrokerSettings,
    DashboardSettings,
    DataSettings,
    ExchangeSettings,
    LogSettings,
    MetricsSettings,
    PublisherSettings,
    RecordGroup,
    RepairSettings,
    SharingSettings,
    WriterSettings,
)
from shared.settings.types import Duration, duration_ms, is_pattern

ENV_PREFIX = "CANDLEWICK_"


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
    sharing: SharingSettings = SharingSettings()
    repair: RepairSettings = RepairSettings()
    publisher: PublisherSettings = PublisherSettings()
    writer: WriterSettings = WriterSettings()
    log: LogSettings = LogSettings()
    metrics: MetricsSettings = MetricsSettings()
    alarm: AlarmSettings = AlarmSettings()
    dashboard: DashboardSettings = DashboardSettings()

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
        if self.writer.flush_max_seconds < self.writer.flush_seconds:
            raise ValueError("writer.flush_max_seconds: must not be below writer.flush_seconds")
        if self.writer.claim_seconds <= self.writer.flush_max_seconds:
            raise ValueError("writer.claim_seconds: must be above writer.flush_max_seconds, or writers rob each other")
        return self

    def check_record(self) -> Self:
        """These settings, if every interval is offered by its market; else SettingsError names the group.

        Apart from the rest, because it depends on which exchange is recorded from, and whoever only reads what was
        recorded need not say that again.
        """
        for number, group in enumerate(self.record):
            offered = self.intervals(group.market)
            wrong = [interval for interval in group.intervals if interval not in offered]
            if wrong:
                text = f"{wrong[0]} is spot's alone, {group.market} has {', '.join(offered)}"
                raise SettingsError(f"record.{number}.intervals: {text}")
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
        named = (
            Series(market, symbol, interval)
            for group in self.groups(market)
            for symbol in group.symbols
            if not is_pattern(symbol)
            for interval in group.intervals
        )
        return tuple(dict.fromkeys(named))

    @property
    def recorded(self) -> str:
        """What is recorded, in a line: ``6 series of spot, usdt_futures``, ``2 series and *USDC of spot``."""
        markets = [market for market in Market if self.groups(market)]
        named = sum(len(self.series(market)) for market in markets)
        patterns = dict.fromkeys(name for group in self.record for name in group.symbols if is_pattern(name))
        whats = [f"{named} series"] * bool(named or not patterns) + [f"'{name}'" for name in patterns]
        return f"{' and '.join(whats)} of {', '.join(markets)}"

    @property
    def writing(self) -> WriterSettings:
        """How the writer turns entries into files of the store that there is: an object store is written to seldom."""
        if not self.data.store:
            return self.writer
        seconds = self.data.store_flush_seconds
        claim_seconds = max(self.writer.claim_seconds, 2 * seconds)
        pace = {"flush_seconds": seconds, "flush_max_seconds": 1.5 * seconds, "claim_seconds": claim_seconds}
        return self.writer.model_copy(update=pace)

    @property
    def store_name(self) -> str:
        """Where candles are, for people: an object store's URL, or the data folder."""
        return self.data.store or str(self.data.folder)

    @property
    def dataset_name(self) -> str:
        """Where the dataset is, for people: an object store's URL, or the folder."""
        return self.data.store or str(self.candles_folder)

    @property
    def candles_folder(self) -> Path:
        """Root of the dataset: finished Parquet files and nothing else."""
        return self.data.folder / "candles"

    @property
    def staging_folder(self) -> Path:
        """Files being written, on the same filesystem as the dataset."""
        return self.data.folder / "staging"
