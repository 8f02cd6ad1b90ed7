"""Where a series ends on disk, and where the first hole is that a broker may have left."""

from collections.abc import Iterable
from pathlib import Path

import pytest

from consumer.dataset.figures import newest_ends, unbroken_ends
from consumer.storage.durable import Staging
from consumer.storage.layout import series_folder
from consumer.storage.metadata import Ledger
from consumer.storage.store import Store
from shared.interval import DAY_MS, HOUR_MS
from shared.series_fact import Note, NoteKind
from tests.conftest import BTC, JUNE_30, MINUTE, make_candle

DAY = 1440


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(tmp_path / "ledger")


@pytest.fixture
def staging(tmp_path: Path) -> Staging:
    return Staging(tmp_path / "staging")


def at(minute: int) -> int:
    return JUNE_30 + minute * MINUTE


def store(root: Path, staging: Staging, minutes: Iterable[int]) -> None:
    Store(root, staging, 1, 0).write(BTC, [make_candle(open_time_ms=at(minute)) for minute in minutes])


def unbroken(tmp_path: Path, ledger: Ledger, back_ms: int = 7 * DAY_MS) -> int:
    return (unbroken_ends(tmp_path / "candles", ledger, [BTC.market], back_ms)[BTC] - JUNE_30) // MINUTE


def test_without_a_hole_both_are_the_newest_candle_s_end(tmp_path: Path, ledger: Ledger, staging: Staging) -> None:
    store(tmp_path / "candles", staging, range(DAY + 10))
    assert newest_ends(tmp_path / "candles", [BTC.market]) == {BTC: at(DAY + 10)}
    assert unbroken(tmp_path, ledger) == DAY + 10


def test_a_hole_ends_the_run_and_what_the_exchange_never_had_does_not(
    tmp_path: Path, ledger: Ledger, staging: Staging
) -> None:
    store(tmp_path / "candles", staging, [*range(5), *range(7, 20), *range(21, DAY + 50)])
    ledger.write(BTC, [Note(BTC, NoteKind.ABSENT, at(5), at(7), at(30))], staging)
    assert unbroken(tmp_path, ledger) == 20
    assert newest_ends(tmp_path / "candles", [BTC.market]) == {BTC: at(DAY + 50)}


def test_what_was_promised_before_the_first_row_is_a_hole_too(tmp_path: Path, ledger: Ledger, staging: Staging) -> None:
    store(tmp_path / "candles", staging, range(5, 20))
    ledger.write(BTC, [Note(BTC, NoteKind.BEGAN, at(2), at(2), at(2))], staging)
    assert unbroken(tmp_path, ledger) == 2


def test_holes_older_than_what_a_broker_keeps_are_not_its_loss(
    tmp_path: Path, ledger: Ledger, staging: Staging
) -> None:
    store(tmp_path / "candles", staging, [*range(5), *range(7, DAY)])
    assert unbroken(tmp_path, ledger, 2 * HOUR_MS) == DAY
    assert unbroken(tmp_path, ledger) == 5


def test_a_file_that_cannot_be_read_is_a_hole_and_a_damaged_ledger_promises_nothing(
    tmp_path: Path, ledger: Ledger, staging: Staging
) -> None:
    store(tmp_path / "candles", staging, [*range(5), *range(DAY, DAY + 5), *range(2 * DAY, 2 * DAY + 5)])
    (tmp_path / "candles" / series_folder(BTC) / "2024-07-01.parquet").write_bytes(b"x")
    ledger.path(BTC).parent.mkdir(parents=True)
    ledger.path(BTC).write_bytes(b"x")
    assert unbroken(tmp_path, ledger) == 5
