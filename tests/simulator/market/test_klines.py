"""Synthetic and recorded klines."""

import gzip
import zipfile
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.candle import Series, checked_candle
from shared.errors import SettingsError
from shared.interval import Interval
from shared.market import Market
from simulator.market.holes import is_hole
from simulator.market.klines import Kline, SyntheticSource, so_far
from simulator.market.recorded import RecordedSource, read_archive
from tests.support.candles import BTC, JUNE_30, MINUTE

NO_SYMBOLS: dict[Market, Sequence[str]] = dict.fromkeys(Market, ())


def synthetic(seed: int = 1, end_ms: int | None = None) -> SyntheticSource:
    return SyntheticSource(seed, NO_SYMBOLS, end_ms)


@given(
    st.sampled_from(list(Market)),
    st.sampled_from(["BTCUSDT", "DOGEUSDT", "币安人生USDT"]),
    st.sampled_from(list(Interval)),
    st.integers(10**12, 2 * 10**12),
)
def test_a_synthetic_kline_is_plausible_and_always_the_same(
    market: Market, symbol: str, interval: Interval, time_ms: int
) -> None:
    series, opens = Series(market, symbol, interval), interval.floor(time_ms)
    kline = synthetic().kline(series, opens)
    assert kline is not None
    assert kline == synthetic().kline(series, opens)
    assert float(kline.low) <= min(float(kline.open), float(kline.close))
    assert float(kline.high) >= max(float(kline.open), float(kline.close))
    assert float(kline.low) > 0
    assert 0 <= float(kline.taker_volume) <= float(kline.volume)
    assert (kline.trades == 0) == (float(kline.volume) == 0)
    assert kline.close_time_ms == interval.end(opens) - 1


def test_another_seed_is_another_market() -> None:
    assert synthetic(1).kline(BTC, JUNE_30) != synthetic(2).kline(BTC, JUNE_30)


def test_neighbours_join_and_most_klines_differ() -> None:
    source = synthetic()
    klines = [source.kline(BTC, JUNE_30 + at * MINUTE) for at in range(100)]
    closes = [kline.close for kline in klines if kline]
    opens = [kline.open for kline in klines if kline]
    assert closes[:-1] == opens[1:]
    assert len(set(closes)) > 90


@pytest.mark.parametrize("interval", list(Interval))
def test_the_synthetic_market_ends_where_it_is_told_to(interval: Interval) -> None:
    series = BTC._replace(interval=interval)
    source = synthetic(end_ms=JUNE_30)
    opens = source.opens(series, JUNE_30 - 3 * interval.typical_ms, JUNE_30 + 3 * interval.typical_ms)
    assert opens
    assert all(interval.is_open_time(time_ms) and time_ms < JUNE_30 for time_ms in opens)
    assert source.next_open(series, JUNE_30) is None


def missing(source: SyntheticSource, series: Series = BTC, count: int = 3000) -> list[int]:
    opens = [JUNE_30 + at * series.interval.typical_ms for at in range(count)]
    return [time_ms for time_ms in opens if source.kline(series, time_ms) is None]


@pytest.mark.parametrize("rate", [0.01, 0.2, 0.9])
def test_so_many_klines_are_holes_as_was_asked_for_and_some_are_neighbours(rate: float) -> None:
    opens = range(JUNE_30, JUNE_30 + 50_000 * MINUTE, MINUTE)
    holes = [time_ms for time_ms in opens if is_hole(1, BTC, time_ms, rate)]
    assert len(holes) / len(opens) == pytest.approx(rate, rel=0.1)
    assert any(before + MINUTE == after for before, after in pairwise(holes))


def test_holes_are_the_same_each_time_and_others_with_another_seed_or_series() -> None:
    sources = [SyntheticSource(seed, NO_SYMBOLS, holes=0.01) for seed in (1, 1, 2)]
    first, again, other = map(missing, sources)
    assert first == again
    assert first != other
    assert first != missing(sources[0], BTC._replace(symbol="ETHUSDT"))
    assert first != missing(sources[0], BTC._replace(market=Market.SPOT))
    assert set(first) < set(missing(SyntheticSource(1, NO_SYMBOLS, holes=0.02))), "a higher rate keeps them"


