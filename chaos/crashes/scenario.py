"""What a crash trial writes: candles and facts of three series, fixed, so that every flush makes the same calls.

On disk beforehand is half an hour of two series, and the metadata of one. Published are candles of the first over
midnight (a partition that is replaced and one that is new), candles of the second that are partly stored already, the
first candles of a third, and a fact for metadata that is there and for metadata that is not.
"""

from collections.abc import Sequence

from consumer.storage.candle_store import CandleStore
from consumer.storage.durable import Staging, make_folders
from consumer.storage.kinds import open_storage
from consumer.storage.metadata import MetadataStore
from shared.candle import Candle, Series
from shared.interval import MINUTE_MS, Interval
from shared.market import Market
from shared.series_fact import FactKind, SeriesFact
from shared.settings.model import Settings

_MIDNIGHT = 1_719_792_000_000  # 2024-07-01 00:00 UTC
FIRST = Series(Market.COIN_FUTURES, "BTCUSD_PERP", Interval.M1)
"""The first of a flush, which goes by market, symbol and interval."""

_NEXT = Series(Market.COIN_FUTURES, "ETHUSD_PERP", Interval.M1)
_NEW = Series(Market.USDT_FUTURES, "BTCUSDT", Interval.M1)
SERIES = (FIRST, _NEXT, _NEW)


def _candle(series: Series, at: int) -> Candle:
    """The candle ``at`` minutes from midnight; no two are alike."""
    open_time = _MIDNIGHT + at * MINUTE_MS
    price = 1000 + SERIES.index(series) * 10_000 + at
    return Candle(
        series=series,
        open_time_ms=open_time,
        open=f"{price}.10",
        high=f"{price}.90",
        low=f"{price}.05",
        close=f"{price}.55",
        volume=f"{50 + at}.125",
        quote_volume=f"{price * 10}.001",
        trade_num=200 + at,
        taker_buy_base_asset_volume=f"{20 + at}.0625",
        taker_buy_quote_asset_volume=f"{price}.0005",
        source="websocket",
        event_time_ms=open_time + MINUTE_MS + 40,
        receive_time_ms=open_time + MINUTE_MS + 90,
    )


def history() -> list[Candle]:
    """What is on disk already: half an hour of two series."""
    return [_candle(series, at) for series in (FIRST, _NEXT) for at in range(-40, -10)]


def published() -> list[Candle]:
    """What the flush takes: one series over midnight, one that repeats what is stored, and one that is new."""
    return [
        *(_candle(FIRST, at) for at in range(-10, 3)),
        *(_candle(_NEXT, at) for at in range(-15, -5)),
        *(_candle(_NEW, at) for at in range(-3, -1)),
    ]


def facts_before() -> list[SeriesFact]:
    """What the metadata says already."""
    return [SeriesFact(FIRST, FactKind.BEGAN, _MIDNIGHT - 40 * MINUTE_MS, _MIDNIGHT - 40 * MINUTE_MS, _MIDNIGHT)]


def facts() -> list[SeriesFact]:
    """One for metadata that is there, one for metadata that is new."""
    absent = SeriesFact(FIRST, FactKind.ABSENT, _MIDNIGHT - 60 * MINUTE_MS, _MIDNIGHT - 50 * MINUTE_MS, _MIDNIGHT)
    began = SeriesFact(_NEW, FactKind.BEGAN, _MIDNIGHT - 3 * MINUTE_MS, _MIDNIGHT - 3 * MINUTE_MS, _MIDNIGHT)
    return [absent, began]


def store_history(settings: Settings, candles: Sequence[Candle]) -> None:
    """Put the history into the store of these settings, as an earlier writer left it."""
    make_folders(settings.candles_folder)
    staging = Staging(settings.staging_folder)
    storage = open_storage(settings, staging, lock_timeout_seconds=5)
    store = CandleStore(storage)
    for series in (FIRST, _NEXT):
        store.write(series, [candle for candle in candles if candle.series == series])
    for fact in facts_before():
        MetadataStore(storage).write(fact.series, [fact])
    staging.remove()
