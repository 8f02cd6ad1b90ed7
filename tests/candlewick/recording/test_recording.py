"""One object for everything that was recorded: stream and store joined, many series, in the form that one asked for."""

import threading
import warnings
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

import candlewick
from candlewick.recording.recording import Recording
from consumer.storage.layout import candles_key
from shared.candle import Series
from shared.errors import CandlewickError, SourceError
from shared.interval import Interval
from shared.market import Market
from shared.settings.load import load_settings
from tests.support.candles import BTC, JUNE_30, MINUTE
from tests.support.recorded import Recorded, absent, began, minutes

ETH = Series(Market.USDT_FUTURES, "ETHUSDT", Interval.M1)
SPOT = Series(Market.SPOT, "BTCUSDT", Interval.M1)


def opens(frame: pd.DataFrame) -> list[int]:
    begins = frame["candle_begin_time"].astype("int64").tolist()
    return [(begin - JUNE_30) // MINUTE for begin in begins]


def test_a_candle_is_there_once_wherever_it_is(recorded: Recorded, recording: Recording) -> None:
    recorded.store(minutes(5))
    recorded.publish(minutes(3, first=4))
    assert opens(recording.read("usdt_futures", "BTCUSDT", "1m")) == list(range(7)), "not read yet"
    pending = recorded.read_group()
    recorded.publish(minutes(1, first=7))
    assert opens(recording.read("usdt_futures", "BTCUSDT", "1m")) == list(range(8)), "pending, and unread"
    recorded.store(minutes(3, first=4))
    assert opens(recording.read("usdt_futures", "BTCUSDT", "1m")) == list(range(8)), "stored, not acknowledged"
    recorded.acknowledge(pending)
    assert opens(recording.read("usdt_futures", "BTCUSDT", "1m")) == list(range(8)), "acknowledged"
    assert opens(recording.read("usdt_futures", "BTCUSDT", "1m", stored_only=True)) == list(range(7))
    recorded.empty_broker()
    assert opens(recording.read("usdt_futures", "BTCUSDT", "1m")) == list(range(7)), "the broker lost one"
    recorded.publish(minutes(2, first=7))
    assert opens(recording.read("usdt_futures", "BTCUSDT", "1m")) == list(range(9)), "and has it again"


def test_of_two_that_differ_the_one_is_read_that_will_be_stored(recorded: Recorded, recording: Recording) -> None:
    recorded.store(minutes(3, trades=100))
    recorded.publish([*minutes(1, first=1, trades=99), *minutes(1, first=2, trades=101)])
    assert recording.read("usdt_futures", "BTCUSDT", "1m")["trade_num"].tolist() == [100, 100, 101]
    assert recording.read("usdt_futures", "BTCUSDT", "1m", columns="trade_num", tail=2)["trade_num"].tolist() == [
        100,
        101,
    ]


def test_a_series_of_which_nothing_is_stored_is_read_too(recorded: Recorded, recording: Recording) -> None:
    recorded.store(minutes(1, series=SPOT))
    recorded.publish(minutes(2, series=ETH))
    assert opens(recording.read("usdt_futures", "ETHUSDT", "1m")) == [0, 1]
    assert recording.series(symbols="ETH*")["rows"].tolist() == [2]


def test_one_symbol_is_a_frame_of_its_own_and_several_are_long(recorded: Recorded, recording: Recording) -> None:
    recorded.store([*minutes(3), *minutes(3, series=ETH), *minutes(2, series=SPOT)])
    one = recording.read("usdt_futures", "BTCUSDT", "1m")
    assert next(iter(one.columns)) == "candle_begin_time"
    assert "symbol" not in one
    assert one.index.name == "candle_end_time"
    assert one.index.is_unique
    pattern = recording.read("usdt_futures", "*USDT", "1m", columns=["close", "volume"])
    assert list(pattern.columns) == ["symbol", "candle_begin_time", "close", "volume"]
    assert pattern["symbol"].tolist() == ["BTCUSDT"] * 3 + ["ETHUSDT"] * 3
    every = recording.read(None, None, "1m", tail=1)
    assert list(zip(every["market"], every["symbol"], strict=True)) == [
        ("spot", "BTCUSDT"),
        ("usdt_futures", "BTCUSDT"),
        ("usdt_futures", "ETHUSDT"),
    ]
    both = recording.read(["usdt_futures", "spot"], ["BTCUSDT"], "1m", start="2024-06-30T00:01")
    assert opens(both) == [1, 1, 2]
    assert both["market"].tolist() == ["spot", "usdt_futures", "usdt_futures"]


def test_wide_has_a_column_a_symbol_and_no_value_where_there_is_no_candle(
    recorded: Recorded, recording: Recording
) -> None:
    recorded.store([*minutes(3), *minutes(2, first=2, series=ETH)])
    wide = recording.read("usdt_futures", "*", "1m", wide=True)
    assert list(wide.columns) == ["BTCUSDT", "ETHUSDT"]
    assert wide["ETHUSDT"].isna().tolist() == [True, True, False, False]
    assert wide["BTCUSDT"].tolist()[:3] == [61606.5, 61607.5, 61608.5]
    with pytest.raises(CandlewickError, match="wide shows one column, not 2"):
        recording.read("usdt_futures", "*", "1m", wide=True, columns=["open", "close"])


@pytest.mark.parametrize("engine", ["pandas", "polars", "arrow", "duckdb"])
def test_every_engine_has_the_same_rows(recorded: Recorded, recording: Recording, engine: Any) -> None:
    recorded.store([*minutes(3), *minutes(2, series=ETH)])
    recorded.publish(minutes(1, first=3))
    found = recording.read("usdt_futures", "*", "1m", engine=engine)
    match found:
        case pd.DataFrame():
            closes = found["close"].tolist()
        case pl.DataFrame():
            closes = found["close"].to_list()
        case pa.Table():
            closes = found.column("close").to_pylist()
        case duckdb.DuckDBPyRelation():
            closes = [row[0] for row in found.project("close").fetchall()]
    assert closes == [61606.5, 61607.5, 61608.5, 61609.5, 61606.5, 61607.5]


def test_resampled_candles_leave_out_what_is_not_complete_or_mark_it(recorded: Recorded, recording: Recording) -> None:
    recorded.store([began(at=2), *minutes(20, first=2), absent(22), *minutes(30, first=23)])
    recorded.publish(minutes(4, first=53))
    made = recording.read("usdt_futures", "BTCUSDT", "1m", resample="15m")
    assert opens(made) == [15, 30], "the first lacks two minutes, the last has not ended"
    marked = recording.read("usdt_futures", "BTCUSDT", "1m", resample="15m", incomplete="mark")
    assert marked["complete"].tolist() == [False, True, True, False]
    assert marked["volume"].tolist() == [217.23, 233.94, 250.65, 200.52]
    moved = recording.read("usdt_futures", "BTCUSDT", "1m", resample="15m", offset="5min", columns="close")
    assert opens(moved) == [5, 20, 35]
    assert list(moved.columns) == ["candle_begin_time", "close"]
    assert opens(recording.read("usdt_futures", "BTCUSDT", "1m", resample="15m", tail=1)) == [30]
    assert opens(recording.read("usdt_futures", "BTCUSDT", "1m", "2024-06-30T00:16", resample="15m")) == [30]


def test_gaps_tell_what_is_missing_from_what_is_absent(recorded: Recorded, recording: Recording) -> None:
    recorded.store([began(), *minutes(10), absent(12), *minutes(2, first=13), *minutes(30, series=ETH)])
    recorded.publish([*minutes(1, first=10), *minutes(1, first=16)])
    found = recording.gaps("usdt_futures", "BTCUSDT", "1m")
    kinds = [((row.begin.value // 10**6 - JUNE_30) // MINUTE, row.candles, row.kind) for row in found.itertuples()]
    assert kinds == [(11, 1, "missing"), (12, 1, "absent"), (15, 1, "missing"), (17, 2, "missing"), (19, 11, "due")]
    assert found["reason"].tolist()[1] == "the exchange was asked and does not have it"


def test_series_tell_what_is_there_of_each(recorded: Recorded, recording: Recording) -> None:
    recorded.store([began(), *minutes(10), absent(10), *minutes(2, first=11)])
    recorded.publish(minutes(1, first=13))
    (row,) = recording.series().to_dict("records")
    assert row | {"first": row["first"].isoformat(), "last": row["last"].isoformat()} == {
        "market": "usdt_futures",
        "symbol": "BTCUSDT",
        "interval": "1m",
        "first": "2024-06-30T00:00:00+00:00",
        "last": "2024-06-30T00:14:00+00:00",
        "rows": 13,
        "absent": 1,
        "missing": 0,
        "source": "binance",
        "state": "recorded",
    }
    (recorded.folder.data / candles_key(BTC) / "2024-06-30.parquet").write_bytes(b"PAR1 no more")
    assert "2024-06-30.parquet cannot be read" in recording.series()["state"].item()


def test_without_a_broker_it_says_that_it_reads_stored_candles_only(recorded: Recorded, refused_port: int) -> None:
    recorded.store(minutes(3))
    with candlewick.open(recorded.folder.data, f"redis://127.0.0.1:{refused_port}") as recording:
        with pytest.warns(candlewick.StoredOnlyWarning, match="does not answer .* stored candles only"):
            assert opens(recording.read("usdt_futures", "BTCUSDT", "1m")) == [0, 1, 2]
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            recording.read("usdt_futures", "BTCUSDT", "1m")  # once is enough
        assert "stored candles only" in repr(recording)
    with candlewick.open(recorded.folder.data, "") as recording:
        assert (
            repr(recording) == f"<Recording {recorded.folder.data}: 1 series (1 of usdt_futures); stored candles only>"
        )


def test_the_settings_broker_is_not_taken_for_that_of_another_folder(recorded: Recorded, tmp_path: Path) -> None:
    recorded.publish(minutes(3))
    (tmp_path / "candlewick.toml").write_text(f'[broker]\nurl = "{recorded.settings.broker.url}"\n')
    assert load_settings().broker.url
    assert candlewick.open(tmp_path / "other").settings.broker.url == ""
    assert candlewick.open(tmp_path / "data").settings.broker.url == recorded.settings.broker.url


def test_a_broker_with_candles_of_another_exchange_is_refused(recorded: Recorded, recording: Recording) -> None:
    recorded.store(minutes(1))
    recorded.say_source("simulated http://127.0.0.1:1")
    with pytest.raises(SourceError, match="this is another recording's broker"):
        recording.read("usdt_futures", "BTCUSDT", "1m")
    assert len(recording.read("usdt_futures", "BTCUSDT", "1m", stored_only=True)) == 1


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"market": "forex"}, "market 'forex' is not known"),
        ({"symbols": "BTCUSTD"}, "usdt_futures BTCUSTD-1m was never recorded"),
        ({"symbols": ["BTCUSTD"]}, "BTCUSTD 1m was never recorded .* did you mean BTCUSDT"),
        ({"symbols": "b t c"}, "symbol 'B T C' is not allowed"),
        ({"columns": "vwap"}, "column 'vwap' is not known: open, high"),
        ({"engine": "excel"}, "engine 'excel' is not known: pandas, polars"),
        ({"resample": "5m", "offset": "7min"}, "an offset is shorter than 5m"),
        ({"resample": "5min"}, "interval '5min' is not known"),
        ({"offset": "5min"}, "an offset needs resample"),
        ({"incomplete": "no", "resample": "5m"}, "incomplete 'no' is not known: drop, mark, keep"),
        ({"tail": 0}, "tail 0 is not a number of candles"),
        ({"start": "2024-07-01", "end": "2024-06-01"}, "end .* is not after start"),
        ({"start": "yesterday"}, "start 'yesterday' is not a time"),
    ],
)
def test_a_question_that_makes_no_sense_is_named(
    recorded: Recorded, recording: Recording, arguments: dict[str, Any], text: str
) -> None:
    recorded.store(minutes(3))
    given = {"market": "usdt_futures", "symbols": "BTCUSDT", "interval": "1m"} | arguments
    with pytest.raises(CandlewickError, match=text):
        recording.read(**given)


