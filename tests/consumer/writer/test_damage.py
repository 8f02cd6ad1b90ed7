"""Damaged files are quarantined and refilled."""

import errno
import logging
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import consumer.journal
import consumer.storage.candle_store
import consumer.writer
from consumer.dataset.dataset import Dataset
from consumer.storage.layout import metadata_key, series_folder
from consumer.storage.quarantine import Quarantine
from consumer.storage.table import rows_from_candles
from shared.broker.entry import encode_entry
from shared.broker.keys import Keys
from shared.candle import Candle
from shared.errors import StoreError
from shared.market import Market
from shared.series_fact import FactKind, SeriesFact
from shared.settings.model import Settings
from shared.spans import Spans
from tests.support.candles import BTC, JUNE_30, MINUTE, make_candle
from tests.support.waiting import wait_until
from tests.support.writing import ETH, candles, pending, publish, stored, writing


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
def test_a_damaged_partition_is_quarantined_named_and_refilled_from_what_the_broker_still_has(
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
        wait_until(lambda: "refilled candles/market=usdt_futures" in caplog.text)
        assert stored(settings) == list(range(1441))
        wait_until(lambda: pending(client, keys) == 0 and stored(settings, ETH) == [0, 1, 2])
    assert [one.name for one in aside.iterdir()] == ["2024-06-30.parquet~1"]
    assert f"moved to {aside / '2024-06-30.parquet~1'}" in caplog.text
    assert f"`candlewick audit usdt_futures {BTC.symbol} --repair` fetches what it did not hold" in caplog.text


def test_a_refill_that_was_interrupted_is_done_by_the_next_writer_and_a_second_damage_overwrites_no_first(
    make_settings: Callable[..., Settings], client: Any, keys: Keys
) -> None:
    settings = make_settings()
    path = settings.candles_folder / series_folder(BTC) / "2024-06-30.parquet"
    aside = settings.data.folder / "damaged" / path.relative_to(settings.data.folder)
    publish(client, keys, candles(5))
    with writing(settings):
        wait_until(lambda: stored(settings) == list(range(5)) and pending(client, keys) == 0)
    path.write_bytes(b"first")
    Quarantine(settings.data.folder.absolute()).move(path, "as a writer that was killed right afterwards")
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


def test_a_refill_goes_on_beside_what_cannot_be_stored(
    make_settings: Callable[..., Settings], client: Any, keys: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An entry that became a dead letter stands in the stream still."""
    real = rows_from_candles

    def refuse(items: list[Candle]) -> Any:
        if any(item.close == "666" for item in items):
            raise ZeroDivisionError("poison")
        return real(items)

    monkeypatch.setattr(consumer.storage.candle_store, "rows_from_candles", refuse)
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


def test_damaged_metadata_is_quarantined_and_refilled(
    make_settings: Callable[..., Settings], client: Any, keys: Keys, caplog: pytest.LogCaptureFixture
) -> None:
    settings = make_settings()
    dataset = Dataset.in_folder(settings.data.folder)
    path = settings.data.folder / metadata_key(BTC)
    notes = [
        SeriesFact(BTC, FactKind.BEGAN, JUNE_30, JUNE_30, JUNE_30 + 1),
        SeriesFact(BTC, FactKind.ABSENT, 60_000, 120_000, 1),
    ]
    for note in notes:
        client.xadd(keys.candles(Market.USDT_FUTURES), encode_entry(note))
        with writing(settings):
            wait_until(lambda: pending(client, keys) == 0 and path.exists())
        path.write_bytes(b"{")
    client.xadd(keys.candles(Market.USDT_FUTURES), encode_entry(notes[1]))
    with caplog.at_level(logging.INFO), writing(settings):
        wait_until(lambda: "refilled ledger/market=usdt_futures" in caplog.text)
        assert dataset.metadata(BTC).began_ms == JUNE_30
        assert dataset.metadata(BTC).absent == Spans([(60_000, 120_000)])


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
