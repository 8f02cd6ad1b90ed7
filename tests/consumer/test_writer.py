"""The writer process: from the streams to disk, through crashes of itself, the broker and the disk."""

import errno
import fcntl
import itertools
import logging
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import redis

import consumer.storage.store
import consumer.writer
from consumer.dataset.read import read_rows
from consumer.group.dead_letters import letters
from consumer.storage.layout import series_folder
from consumer.storage.metadata import Ledger
from consumer.storage.quarantine import Aside
from consumer.storage.table import rows_from_candles
from consumer.writer import Writer
from shared.broker.entry import encode_entry
from shared.broker.heartbeat import heartbeats
from shared.broker.keys import Keys
from shared.candle import Candle, Series
from shared.errors import BrokerError, StoreError
from shared.interval import Interval
from shared.market import Market
from shared.series_fact import Note, NoteKind
from shared.settings.load import load_settings
from shared.settings.model import Settings
from shared.spans import Spans
from tests.conftest import BTC, JUNE_30, MINUTE, make_candle, wait_until

ETH = Series(Market.USDT_FUTURES, "ETHUSDT", Interval.M1)
SPOT = Series(Market.SPOT, "BTCUSDT", Interval.M1)


def candles(count: int, series: Series = BTC, first: int = 0) -> list[Candle]:
    return [make_candle(series, JUNE_30 + at * MINUTE) for at in range(first, first + count)]


def publish(client: Any, keys: Keys, candles: list[Candle]) -> None:
    pipeline = client.pipeline(transaction=False)
    for candle in candles:
        pipeline.xadd(keys.candles(candle.series.market), encode_entry(candle))
    pipeline.execute()


@contextmanager
def writing(settings: Settings) -> Iterator[Writer]:
    writer = Writer(settings)
    failures: list[BaseException] = []

    def run() -> None:
        try:
            writer.run()
        except BaseException as error:  # noqa: BLE001 # handed to the test
            failures.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield writer
    finally:
        writer.stop()
        thread.join(30)
        assert not thread.is_alive()
    if failures:
        raise failures[0]


