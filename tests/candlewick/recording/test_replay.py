"""Replay: in one order of close times, at a pace, with gaps, into programs, streams and Binance clients."""

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.sync.client import connect

from candlewick.recording.follow import FollowedCandle
from candlewick.recording.in_order import in_order
from candlewick.recording.recording import Recording
from candlewick.recording.replay import Gap, Pacer
from candlewick.recording.stream_sink import StreamSink
from consumer.dataset.dataset import Dataset
from shared.broker.client import sync_client
from shared.broker.keys import Keys
from shared.candle import Series
from shared.errors import CandlewickError
from shared.interval import HOUR_MS, Interval
from shared.market import Market
from shared.settings.model import Settings
from tests.support.candles import BTC, JUNE_30, MINUTE
from tests.support.commands import Run, Start
from tests.support.recorded import Recorded, absent, began, minutes
from tests.support.waiting import wait_until
from tests.support.writing import writing

ETH = Series(Market.USDT_FUTURES, "ETHUSDT", Interval.M1)
SPOT = Series(Market.SPOT, "BTCUSDT", Interval.M1)
HOUR = Series(Market.USDT_FUTURES, "BTCUSDT", Interval.H1)


def keys_of(items: Any) -> list[tuple[str, str, str, int]]:
    return [(one.market, one.symbol, one.interval, int(one.candle_begin_time.timestamp() * 1000)) for one in items]


