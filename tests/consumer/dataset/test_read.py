"""Reading what was recorded, through our own API."""

from pathlib import Path

import pandas as pd
import pytest

import candlewick
from consumer.dataset.dataset import Dataset
from consumer.dataset.figures import series_figures
from consumer.storage.layout import series_folder
from shared.errors import CandlewickError
from tests.support.candles import BTC, JUNE_30, MINUTE, make_candle
from tests.support.stores import DataFolder


@pytest.fixture
def data(tmp_path: Path) -> Path:
    store = DataFolder(tmp_path / "data")
    store.write(BTC, [make_candle(open_time_ms=JUNE_30 + at * MINUTE) for at in (*range(5), *range(1440, 1445))])
    store.close()
    return tmp_path / "data"


def test_our_frame_is_what_pandas_reads_from_the_folder(data: Path) -> None:
    theirs = pd.read_parquet(data / "candles" / series_folder(BTC))
    pd.testing.assert_frame_equal(candlewick.read_candles("usdt_futures", "BTCUSDT", "1m", data=data), theirs)


@pytest.mark.parametrize(
    ("start", "end", "rows"),
    [
        (None, None, 10),
        ("2024-06-30T00:02", None, 8),
        (None, "2024-06-30T00:02", 2),
        ("2024-06-30T00:02", "2024-07-01", 3),
        ("2024-07-01 02:00+02:00", None, 5),
        ("2025-01-01", None, 0),
    ],
)
def test_a_span_includes_its_start_and_not_its_end(data: Path, start: str, end: str, rows: int) -> None:
    frame = candlewick.read_candles("usdt_futures", "btcusdt", "1m", start, end, data=data)
    assert len(frame) == rows
    assert frame.index.name == "candle_end_time"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("sport", "BTCUSDT", "1m"), "market 'sport' is not known: spot, usdt_futures, coin_futures"),
        (("spot", "../x", "1m"), "is not allowed"),
        (("spot", "BTCUSDT", "7m"), "interval '7m' is not known: 1s, 1m"),
        (("spot", "BTCUSDT", "1m"), "spot BTCUSDT-1m was never recorded"),
        (("usdt_futures", "BTCUSDT", "1m", "yesterday"), "start 'yesterday' is not a time of the form"),
    ],
)
def test_a_mistake_is_a_clear_error(data: Path, arguments: tuple[str, ...], message: str) -> None:
    with pytest.raises(CandlewickError, match=message):
        candlewick.read_candles(*arguments, data=data)  # type: ignore[misc] # four at the most


def test_the_overview_counts_what_is_there(data: Path) -> None:
    dataset = Dataset.in_folder(data)
    (one,) = (series_figures(dataset, series) for series in dataset.series())
    assert (one.series, one.files, one.rows) == (BTC, 2, 10)
    assert one.newest_end_ms == JUNE_30 + 1445 * MINUTE
    assert one.size > 0
    assert Dataset.in_folder(data / "nothing").series() == []
