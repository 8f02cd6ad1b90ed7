"""Exports, read back as the tools that they are for read them.

freqtrade and Nautilus themselves are heavy, and not installed here: their formats are checked.
"""

from pathlib import Path

import pandas as pd
import pyarrow.feather
import pytest

from candlewick.recording.layouts import freqtrade_name
from candlewick.recording.recording import Recording
from shared.candle import Series
from shared.errors import CandlewickError
from shared.interval import DAY_MS, Interval
from shared.market import Market
from tests.support.candles import JUNE_30, MINUTE
from tests.support.commands import Run
from tests.support.recorded import Recorded, minutes

SPOT = Series(Market.SPOT, "BTCUSDT", Interval.M1)
DAYS = 3 * DAY_MS // MINUTE


@pytest.fixture
def exported(recorded: Recorded, recording: Recording) -> pd.DataFrame:
    """What is recorded: two months' days of one series, and the newest candle only in the stream."""
    recorded.store([*minutes(20, series=SPOT), *minutes(20, first=DAYS, series=SPOT)])
    recorded.publish(minutes(1, first=DAYS + 20, series=SPOT))
    frame: pd.DataFrame = recording.read("spot", "BTCUSDT", "1m")
    return frame


def test_single_files_are_frames_as_one_process_recorders_keep_them(
    exported: pd.DataFrame, recording: Recording, tmp_path: Path
) -> None:
    for _ in range(2):
        (done,) = recording.export(tmp_path / "out", layout="single")
        assert (done.rows, done.error, done.of) == (41, "", 1)
    (file,) = (tmp_path / "out").iterdir()
    assert file.name == "spot_BTCUSDT_1m.pqt"
    frame = pd.read_parquet(file)
    assert frame.index.name is None
    pd.testing.assert_frame_equal(frame, exported, check_names=False)


def test_freqtrade_has_feather_files_with_the_open_time(
    exported: pd.DataFrame, recording: Recording, tmp_path: Path
) -> None:
    (done,) = recording.export(tmp_path / "binance", "spot", "BTC*", "1m", "2024-07-01", layout="freqtrade")
    assert done.rows == 21
    frame = pyarrow.feather.read_feather(tmp_path / "binance" / "BTC_USDT-1m.feather")
    assert list(frame) == ["date", "open", "high", "low", "close", "volume"]
    assert frame["date"].tolist() == exported["candle_begin_time"].tolist()[20:]
    assert frame["close"].tolist() == exported["close"].tolist()[20:]


@pytest.mark.parametrize(
    ("series", "name"),
    [
        (("spot", "1000SATSFDUSD", "1s"), "1000SATS_FDUSD-1s.feather"),
        (("spot", "ETHBTC", "1M"), "ETH_BTC-1Mo.feather"),
        (("usdt_futures", "BTCUSDT", "1h"), "futures/BTC_USDT_USDT-1h-futures.feather"),
        (("usdt_futures", "BTCUSDT_261225", "1m"), "futures/BTC_USDT_USDT-261225-1m-futures.feather"),
        (("coin_futures", "BTCUSD_PERP", "1m"), "futures/BTC_USD_BTC-1m-futures.feather"),
        (("coin_futures", "BNBUSD_PERP", "1m"), "futures/BNB_USD_BNB-1m-futures.feather"),
        (("spot", "ADAEUR", "1m"), "ADA_EUR-1m.feather"),
        (("spot", "BTCAEUR", "1m"), "BTC_AEUR-1m.feather"),
        (("coin_futures", "BTCUSD_261225", "1m"), "futures/BTC_USD_BTC-261225-1m-futures.feather"),
    ],
)
def test_freqtrade_names_files_by_base_and_quote(series: tuple[str, str, str], name: str) -> None:
    market, symbol, interval = series
    assert freqtrade_name(Series(Market(market), symbol, Interval(interval))) == name


def test_hive_has_a_month_a_file(exported: pd.DataFrame, recording: Recording, tmp_path: Path) -> None:
    (done,) = recording.export(tmp_path / "out")
    assert done.rows == 41
    folder = tmp_path / "out" / "market=spot" / "interval=1m" / "symbol=BTCUSDT"
    assert sorted(path.name for path in folder.iterdir()) == ["2024-06.parquet", "2024-07.parquet"]
    pd.testing.assert_frame_equal(pd.read_parquet(folder), exported, check_index_type=False)


def test_what_cannot_be_exported_is_named_and_bars_no_other(
    recorded: Recorded, recording: Recording, environment: dict[str, str], candlewick: Run
) -> None:
    recorded.store([*minutes(2), *minutes(2, series=Series(Market.SPOT, "ODD", Interval.M1))])
    done = candlewick("export", "out", "--layout", "freqtrade", **environment)
    assert (done.returncode, done.stdout) == (1, "2 candles of 1 series in out\n")
    assert done.stderr == "not exported: spot ODD-1m: which part of ODD is the quote asset is not known\n"
    (nautilus, _) = recording.export("out", layout="nautilus")
    assert nautilus.error == "layout nautilus needs nautilus_trader: pip install nautilus_trader"
    with pytest.raises(CandlewickError, match="layout 'excel' is not known: single, freqtrade"):
        recording.export("out", layout="excel")
    assert list(recording.export("out", "spot", start=f"{pd.Timestamp(JUNE_30 + DAY_MS, unit='ms'):%Y-%m-%d}")) != []
