"""Candlewick records every closed kline of Binance's markets, once, into Parquet. This is its Python API.

rec = candlewick.open()
rec.series()                                             # what there is
rec.read("usdt_futures", "BTCUSDT", "1m", tail=5)        # the newest candle among them
"""

from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from shared.errors import CandlewickError

if TYPE_CHECKING:
    import pandas as pd

    from candlewick.recording.access import StoredOnlyWarning
    from candlewick.recording.recording import Recording

__all__ = ["CandlewickError", "Recording", "StoredOnlyWarning", "__version__", "open", "read_candles"]
__version__ = "0.1.0"

_LAZY = {"Recording": "candlewick.recording.recording", "StoredOnlyWarning": "candlewick.recording.access"}


def __getattr__(name: str) -> Any:
    """Types that are imported when somebody asks for them: the command line's help is quick without."""
    if name in _LAZY:
        from importlib import import_module

        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'candlewick' has no attribute {name!r}")


def open(  # noqa: A001 # candlewick.open reads well, and nobody imports it bare
    data: str | Path | None = None, broker: str | None = None, config: str | Path | None = None
) -> "Recording":
    """The recording of a data folder and its broker: one object that is asked for everything.

    Reading joins what is stored with what is published and not stored yet, so the newest candle is there. Without a
    broker only what is stored is read, and a ``StoredOnlyWarning`` says so.

    Example:
        >>> rec = candlewick.open()
        >>> rec.read("usdt_futures", "*USDT", "1m", start="2024-06-30", columns="close", wide=True)

    Args:
        data: data folder; by default the one in the settings.
        broker: URL of its broker; by default the one in the settings, or the embedded one in the data folder. An empty
            text: none.
        config: settings file; ``candlewick.toml`` by default.

    Raises:
        CandlewickError: when the settings cannot be read.
    """
    from candlewick.recording.opening import recording_settings
    from candlewick.recording.recording import Recording

    return Recording(recording_settings(data, broker, config), stored_only=broker == "")  # None: ask


def read_candles(
    market: str,
    symbol: str,
    interval: str,
    start: datetime | date | str | None = None,
    end: datetime | date | str | None = None,
    data: str | Path | None = None,
) -> "pd.DataFrame":
    """Recorded candles of one series as a pandas frame: a short form of ``open(data).read(…)``.

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
    with open(data) as recording:
        frame: pd.DataFrame = recording.read(market, symbol, interval, start, end, stored_only=True)
        return frame