@pytest.mark.parametrize("interval", list(Interval))
def test_the_next_kline_after_a_hole_is_the_next_that_there_is(interval: Interval) -> None:
    source, series = SyntheticSource(1, NO_SYMBOLS, holes=0.5), BTC._replace(interval=interval)
    opens = source.opens(series, JUNE_30, JUNE_30 + 50 * interval.typical_ms)
    there = [time_ms for time_ms in opens if source.kline(series, time_ms)]
    walked = [time_ms for time_ms in [source.next_open(series, JUNE_30)] if time_ms]
    while len(walked) < len(there):
        walked.append(source.next_open(series, walked[-1] + 1) or 0)
    assert walked == there


def test_holes_come_and_go_while_it_runs() -> None:
    source = synthetic()
    whole = source.kline(BTC, JUNE_30)
    source.set_holes(0.5)
    assert missing(source, count=100) == missing(SyntheticSource(1, NO_SYMBOLS, holes=0.5), count=100) != []
    source.set_holes(0.0)
    assert source.kline(BTC, JUNE_30) == whole
    assert not missing(source, count=100)


ROW = "1577836800000,7195.24,7196.25,7183.14,7186.68,51.64,1577836859999,371233.5,493,19.59,140888.4,0\n"
HEADER = (
    "open_time,open,high,low,close,volume,close_time,quote_volume,count,taker_buy_volume,taker_buy_quote_volume,"
    "ignore\n"
)
KLINE = Kline(
    1577836800000,
    "7195.24",
    "7196.25",
    "7183.14",
    "7186.68",
    "51.64",
    1577836859999,
    "371233.5",
    493,
    "19.59",
    "140888.4",
)


def as_zip(path: Path, text: str) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("inner.csv", text)


@pytest.mark.parametrize(
    ("ending", "write"),
    [
        ("csv", lambda path, text: path.write_text(text)),
        ("csv.gz", lambda path, text: path.write_bytes(gzip.compress(text.encode()))),
        ("zip", as_zip),
    ],
)
@pytest.mark.parametrize(
    "text", [ROW, HEADER + ROW, ROW.replace("00000,", "00000000,", 1).replace("859999", "859999000")]
)
def test_archive_files_of_every_kind_are_read(
    tmp_path: Path, ending: str, write: Callable[[Path, str], None], text: str
) -> None:
    """With or without a header line, in milliseconds or microseconds."""
    folder = tmp_path / "spot"
    folder.mkdir()
    write(folder / f"BTCUSDT-1m-2020-01-01.{ending}", text)
    source = RecordedSource(tmp_path)
    series = Series(Market.SPOT, "BTCUSDT", Interval.M1)
    assert source.series == (series,)
    assert source.kline(series, KLINE.open_time_ms) == KLINE
    assert source.first_ms == KLINE.open_time_ms
    assert source.next_open(series, KLINE.open_time_ms + 1) is None


@pytest.mark.parametrize("content", [b"\xff\xfe", b"1577836800000,1\n", b"1577836800000,a,b,c,d,e,f,g,h,i,j,k\n"])
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "BTCUSDT-1m-2020.csv"
    path.write_bytes(content)
    with pytest.raises(SettingsError, match=r"BTCUSDT-1m-2020\.csv cannot be read as archived klines"):
        list(read_archive(path))


def test_a_folder_without_klines_says_how_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="holds no klines: files are named MARKET/SYMBOL-INTERVAL-"):
        RecordedSource(tmp_path)


def test_the_real_archive_is_read_whole(real_data: Path) -> None:
    source = RecordedSource(real_data / "klines")
    minutes = Series(Market.SPOT, "BTCUSDT", Interval.M1)
    assert len(source.opens(minutes, 0, 10**14)) == 3 * 1440
    assert len(source.series) == 7


@given(st.integers(0, MINUTE))
def test_an_open_kline_is_on_its_way_to_what_it_will_be(elapsed: int) -> None:
    whole = synthetic().kline(BTC, JUNE_30)
    assert whole is not None
    part = so_far(whole, JUNE_30 + elapsed, JUNE_30 + MINUTE)
    assert part.open == whole.open
    assert float(part.volume) <= float(whole.volume)
    assert part.trades <= whole.trades
    assert float(part.low) <= float(part.close) <= float(part.high)
    values = (part.open, part.high, part.low, part.close, part.volume, part.quote_volume, part.taker_volume)
    assert checked_candle(
        BTC,
        JUNE_30,
        (*values, part.taker_quote_volume),
        part.trades,
        source="websocket",
        event_time_ms=JUNE_30,
        receive_time_ms=0,
    )