def test_what_nobody_stores_is_forgotten_when_it_is_trimmed(recorded: Recorded, recording: Recording) -> None:
    recorded.publish(minutes(20))
    assert len(recording.read("usdt_futures", "BTCUSDT", "1m")) == 20
    recorded.trim_to_the_last()
    assert opens(recording.read("usdt_futures", "BTCUSDT", "1m")) == [19]


def test_blocks_are_what_read_gives_whole(recorded: Recorded, recording: Recording) -> None:
    recorded.store([*minutes(3000), *minutes(100, series=ETH)])
    recorded.publish(minutes(2, first=3000))
    blocks = [table for _, table in recording.blocks("usdt_futures", "*", "1m")]
    assert len(blocks) > 4
    whole = pa.concat_tables(blocks).unify_dictionaries()
    assert whole.to_pylist() == recording.read("usdt_futures", "*", "1m", engine="arrow").to_pylist()
    parts = [table for _, table in recording.blocks("usdt_futures", "*", "1m", resample="1h")]
    made = recording.read("usdt_futures", "*", "1m", resample="1h", engine="arrow")
    assert pa.concat_tables(parts).to_pylist() == made.to_pylist()


def test_readers_never_see_a_candle_twice_or_not_at_all_while_it_is_stored(
    recorded: Recorded, recording: Recording
) -> None:
    """A writer stores and acknowledges as fast as it can; every read has all that was published before it."""
    recorded.publish(minutes(1))
    published, wrong, is_over = [1], list[list[int]](), threading.Event()

    def read() -> None:
        while not is_over.is_set():
            before = published[0]
            found = opens(recording.read("usdt_futures", "BTCUSDT", "1m", columns="close"))
            if found != list(range(len(found))) or len(found) < before:
                wrong.append(found)

    readers = [threading.Thread(target=read) for _ in range(2)]
    for reader in readers:
        reader.start()
    for at in range(1, 70):
        recorded.publish(minutes(1, first=at))
        published[0] = at + 1
        ids = recorded.read_group()
        recorded.store(minutes(at + 1 - max(0, at - 3), first=max(0, at - 3)))
        recorded.acknowledge(ids)
    is_over.set()
    for reader in readers:
        reader.join(30)
    assert not wrong


def test_gaps_of_a_range_are_those_of_all_that_lie_in_it(recorded: Recorded, recording: Recording) -> None:
    day = 1440
    recorded.store([*minutes(3, 100), *minutes(5, day), *minutes(2, day + 8), absent(day + 12), *minutes(9, 3 * day)])
    every = recording.gaps("usdt_futures", "BTCUSDT", "1m")
    for start in ("2024-07-01", "2024-07-01T00:06", "2024-07-02", "2024-07-03T00:04"):
        found = recording.gaps("usdt_futures", "BTCUSDT", "1m", start)
        from_then = every[every["end"] > pd.Timestamp(start, tz="UTC")]
        assert found["end"].tolist() == from_then["end"].tolist(), start
        begins = from_then["begin"].clip(lower=pd.Timestamp(start, tz="UTC"))
        assert found["begin"].tolist() == begins.tolist(), start
