"""Candles of the tests, and the day that they are of."""

from typing import Any

from shared.candle import Candle, Series
from shared.interval import Interval
from shared.market import Market

BTC = Series(Market.USDT_FUTURES, "BTCUSDT", Interval.M1)


MINUTE = 60_000


JUNE_30 = 1_719_705_600_000  # 2024-06-30 00:00 UTC


def make_candle(
    series: Series = BTC, open_time_ms: int = JUNE_30, close: str = "61624.90", trades: int = 418, **changes: Any
) -> Candle:
    """A plausible candle."""
    values: dict[str, Any] = {
        "series": series,
        "open_time_ms": open_time_ms,
        "open": "61607.90",
        "high": "61624.90",
        "low": "61605.30",
        "close": close,
        "volume": "16.710",
        "quote_volume": "1029521.00470",
        "trade_num": trades,
        "taker_buy_base_asset_volume": "12.571",
        "taker_buy_quote_asset_volume": "774523.56400",
        "source": "websocket",
        "event_time_ms": open_time_ms + MINUTE + 37,
        "receive_time_ms": open_time_ms + MINUTE + 99,
    }
    return Candle(**(values | changes))
