"""Where a series ends on disk, and where the first hole is that a broker may have left."""

from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from consumer.dataset.figures import newest_ends, unbroken_ends
from consumer.storage.layout import metadata_key, series_folder
from shared.interval import DAY_MS, HOUR_MS
from shared.series_fact import FactKind, SeriesFact
from tests.support.candles import BTC, JUNE_30, MINUTE, make_candle
from tests.support.stores import DataFolder

DAY = 1440


@pytest.fixture
def store(tmp_path: Path) -> Iterator[DataFolder]:
    store = DataFolder(tmp_path)
    yield store
    store.close()


def at(minute: int) -> int:
    return JUNE_30 + minute * MINUTE


def fill(store: DataFolder, minutes: Iterable[int]) -> None:
    store.write(BTC, [make_candle(open_time_ms=at(minute)) for minute in minutes])


def unbroken(store: DataFolder, back_ms: int = 7 * DAY_MS) -> int:
    return (unbroken_ends(store.dataset, [BTC], back_ms)[BTC].end_ms - JUNE_30) // MINUTE


def test_without_a_hole_both_are_the_newest_candle_s_end(store: DataFolder) -> None:
    fill(store, range(DAY + 10))
    assert newest_ends(store.dataset, [BTC.market]) == {BTC: at(DAY + 10)}
    assert unbroken(store) == DAY + 10


def test_a_hole_ends_the_run_and_what_the_exchange_never_had_does_not(store: DataFolder) -> None:
    fill(store, [*range(5), *range(7, 20), *range(21, DAY + 50)])
    store.metadata.write(BTC, [SeriesFact(BTC, FactKind.ABSENT, at(5), at(7), at(30))])
    assert unbroken(store) == 20
    assert newest_ends(store.dataset, [BTC.market]) == {BTC: at(DAY + 50)}


def test_what_was_promised_before_the_first_row_is_a_hole_too(store: DataFolder) -> None:
    fill(store, range(5, 20))
    store.metadata.write(BTC, [SeriesFact(BTC, FactKind.BEGAN, at(2), at(2), at(2))])
    assert unbroken(store) == 2


def test_holes_older_than_what_a_broker_keeps_are_not_its_loss(store: DataFolder) -> None:
    fill(store, [*range(5), *range(7, 3 * DAY)])
    assert unbroken(store, 2 * HOUR_MS) == 3 * DAY
    assert unbroken(store) == 5


def test_one_row_of_a_wrong_time_moves_nothing(store: DataFolder) -> None:
    fill(store, [*range(20), 400 * DAY])
    assert unbroken(store) == 20


def test_a_file_that_cannot_be_read_is_a_hole_and_damaged_metadata_promises_nothing(store: DataFolder) -> None:
    fill(store, [*range(5), *range(DAY, DAY + 5), *range(2 * DAY, 2 * DAY + 5)])
    (store.root / series_folder(BTC) / "2024-07-01.parquet").write_bytes(b"x")
    path = store.data / metadata_key(BTC)
    path.parent.mkdir(parents=True)
    path.write_bytes(b"x")
    assert unbroken(store) == 5