def test_any_number_of_series_come_in_one_order_of_close_times(
    recorded: Recorded, recording: Recording, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorded.store([*minutes(130), *minutes(100, first=30, series=ETH), *minutes(60, first=10, series=SPOT)])
    recorded.store([candle for candle in minutes(121, series=HOUR) if candle.open_time_ms % HOUR_MS == 0])
    recorded.publish(minutes(2, first=130))
    expected = keys_of(recording.replay())
    assert len(expected) == 130 + 100 + 60 + 3 + 2
    times = [
        (start + (HOUR_MS if interval == "1h" else MINUTE), market, symbol)
        for market, symbol, interval, start in expected
    ]
    assert times == sorted(times)
    for most in (100, 250):
        sliced = partial(in_order, max_rows=most)
        monkeypatch.setattr("candlewick.recording.replay.in_order", sliced)
        assert keys_of(recording.replay()) == expected, "slices are not seen"
    part = recording.replay("usdt_futures", "BTC*", "1m", "2024-06-30T00:05", "2024-06-30T00:07")
    assert keys_of(part) == [("usdt_futures", "BTCUSDT", "1m", JUNE_30 + at * MINUTE) for at in (5, 6)]


def test_gaps_are_announced_before_the_candle_behind_them(recorded: Recorded, recording: Recording) -> None:
    recorded.store([began(), *minutes(2), absent(2), *minutes(1, first=5), *minutes(6, series=ETH)])
    items = list(recording.replay("usdt_futures", gaps=True))
    (at,) = [number for number, item in enumerate(items) if isinstance(item, Gap)]
    assert str(items[at]) == "gap: usdt_futures BTCUSDT-1m 2024-06-30T00:02:00 to 2024-06-30T00:05:00"
    after = items[at + 1]
    assert isinstance(after, FollowedCandle)
    assert after.symbol == "BTCUSDT"


class Hand:
    """A clock in the test's hand."""

    def __init__(self) -> None:
        self.now = 0.0

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def test_a_pace_is_kept_and_goes_on_from_where_it_was_after_a_stop() -> None:
    hand, due = Hand(), list[float]()
    pacer = Pacer(60, lambda: hand.now, hand.sleep)
    for minute in range(4):
        pacer.wait(minute * MINUTE)
        due.append(round(hand.now, 6))
    assert due == [0, 1, 2, 3]
    hand.now += 0.5
    pacer.wait(4 * MINUTE)
    assert round(hand.now, 6) == 4, "half a second is made up for"
    hand.now += 100
    pacer.wait(5 * MINUTE)
    assert round(hand.now, 6) == 104
    pacer.wait(6 * MINUTE)
    assert round(hand.now, 6) == 105, "what was slept through is not made up for"


def test_a_stream_has_the_live_form_so_a_writer_cannot_tell(
    recorded: Recorded,
    make_settings: Callable[..., Settings],
    environment: dict[str, str],
    candlewick: Run,
    prefix: str,
    tmp_path: Path,
) -> None:
    recorded.store([began(), *minutes(50), *minutes(40, first=5, series=SPOT)])
    recorded.publish(minutes(2, first=50))
    done = candlewick("replay", "--into", f"stream:{prefix}-again", "--speed", 100_000, **environment)
    assert (done.returncode, done.stderr) == (0, "92 candles replayed, 0 gaps\n")
    settings = make_settings(broker={"prefix": f"{prefix}-again"}, data={"folder": tmp_path / "again"})
    with writing(settings):
        wait_until(lambda: _count(settings, BTC) == 52 and _count(settings, SPOT) == 40, 30)
    copy = Dataset.in_folder(tmp_path / "again")
    for series in (BTC, SPOT):
        assert copy.rows(series, end_ms=JUNE_30 + 50 * MINUTE).values.tolist() == (
            recorded.folder.dataset.rows(series).values.tolist()
        )
    own = candlewick("replay", "--into", f"stream:{prefix}", **environment)
    assert (own.returncode, own.stderr) == (
        2,
        f"candlewick: stream:{prefix} is the recording's own: name another prefix\n",
    )


def test_a_stream_that_nobody_reads_holds_the_replay_up_and_not_the_broker(
    recorded: Recorded, recording: Recording, prefix: str
) -> None:
    client: Any = sync_client(recorded.settings)
    sink = StreamSink(client, f"{prefix}-again", prefix, max_entries=300)
    recorded.store([began(), *minutes(1000)])
    (candles,) = recording.replay().batches()
    stream, lengths, taken = Keys(f"{prefix}-again").candles(Market.USDT_FUTURES), list[int](), 0
    client.xgroup_create(stream, "readers", id="0", mkstream=True)

    def write() -> None:
        for at in range(0, 1000, 50):
            sink.write(candles[at : at + 50])

    with ThreadPoolExecutor(1) as thread:
        running = thread.submit(write)
        wait_until(lambda: client.xlen(stream) >= 300, 10)
        while taken < 1000:
            lengths.append(int(client.xlen(stream)))
            for _, entries in client.xreadgroup("readers", "one", {stream: ">"}, count=100, block=2000):
                client.xack(stream, "readers", *(number for number, _ in entries))
                taken += len(entries)
        running.result(10)
    assert 300 <= max(lengths) < 350
    client.close()


def _count(settings: Settings, series: Series) -> int:
    dataset = Dataset.in_folder(settings.data.folder)
    return sum(len(dataset.partition(part) or ()) for part in dataset.partitions(series))


def test_a_store_is_written_anew_from_streams_and_store(
    recorded: Recorded, environment: dict[str, str], candlewick: Run, tmp_path: Path
) -> None:
    recorded.store([began(), absent(3), *minutes(3), *minutes(2, series=ETH)])
    recorded.publish(minutes(4, first=2))
    arguments = ("replay", "usdt_futures", "BTC*", "--into", "parquet:again")
    for _ in range(2):
        done = candlewick(*arguments, **environment)
        text = "1 series into again/candles: 4 candles from 4 entries, 3 rows of the store\n"
        assert (done.returncode, done.stdout, done.stderr) == (0, text, "")
    copy = Dataset.in_folder(tmp_path / "again")
    assert copy.series() == [BTC]
    assert len(copy.rows(BTC)) == 6
    assert copy.metadata(BTC) == recorded.folder.dataset.metadata(BTC)


def test_a_binance_client_is_pointed_at_the_past(
    recorded: Recorded, environment: dict[str, str], start: Start, tmp_path: Path
) -> None:
    first = 700  # the day's file begins long before
    eth = Series(Market.SPOT, "ETHUSDT", Interval.M1)
    recorded.store([*minutes(30, first=first, series=SPOT), *minutes(30, first=first, series=eth)])
    output = tmp_path / "address"
    with output.open("w") as sink:
        start("replay", "spot", "--into", "ws:0", "--speed", 600, "--wait-for", 2, stdout=sink, **environment)
    wait_until(lambda: "http" in output.read_text(), 60)
    address = "http" + output.read_text().split("http")[1].strip()
    listed = httpx.get(f"{address}/spot/api/v3/exchangeInfo").json()["symbols"]
    assert [one["symbol"] for one in listed] == ["BTCUSDT", "ETHUSDT"]
    closed: list[tuple[str, int, str]] = []
    with connect(f"ws{address[4:]}/spot/stream?streams=btcusdt@kline_1m/ethusdt@kline_1m") as socket:
        while len(closed) < 60:
            kline = json.loads(socket.recv(timeout=30))["data"]["k"]
            if kline["x"]:
                closed.append((kline["s"], (kline["t"] - JUNE_30) // MINUTE, kline["c"]))
    each = range(first, first + 30)
    expected = [(name, at, f"{61606 + at % 10}.5") for at in each for name in ("BTCUSDT", "ETHUSDT")]
    assert sorted(closed) == sorted(expected)
    rows = httpx.get(f"{address}/spot/api/v3/klines?symbol=BTCUSDT&interval=1m&startTime={JUNE_30}&limit=5").json()
    assert [(row[0] - JUNE_30) // MINUTE for row in rows] == list(each)[:5]


def test_a_group_is_moved_back_and_its_writer_changes_no_file(
    recorded: Recorded, environment: dict[str, str], candlewick: Run
) -> None:
    recorded.publish(minutes(10))
    with writing(recorded.settings):
        wait_until(lambda: _count(recorded.settings, BTC) == 10, 30)
    (file,) = recorded.folder.data.rglob("2024-06-30.parquet")
    before = file.stat()
    arguments = ("replay", "--group", "writers", "--from", "2024-06-30T00:04")
    asked = candlewick(*arguments, "--dry-run", **environment)
    assert asked.returncode == 0
    assert asked.stdout.endswith("(the broker's clock): 6 entries read again\n")
    refused = candlewick(*arguments, **environment)
    assert (refused.returncode, refused.stderr) == (
        2,
        "candlewick: nothing was moved: --yes moves without a question\n",
    )
    assert candlewick(*arguments, "--yes", **environment).stdout.endswith("moved\n")
    assert recorded.unread() == 6
    with writing(recorded.settings):
        wait_until(lambda: recorded.unread() == 0, 30)
    assert recorded.pending() == 0
    assert (file.stat().st_ino, file.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ((), "name one of --into parquet:DIR, stream:PREFIX, stdout or ws:PORT and --group NAME"),
        (("--into", "ws:port"), "--into 'ws:port' is not one of parquet:DIR"),
        (("--into", "stdout", "--speed", "fast"), "speed 'fast' is neither a number above 0 nor max"),
        (("--into", "stdout", "--speed", "0"), "speed '0' is neither a number above 0 nor max"),
        (("usdt_futures", "BTC*", "--group", "x", "--from", "2024-06-30"), "--group takes MARKET and --from alone"),
        (("--group", "writers"), "--group needs --from TIME"),
        (("--group", "readers", "--from", "2024-06-30"), "no stream has a group 'readers'"),
    ],
)
def test_what_cannot_be_replayed_is_named(
    recorded: Recorded, environment: dict[str, str], candlewick: Run, arguments: tuple[str, ...], text: str
) -> None:
    recorded.store(minutes(1))
    done = candlewick("replay", *arguments, **environment)
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
    assert text in done.stderr


def test_a_stream_of_a_broker_that_is_away_is_one_line_beside_the_warning(
    recorded: Recorded, environment: dict[str, str], candlewick: Run, refused_port: int
) -> None:
    recorded.store(minutes(1))
    away = {"CANDLEWICK_BROKER_URL": f"redis://127.0.0.1:{refused_port}"}
    done = candlewick("replay", "--into", "stream:x", **environment | away)
    warning, line = done.stderr.splitlines()
    assert done.returncode == 2
    assert warning.endswith("stored candles only")
    assert line.startswith(f"candlewick: redis://127.0.0.1:{refused_port} does not answer")


def test_nothing_recorded_replays_nothing(recorded: Recorded, recording: Recording) -> None:
    recorded.store(minutes(1))
    assert list(recording.replay("usdt_futures", start="2025-01-01")) == []
    with pytest.raises(CandlewickError, match="spot was never recorded"):
        recording.replay("spot")
