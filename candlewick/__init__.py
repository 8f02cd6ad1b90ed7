"""Candlewick records every closed kline of Binance's markets, once, into Parquet. This is its Python API."""

from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from shared.errors import CandlewickError

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["CandlewickError", "__version__", "read_candles"]
__version__ = "0.1.0"


def read_candles(
    market: str,
    symbol: str,
    interval: str,
    start: datetime | date | str | None = None,
    end: datetime | date | str | None = None,
    data: str | Path | None = None,
) -> "pd.DataFrame":
    """Recorded candles of one series as a pandas frame.

    The index is ``candle_end_time`` (UTC, ascending, unique); the columns are ``candle_begin_time`` (UTC) and, as
    float64, ``open high low close volume quote_volume trade_num taker_buy_base_asset_volume
    taker_buy_quote_asset_volume``.

    Example:
        >>> candlewick.read_candles("usdt_futures", "BTCUSDT", "1m", start="2024-06-30")

    Args:
        market: ``spot``, ``usdt_futures`` or ``coin_futures``.
        symbol: as the exchange lists it.
        interval: the exchange's spelling, such as ``1m``.
        start: first open time; without a zone it is UTC.
        end: open time to stop before.
        data: data folder; by default the one in the settings.

    Raises:
        CandlewickError: when the series was never recorded, an argument is not allowed or a file is damaged.
    """
    from consumer.dataset.dataset import Dataset
    from shared.arguments import milliseconds, parse_series, parse_time
    from shared.settings.load import load_settings

    dataset = Dataset.in_folder(load_settings().data.folder if data is None else Path(data))
    series = parse_series(market, symbol, interval)
    return dataset.frame(series, milliseconds(parse_time(start, "start")), milliseconds(parse_time(end, "end")))
