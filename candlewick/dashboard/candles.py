"""A series' candles for the page, a piece at a time from the newest back, with what is not there."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import numpy as np

from candlewick.recording.listing import gap_table
from candlewick.recording.recording import Recording
from consumer.storage.table import TIME_COLUMN, numbers, times_ms
from shared.candle import Series
from shared.interval import utc
from shared.market import Market

_COLUMNS = ("open", "high", "low", "close", "volume")
_MAX_GAPS = 1000


def history(
    rec: Recording,
    series: Series,
    before_ms: int | None,
    count: int,
    market_times_ms: Mapping[Market, int] | None,
    *,
    stored_only: bool = False,
) -> dict[str, Any]:
    """The last ``count`` candles that open before a time, and the gaps among them and behind them.

    ``market_times_ms`` is as ``Recording.survey`` has it.

    ``candles``: rows of open time in UTC ms, open, high, low, close and volume, ascending. ``gaps``: the newest
    thousand ranges of open times, each with ``kind`` and ``reason`` as ``Recording.gaps`` has them. ``more``: whether
    there may be older candles. ``stored_only``: whether what is published and not stored yet was left out.

    Raises:
        CandlewickError: when the series was never recorded, or a file is damaged.
    """
    key, end = (str(series.market), series.symbol, str(series.interval)), None if before_ms is None else utc(before_ms)
    table = rec.read(*key, end=end, tail=count, columns=_COLUMNS, engine="arrow", stored_only=stored_only)
    times = times_ms(table, TIME_COLUMN)
    start = utc(int(times[0])) if len(times) == count else None
    gaps = gap_table(
        rec.survey(*key, start=start, end=end, times_ms=market_times_ms, stored_only=stored_only)
    ).to_pylist()
    rows = np.column_stack([times, *(numbers(table.column(name)) for name in _COLUMNS)])
    return {
        "candles": rows,
        "gaps": [
            {"begin": _ms(gap["begin"]), "end": _ms(gap["end"])}
            | {name: gap[name] for name in ("candles", "kind", "reason")}
            for gap in gaps[-_MAX_GAPS:]
        ],
        "more": len(times) == count,
        "stored_only": stored_only,
    }


def _ms(moment: datetime) -> int:
    return round(moment.timestamp() * 1000)
