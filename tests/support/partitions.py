"""Candles written to partitions and read back as users do."""

from pathlib import Path

import pandas as pd

from consumer.storage.layout import series_folder
from shared.candle import Candle, Series
from tests.support.candles import BTC, JUNE_30, MINUTE, make_candle
from tests.support.stores import DataFolder


def candles(*minutes: int, series: Series = BTC, close: str = "5", trades: int = 1) -> list[Candle]:
    return [make_candle(series, JUNE_30 + at * MINUTE, close, trades) for at in minutes]


def open_store(folder: Path, lock_timeout_seconds: float = 5, cache_bytes: int = 2**20) -> DataFolder:
    return DataFolder(folder, lock_timeout_seconds, cache_bytes)


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def frame(store: DataFolder, series: Series = BTC) -> pd.DataFrame:
    return pd.read_parquet(store.root / series_folder(series))


def minutes(store: DataFolder, series: Series = BTC) -> list[int]:
    begins = frame(store, series)["candle_begin_time"]
    return [(int(begin.timestamp() * 1000) - JUNE_30) // MINUTE for begin in begins]