def stored(settings: Settings, series: Series = BTC) -> list[int]:
    if not (settings.candles_folder / series_folder(series)).is_dir():
        return []
    return [(int(time) - JUNE_30) // MINUTE for time in read_rows(settings.candles_folder, series).times]


def pending(client: Any, keys: Keys, market: Market = Market.USDT_FUTURES) -> int:
    try:
        return int(client.xpending(keys.candles(market), "writers")["pending"])
    except redis.ResponseError:
        return -1  # the group is not there yet


def test_what_is_published_is_on_disk_and_then_acknowledged(
    make_settings: Callable[..., Settings], client: Any, keys: Keys, caplog: pytest.LogCaptureFixture
) -> None:
    settings = make_settings()
    publish(client, keys, candles(3))
    with caplog.at_level(logging.INFO), writing(settings):
        wait_until(lambda: stored(settings) == [0, 1, 2])
        publish(client, keys, candles(2, SPOT))
        wait_until(lambda: stored(settings, SPOT) == [0, 1])
        wait_until(lambda: pending(client, keys) == 0)
    assert "Record usdt_futures BTCUSDT-1m at 2024-06-30 00:01:00+00:00" in caplog.text


def test_many_candles_are_one_line_in_the_log(
    make_settings: Callable[..., Settings], client: Any, keys: Keys, caplog: pytest.LogCaptureFixture
) -> None:
    settings = make_settings()
    publish(client, keys, candles(1500) + candles(1500, ETH))
    with caplog.at_level(logging.INFO), writing(settings):
        wait_until(lambda: len(stored(settings, ETH)) == 1500)
    assert "Record usdt_futures" not in caplog.text
    assert "candles of 2 series in" in caplog.text


def test_stopping_writes_what_was_published_before(
    make_settings: Callable[..., Settings], client: Any, keys: Keys
) -> None:
    settings = make_settings(writer={"flush_seconds": 30})
    with writing(settings):
        wait_until(lambda: client.exists(keys.candles(Market.USDT_FUTURES)) == 1)
        publish(client, keys, candles(50))
    assert stored(settings) == list(range(50))
    assert pending(client, keys) == 0


def test_the_broker_killed_and_started_again_loses_and_doubles_nothing(
    make_server: Callable[..., Any], make_settings: Callable[..., Settings], keys: Keys
) -> None:
    server = make_server()
    settings = make_settings(broker={"url": server.url}, writer={"flush_seconds": 0.05})
    client = redis.Redis.from_url(server.url)
    with writing(settings):
        for kill in range(3):
            publish(client, keys, candles(20, first=20 * kill))
            wait_until(lambda kill=kill: len(stored(settings)) >= 20 * kill + 1)  # type: ignore[misc]
            server.kill()
            server.start()
        wait_until(lambda: stored(settings) == list(range(60)))
        wait_until(lambda: pending(client, keys) == 0)
    client.close()


def environment_of(settings: Settings) -> dict[str, str]:
    return {
        "CANDLEWICK_BROKER_URL": settings.broker.url,
        "CANDLEWICK_BROKER_PREFIX": settings.broker.prefix,
        "CANDLEWICK_DATA_FOLDER": str(settings.data.folder),
        "CANDLEWICK_WRITER_FLUSH_SECONDS": "0.05",
        "CANDLEWICK_WRITER_FLUSH_MOST_SECONDS": "0.5",
        "CANDLEWICK_WRITER_CLAIM_SECONDS": "1",
    }


def start_process(settings: Settings) -> "subprocess.Popen[bytes]":
    command = [sys.executable, "-P", "-m", "candlewick", "write", "--log-level", "WARNING"]
    return subprocess.Popen(command, env=os.environ | environment_of(settings), start_new_session=True)


def test_killed_again_and_again_under_load_it_loses_and_doubles_nothing(
    make_settings: Callable[..., Settings], client: Any, keys: Keys
) -> None:
    settings = make_settings()
    total = 0
    for kill in range(4):
        writer = start_process(settings)
        for _ in range(10):
            publish(client, keys, candles(30, first=total))
            publish(client, keys, candles(30, ETH, first=total))
            total += 30
        wait_until(lambda kill=kill: len(stored(settings)) > 300 * kill)  # type: ignore[misc]
        writer.send_signal(signal.SIGKILL)
        writer.wait()
    writer = start_process(settings)
    wait_until(lambda: any(name.endswith(f"-{writer.pid}") for _, name in heartbeats(client, keys)))
    wait_until(lambda: stored(settings) == stored(settings, ETH) == list(range(total)))
    wait_until(lambda: pending(client, keys) == 0)
    writer.terminate()
    assert writer.wait(15) == 0
    assert [path for path in settings.staging_folder.rglob("*") if path.is_file()] == []


def test_two_writers_share_the_load_and_one_that_is_stopped_is_taken_over(
    make_settings: Callable[..., Settings], client: Any, keys: Keys
) -> None:
    """The stopped one holds entries and no lock: it was between two reads."""
    settings = make_settings()
    writers = [start_process(settings), start_process(settings)]
    try:
        wait_until(lambda: len(heartbeats(client, keys)) == 2)
        publish(client, keys, candles(200))
        wait_until(lambda: stored(settings) == list(range(200)) and pending(client, keys) == 0)
        writers[0].send_signal(signal.SIGSTOP)
        lives = {name: body["consumer"] for (_, name), body in heartbeats(client, keys).items()}
        stopped = next(consumer for name, consumer in lives.items() if name.endswith(f"-{writers[0].pid}"))
        writers[1].send_signal(signal.SIGSTOP)
        publish(client, keys, candles(5, first=200))
        client.xreadgroup("writers", stopped, {keys.candles(Market.USDT_FUTURES): ">"}, count=5)
        writers[1].send_signal(signal.SIGCONT)
        for first in range(205, 1005, 100):
            publish(client, keys, candles(100, first=first))
        wait_until(lambda: stored(settings) == list(range(1005)), 60)
        writers[0].send_signal(signal.SIGCONT)
        publish(client, keys, candles(100, first=1005))
        wait_until(lambda: stored(settings) == list(range(1105)) and pending(client, keys) == 0)
    finally:
        for writer in writers:
            writer.send_signal(signal.SIGCONT)
            writer.terminate()
        for writer in writers:
            assert writer.wait(15) == 0


def test_a_series_that_stays_locked_is_named_and_others_go_on(
    make_settings: Callable[..., Settings],
    client: Any,
    keys: Keys,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As a writer that is stopped in the middle of a flush holds it."""
    monkeypatch.setattr(consumer.writer, "_LOCKED_LONG_SECONDS", 0.5)
    settings = make_settings()
    folder = settings.candles_folder / series_folder(BTC)
    folder.mkdir(parents=True)
    fd = os.open(folder, os.O_RDONLY)
    fcntl.flock(fd, fcntl.LOCK_EX)
    with caplog.at_level(logging.INFO), writing(settings):
        publish(client, keys, candles(3))
        for at in range(10):
            publish(client, keys, candles(1, ETH, first=at))
            wait_until(lambda at=at: len(stored(settings, ETH)) == at + 1)  # type: ignore[misc]
        wait_until(lambda: f"{BTC} is locked by another writer" in caplog.text)
        os.close(fd)
        wait_until(lambda: stored(settings) == [0, 1, 2])
        wait_until(lambda: "every series can be written again" in caplog.text)


def test_a_disk_that_refuses_leaves_entries_pending_and_writing_resumes_by_itself(
    make_settings: Callable[..., Settings], client: Any, keys: Keys, caplog: pytest.LogCaptureFixture
) -> None:
    """A file stands where the series' folder should be; other series are not held up."""
    settings = make_settings()
    obstacle = settings.candles_folder / series_folder(BTC)
    obstacle.parent.mkdir(parents=True)
    obstacle.write_text("not a folder")
    publish(client, keys, candles(3) + candles(3, ETH))
    with caplog.at_level(logging.INFO), writing(settings):
        wait_until(lambda: stored(settings, ETH) == [0, 1, 2])
        wait_until(lambda: pending(client, keys) == 3)
        wait_until(lambda: "1 series stay pending" in caplog.text)
        obstacle.unlink()
        wait_until(lambda: stored(settings) == [0, 1, 2])
        wait_until(lambda: pending(client, keys) == 0)
        wait_until(lambda: "every series can be written again" in caplog.text)


def foreign_parquet(path: Path) -> None:
    pq.write_table(pa.table({"time": [1, 2], "close": [3.0, 4.0]}), path)


def put_a_folder_there(path: Path) -> None:
    path.unlink()
    path.mkdir()


DAMAGES: dict[str, Callable[[Path], object]] = {
    "torn": lambda path: os.truncate(path, path.stat().st_size - 10),
    "empty": lambda path: os.truncate(path, 0),
    "not ours": foreign_parquet,
    "of another day": lambda path: shutil.copy(path.with_name("2024-07-01.parquet"), path),
    "a folder": put_a_folder_there,
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_partition_is_moved_aside_named_and_rebuilt_from_what_the_broker_still_has(
    damage: str, make_settings: Callable[..., Settings], client: Any, keys: Keys, caplog: pytest.LogCaptureFixture
) -> None:
    settings = make_settings()
    path = settings.candles_folder / series_folder(BTC) / "2024-06-30.parquet"
    aside = settings.data.folder / "damaged" / path.parent.relative_to(settings.data.folder)
    publish(client, keys, [*candles(1440), make_candle(open_time_ms=JUNE_30 + 1440 * MINUTE)])
    with writing(settings):
        wait_until(lambda: pending(client, keys) == 0 and stored(settings)[-1:] == [1440])
    DAMAGES[damage](path)
    publish(client, keys, candles(3, ETH))
    publish(client, keys, candles(1, first=7))
    with caplog.at_level(logging.INFO), writing(settings):
        wait_until(lambda: f"{path} is no partition of ours" in caplog.text)
        wait_until(lambda: "rebuilt candles/market=usdt_futures" in caplog.text)
        assert stored(settings) == list(range(1441))
        wait_until(lambda: pending(client, keys) == 0 and stored(settings, ETH) == [0, 1, 2])
    assert [one.name for one in aside.iterdir()] == ["2024-06-30.parquet~1"]
    assert f"moved to {aside / '2024-06-30.parquet~1'}" in caplog.text
    assert f"`candlewick audit usdt_futures {BTC.symbol} --repair` fetches what it did not hold" in caplog.text


def test_a_rebuild_that_was_interrupted_is_done_by_the_next_writer_and_a_second_damage_overwrites_no_first(
    make_settings: Callable[..., Settings], client: Any, keys: Keys
) -> None:
    settings = make_settings()
    path = settings.candles_folder / series_folder(BTC) / "2024-06-30.parquet"
    aside = settings.data.folder / "damaged" / path.relative_to(settings.data.folder)
    publish(client, keys, candles(5))
    with writing(settings):
        wait_until(lambda: stored(settings) == list(range(5)) and pending(client, keys) == 0)
    path.write_bytes(b"first")
    Aside(settings.data.folder.absolute()).move(path, "as a writer that was killed right afterwards")
    with writing(settings):
        wait_until(lambda: stored(settings) == list(range(5)))
        path.write_bytes(b"second")
        publish(client, keys, candles(1, first=5))
        wait_until(lambda: stored_or_damaged(settings) == list(range(6)))
        wait_until(lambda: len(list(aside.parent.iterdir())) == 2)
    assert [aside.with_name(f"{aside.name}~{number}").read_bytes() for number in (1, 2)] == [b"first", b"second"]


def stored_or_damaged(settings: Settings) -> list[int] | None:
    try:
        return stored(settings)
    except StoreError:
        return None


def test_a_rebuild_goes_on_beside_what_cannot_be_stored(
    make_settings: Callable[..., Settings], client: Any, keys: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An entry that became a dead letter stands in the stream still."""
    real = rows_from_candles

    def refuse(items: list[Candle]) -> Any:
        if any(item.close == "666" for item in items):
            raise ZeroDivisionError("poison")
        return real(items)

    monkeypatch.setattr(consumer.storage.store, "rows_from_candles", refuse)
    settings = make_settings()
    path = settings.candles_folder / series_folder(BTC) / "2024-06-30.parquet"
    stream = keys.candles(Market.USDT_FUTURES)
    publish(client, keys, [*candles(3), make_candle(open_time_ms=JUNE_30 + 3 * MINUTE, close="666")])
    entries = client.xrange(stream)
    client.xgroup_create(stream, "writers", id=entries[-1][0])
    path.parent.mkdir(parents=True)
    path.write_bytes(b"damaged")
    publish(client, keys, candles(1, first=4))
    with writing(settings):
        wait_until(lambda: stored_or_damaged(settings) == [0, 1, 2, 4])
        wait_until(lambda: not list((settings.data.folder / "damaged").rglob("*.rebuild")))


def test_a_damaged_ledger_is_moved_aside_and_rebuilt(
    make_settings: Callable[..., Settings], client: Any, keys: Keys, caplog: pytest.LogCaptureFixture
) -> None:
    settings = make_settings()
    ledger = Ledger(settings.ledger_folder)
    notes = [Note(BTC, NoteKind.BEGAN, JUNE_30, JUNE_30, JUNE_30 + 1), Note(BTC, NoteKind.ABSENT, 60_000, 120_000, 1)]
    for note in notes:
        client.xadd(keys.candles(Market.USDT_FUTURES), encode_entry(note))
        with writing(settings):
            wait_until(lambda: pending(client, keys) == 0 and ledger.path(BTC).exists())
        ledger.path(BTC).write_bytes(b"{")
    client.xadd(keys.candles(Market.USDT_FUTURES), encode_entry(notes[1]))
    with caplog.at_level(logging.INFO), writing(settings):
        wait_until(lambda: "rebuilt ledger/market=usdt_futures" in caplog.text)
        assert ledger.read(BTC).began_ms == JUNE_30
        assert ledger.read(BTC).absent == Spans([(60_000, 120_000)])


@pytest.mark.parametrize("error", [OSError(errno.EIO, "Input/output error"), pa.ArrowMemoryError("malloc failed")])
def test_a_disk_that_does_not_let_a_partition_be_read_is_waited_for(
    error: Exception,
    make_settings: Callable[..., Settings],
    client: Any,
    keys: Keys,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An error of the disk, or too little memory, is no damage: nothing is moved."""
    settings = make_settings()
    publish(client, keys, candles(3))
    with writing(settings):
        wait_until(lambda: stored(settings) == [0, 1, 2] and pending(client, keys) == 0)
    real = pq.ParquetFile

    def refuse(*_: Any, **__: Any) -> Any:
        raise error

    monkeypatch.setattr(pq, "ParquetFile", refuse)
    publish(client, keys, candles(3, first=3))
    with writing(settings):
        wait_until(lambda: pending(client, keys) == 3)
        monkeypatch.setattr(pq, "ParquetFile", real)
        wait_until(lambda: stored(settings) == list(range(6)) and pending(client, keys) == 0)
    assert not (settings.data.folder / "damaged").exists()


def test_an_entry_that_no_store_can_take_is_tried_then_goes_to_the_dead_letters_and_all_others_are_stored(
    make_settings: Callable[..., Settings], client: Any, keys: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fault of ours: nothing that comes through the checks is known to be like this, so the merge is broken here."""
    monkeypatch.setattr(consumer.writer, "_RETRY_SECONDS", 0.05)
    settings = make_settings(writer={"tries": 3})
    tried: list[int] = []
    real = rows_from_candles

    def merge(items: list[Candle]) -> Any:
        if any(item.close == "666" for item in items):
            tried.append(len(items))
            raise ZeroDivisionError("poison")
        return real(items)

    monkeypatch.setattr(consumer.storage.store, "rows_from_candles", merge)
    publish(client, keys, [*candles(3), make_candle(open_time_ms=JUNE_30 + 3 * MINUTE, close="666"), *candles(3, ETH)])
    with writing(settings) as writer:
        wait_until(lambda: stored(settings) == [0, 1, 2] and stored(settings, ETH) == [0, 1, 2])
        wait_until(lambda: client.xlen(keys.dead_letters(Market.USDT_FUTURES)) == 1)
        wait_until(lambda: pending(client, keys) == 0)
        wait_until(lambda: writer._batch.due_in(0) is None)
    assert tried == [4, 4, 4, 1, 1]
    (letter,) = letters(client, keys, Market.USDT_FUTURES)
    assert "by a fault of ours: ZeroDivisionError('poison')" in letter.reason
    assert letter.fields[b"close"] == b"666"


def test_a_fault_that_meets_everything_gives_nothing_up(
    make_settings: Callable[..., Settings], client: Any, keys: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(consumer.writer, "_RETRY_SECONDS", 0.01)
    settings = make_settings(writer={"tries": 2})
    real = rows_from_candles
    tried: list[int] = []

    def refuse(items: list[Candle]) -> Any:
        tried.append(len(items))
        raise ZeroDivisionError("a library that was replaced under us")

    monkeypatch.setattr(consumer.storage.store, "rows_from_candles", refuse)
    publish(client, keys, candles(3))
    with writing(settings):
        wait_until(lambda: len(tried) > 30)
        assert pending(client, keys) == 3
        assert client.xlen(keys.dead_letters(Market.USDT_FUTURES)) == 0
        monkeypatch.setattr(consumer.storage.store, "rows_from_candles", real)
        wait_until(lambda: stored(settings) == [0, 1, 2] and pending(client, keys) == 0)


POISONED = """
import os, sys
import consumer.storage.store
from candlewick.cli import main
real = consumer.storage.store.rows_from_candles
def merge(items):
    if any(item.close == "666" for item in items):
        os._exit(139)
    return real(items)
consumer.store.rows_from_candles = merge
sys.argv = ["candlewick", "write", "--log-level", "WARNING"]
main()
"""


def lives_of_a_broken_writer(settings: Settings, client: Any, keys: Keys, script: str, most: int) -> list[int]:
    """Start a writer again and again until it does not end by itself; a candle comes before each start. Exit codes."""
    environment = environment_of(settings) | {"CANDLEWICK_WRITER_TRIES": "2"}
    codes: list[int] = []
    for life in range(most):
        publish(client, keys, candles(1, ETH, first=life))
        process = subprocess.Popen([sys.executable, "-P", "-c", script], env=os.environ | environment)
        try:
            wait_until(lambda process=process: process.poll() is not None or pending(client, keys) == 0)  # type: ignore[misc]
            wait_until(
                lambda process=process, life=life: process.poll() is not None or stored(settings, ETH)[-1:] == [life]  # type: ignore[misc]
            )
        finally:
            process.terminate()
            codes.append(process.wait(15))
        if codes[-1] == 0:
            break
    return codes


def test_an_entry_that_ends_the_writer_again_and_again_goes_to_the_dead_letters_and_nothing_else_does(
    make_settings: Callable[..., Settings], client: Any, keys: Keys
) -> None:
    settings = make_settings()
    publish(client, keys, [*candles(3), make_candle(open_time_ms=JUNE_30 + 3 * MINUTE, close="666")])
    codes = lives_of_a_broken_writer(settings, client, keys, POISONED, 20)
    assert codes == [139] * 6 + [0], "twice as all others, twice alone, twice more though others can be stored"
    assert stored(settings) == [0, 1, 2]
    assert stored(settings, ETH) == list(range(7))
    (letter,) = letters(client, keys, Market.USDT_FUTURES)
    assert letter.reason == "the writer ended each time that it was to be written alone"
    assert not client.exists(keys.starts(letter.consumer))


def test_a_fault_that_ends_the_process_at_everything_gives_nothing_up_and_all_is_stored_when_it_is_mended(
    make_settings: Callable[..., Settings], client: Any, keys: Keys
) -> None:
    """As with a library that was replaced, or a disk that hangs until somebody kills the writer."""
    settings = make_settings()
    publish(client, keys, candles(2))
    broken = POISONED.replace('item.close == "666"', "True")
    assert lives_of_a_broken_writer(settings, client, keys, broken, 9) == [139] * 9
    assert client.xlen(keys.dead_letters(Market.USDT_FUTURES)) == 0
    publish(client, keys, candles(1, ETH, first=9))
    with writing(settings):
        wait_until(lambda: stored(settings) == [0, 1] and stored(settings, ETH) == list(range(10)))
        wait_until(lambda: pending(client, keys) == 0)
    assert client.xlen(keys.dead_letters(Market.USDT_FUTURES)) == 0


def test_an_entry_that_the_disk_refuses_is_no_dead_letter_however_often_somebody_kills_the_writer(
    make_settings: Callable[..., Settings], client: Any, keys: Keys
) -> None:
    settings = make_settings()
    obstacle = settings.candles_folder / series_folder(BTC)
    obstacle.parent.mkdir(parents=True)
    obstacle.write_text("stands for a disk that is full")
    publish(client, keys, candles(1))
    environment = environment_of(settings) | {"CANDLEWICK_WRITER_TRIES": "1"}
    for _ in range(4):
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "candlewick", "write", "--log-level", "WARNING"],
            env=os.environ | environment,
            stderr=subprocess.PIPE,
        )
        with process:
            assert process.stderr is not None
            said = process.stderr.readline()
            process.kill()
        assert b"1 series stay pending" in said
    obstacle.unlink()
    with writing(settings):
        wait_until(lambda: stored(settings) == [0])


def test_a_broker_that_evicts_is_refused_with_the_remedy(make_server: Callable[..., Any], tmp_path: Path) -> None:
    server = make_server("valkey", maxmemory_policy="allkeys-lru")
    settings = load_settings(flags={"broker": {"url": server.url}, "data": {"folder": tmp_path / "data"}})
    with pytest.raises(BrokerError, match="set `maxmemory-policy noeviction`"), writing(settings):
        pass


def test_two_different_candles_under_one_key_are_counted_and_logged(
    make_settings: Callable[..., Settings], client: Any, keys: Keys, caplog: pytest.LogCaptureFixture
) -> None:
    settings = make_settings()
    publish(client, keys, [make_candle(close="1", trades=1), make_candle(close="2", trades=2)])
    with caplog.at_level(logging.WARNING), writing(settings):
        wait_until(lambda: stored(settings) == [0])
    assert "two different candles of usdt_futures BTCUSDT-1m at 2024-06-30 00:00:00+00:00" in caplog.text


def test_a_dead_broker_is_waited_for_and_stopping_meanwhile_does_not_wait(
    make_server: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With an hour between two tries: whoever stops it does not wait for the next one."""
    server = make_server()
    settings = load_settings(flags={"broker": {"url": server.url}, "data": {"folder": tmp_path / "data"}})
    server.kill()
    monkeypatch.setattr(consumer.writer, "backoff", lambda **_: itertools.repeat(3600.0))
    with writing(settings):
        pass


def test_one_partition_that_cannot_be_written_never_holds_up_the_others(
    make_settings: Callable[..., Settings], client: Any, keys: Keys
) -> None:
    """Ten times more entries for it than a batch holds."""
    settings = make_settings(writer={"batch_candles": 200, "flush_most_seconds": 0.5, "claim_seconds": 1})
    path = settings.candles_folder / series_folder(BTC)
    path.parent.mkdir(parents=True)
    path.write_bytes(b"not a folder")
    publish(client, keys, candles(1000) + candles(1000))
    publish(client, keys, candles(50, ETH))
    with writing(settings):
        wait_until(lambda: stored(settings, ETH) == list(range(50)))
        path.unlink()
        wait_until(lambda: stored(settings) == list(range(1000)), 60)
        wait_until(lambda: pending(client, keys) == 0, 60)


def test_a_broker_at_its_memory_limit_is_drained(
    make_server: Callable[..., Any], make_settings: Callable[..., Settings], keys: Keys
) -> None:
    server = make_server()
    settings = make_settings(broker={"url": server.url}, writer={"flush_seconds": 3})
    client = redis.Redis.from_url(server.url)
    with writing(settings):
        wait_until(lambda: pending(client, keys) == 0)
    publish(client, keys, candles(30))
    client.config_set("maxmemory", "1mb")
    with writing(settings):
        wait_until(lambda: len(stored(settings)) == 30)
        wait_until(lambda: pending(client, keys) == 0)
    client.close()
