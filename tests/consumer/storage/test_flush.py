"""What a flush notes besides candles and facts: on which days candles did not come as they closed."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from consumer.dataset.audit import audit
from consumer.storage.candle_store import Written
from consumer.storage.flush import Flusher
from shared.broker.entry import Entry
from shared.candle import REST, WEBSOCKET, Candle
from shared.interval import DAY_MS
from shared.settings.sections import RepairSettings
from tests.support.candles import BTC, JUNE_30, MINUTE, make_candle
from tests.support.stores import DataFolder


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[DataFolder]:
    folder = DataFolder(tmp_path / "data")
    yield folder
    folder.close()


@pytest.fixture
def flusher(folder: DataFolder) -> Iterator[Flusher]:
    flusher = Flusher(folder, folder.metadata, threads=1)
    yield flusher
    flusher.close()


def flush(flusher: Flusher, *candles: Candle) -> None:
    entries = [Entry(BTC.market, b"%d-0" % number, candle) for number, candle in enumerate(candles)]
    assert isinstance(flusher.write({BTC: entries})[BTC], Written)


def candle(minute: int, source: str) -> Candle:
    return make_candle(BTC, JUNE_30 + minute * MINUTE, source=source)


def test_a_candle_that_came_over_rest_leaves_its_day_and_one_that_came_as_it_closed_leaves_nothing(
    folder: DataFolder, flusher: Flusher
) -> None:
    flush(flusher, candle(0, WEBSOCKET), candle(1440, WEBSOCKET), candle(2880, "replay"))
    assert not folder.metadata.read(BTC).repaired
    flush(flusher, candle(1, REST), candle(2, REST), candle(1441, WEBSOCKET), candle(4320, REST))
    days = [(begin - JUNE_30) // DAY_MS for begin, _ in folder.metadata.read(BTC).repaired]
    assert days == [0, 3]


def test_however_often_a_day_is_repaired_its_metadata_is_written_once(folder: DataFolder, flusher: Flusher) -> None:
    flush(flusher, candle(0, REST))
    path = next(folder.data.rglob("symbol=BTCUSDT.json"))
    before = path.stat()
    for minute in range(1, 20):
        flush(flusher, candle(minute, REST))
    assert (path.stat().st_ino, path.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_that_something_was_repaired_says_nothing_of_what_is_expected(folder: DataFolder, flusher: Flusher) -> None:
    flush(flusher, candle(0, REST), candle(5, REST))
    (found,) = audit(folder.dataset, [BTC], None, None, RepairSettings())
    assert (found.tally.missing, found.tally.due) == (0, 4)
    assert "nobody knows since when" in found.errors[0]
