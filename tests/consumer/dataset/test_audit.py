"""Audits, counted from the files."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from consumer.dataset.audit import AuditRange, SeriesAudit, audit_series
from consumer.dataset.dataset import Dataset
from consumer.dataset.figures import series_figures
from consumer.dataset.row_checks import WrongRow
from consumer.storage.interface import Storage
from consumer.storage.layout import series_folder
from consumer.storage.metadata import SeriesMetadata
from consumer.storage.table import SCHEMA
from shared.candle import Series
from shared.interval import DAY_MS, HOUR_MS, MINUTE_MS, Interval
from shared.series_fact import FactKind, SeriesFact
from tests.support.candles import BTC, JUNE_30, make_candle
from tests.support.stores import DataFolder


@pytest.fixture
def store(tmp_path: Path) -> Iterator[DataFolder]:
    store = DataFolder(tmp_path, 5, 2**20)
    yield store
    store.staging.close()


def fill(store: DataFolder, series: Series, first_ms: int, count: int, without: tuple[int, ...] = ()) -> list[int]:
    """Candles of a series from a time on, without those of some numbers; their open times."""
    opens = [first_ms]
    while len(opens) < count:
        opens.append(series.interval.end(opens[-1]))
    kept = [open_ms for number, open_ms in enumerate(opens) if number not in without]
    store.write(series, [make_candle(series, open_ms) for open_ms in kept])
    return kept


def noted(*notes: tuple[FactKind, int, int], at: int = 1) -> SeriesMetadata:
    metadata = SeriesMetadata()
    for kind, begin, end in notes:
        metadata.merge(SeriesFact(BTC, kind, begin, end, at, "reason"))
    return metadata


class _Noted(Dataset):
    """What is stored, with metadata of the test's."""

    def __init__(self, storage: Storage, metadata: SeriesMetadata) -> None:
        super().__init__(storage)
        self._noted = metadata

    def metadata(self, series: Series) -> SeriesMetadata:  # noqa: ARG002 # of whichever series
        return self._noted


def audited(
    store: DataFolder,
    series: Series,
    metadata: SeriesMetadata,
    start_ms: int | None = None,
    end_ms: int | None = None,
    market_ms: int | None = None,
    due_ms: int = 0,
) -> SeriesAudit:
    return audit_series(_Noted(store.local, metadata), series, AuditRange(start_ms, end_ms, market_ms, due_ms))


def test_what_is_stored_absent_and_missing_adds_up_for_each_day(store: DataFolder) -> None:
    fill(store, BTC, JUNE_30, 2880, without=(10, 11, 1500, 1501, 1502))
    absent = noted((FactKind.ABSENT, JUNE_30 + 1500 * MINUTE_MS, JUNE_30 + 1502 * MINUTE_MS))
    found = audited(store, BTC, absent)
    assert (found.tally.expected, found.tally.present, found.tally.absent, found.tally.missing) == (2880, 2875, 2, 3)
    assert [(day, tally.expected, tally.present, tally.absent, tally.missing) for day, tally in found.days] == [
        ("2024-06-30", 1440, 1438, 0, 2),
        ("2024-07-01", 1440, 1437, 2, 1),
    ]
    minutes = [((gap.begin_ms - JUNE_30) // MINUTE_MS, (gap.end_ms - JUNE_30) // MINUTE_MS) for gap in found.gaps]
    assert minutes == [(10, 12), (1502, 1503)]
    assert not found.is_good


def test_a_series_of_which_nothing_came_is_missing_altogether(store: DataFolder) -> None:
    began = noted((FactKind.BEGAN, JUNE_30, JUNE_30))
    found = audited(store, BTC, began, market_ms=JUNE_30 + HOUR_MS)
    assert (found.tally.expected, found.tally.missing) == (60, 60)


def test_a_recorded_series_is_expected_up_to_the_market_s_time_and_others_to_their_own_end(store: DataFolder) -> None:
    fill(store, BTC, JUNE_30, 60)
    market_ms = JUNE_30 + 2 * HOUR_MS
    assert audited(store, BTC, SeriesMetadata(), market_ms=market_ms).tally.missing == 0
    began = noted((FactKind.BEGAN, JUNE_30, JUNE_30))
    assert audited(store, BTC, began, market_ms=market_ms).tally.missing == 60
    from_history = noted((FactKind.BEGAN, JUNE_30, JUNE_30), at=0)
    assert audited(store, BTC, from_history, market_ms=market_ms).tally.missing == 0


def test_what_repair_may_still_bring_is_due_and_not_missing(store: DataFolder) -> None:
    fill(store, BTC, JUNE_30, 60, without=(20, 55))
    began = noted((FactKind.BEGAN, JUNE_30, JUNE_30))
    found = audited(store, BTC, began, market_ms=JUNE_30 + HOUR_MS, due_ms=10 * MINUTE_MS)
    assert (found.tally.expected, found.tally.present, found.tally.due, found.tally.missing) == (60, 58, 1, 1)
    strict = audited(store, BTC, began, None, JUNE_30 + HOUR_MS, JUNE_30 + HOUR_MS, 10 * MINUTE_MS)
    assert (strict.tally.due, strict.tally.missing) == (0, 2)


def test_a_series_that_ended_is_expected_no_further(store: DataFolder) -> None:
    fill(store, BTC, JUNE_30, 60)
    notes = noted((FactKind.BEGAN, JUNE_30, JUNE_30))
    notes.merge(SeriesFact(BTC, FactKind.ENDED, JUNE_30 + HOUR_MS, JUNE_30 + HOUR_MS, 2, "its status is BREAK"))
    found = audited(store, BTC, notes, market_ms=JUNE_30 + DAY_MS)
    assert (found.tally.expected, found.tally.missing, found.ended) == (60, 0, "its status is BREAK")


def test_between_two_histories_nothing_is_missing_unless_it_was_recorded_there(store: DataFolder) -> None:
    def minute(number: int) -> int:
        return JUNE_30 + number * MINUTE_MS

    fill(store, BTC, JUNE_30, 1000, without=(3, *range(60, 600), 650))
    metadata = noted((FactKind.FETCHED, minute(0), minute(60)))
    metadata.merge(SeriesFact(BTC, FactKind.FETCHED, minute(600), minute(720), 1))
    found = audited(store, BTC, metadata)
    assert found.gaps == [(minute(3), minute(4)), (minute(650), minute(651))]
    assert (found.tally.expected, found.tally.present, found.tally.missing) == (460, 458, 2)
    assert [day for day, _ in found.days] == ["2024-06-30"]
    metadata.merge(SeriesFact(BTC, FactKind.BEGAN, minute(590), minute(590), 1))
    assert audited(store, BTC, metadata, market_ms=minute(1000)).tally.missing == 12
    metadata.merge(SeriesFact(BTC, FactKind.BEGAN, minute(50), minute(50), 1))
    assert audited(store, BTC, metadata, market_ms=minute(1000)).tally.missing == 542


def test_what_is_stored_is_not_absent_whatever_the_metadata_says(store: DataFolder) -> None:
    fill(store, BTC, JUNE_30, 60)
    notes = noted((FactKind.ABSENT, JUNE_30, JUNE_30 + HOUR_MS))
    found = audited(store, BTC, notes)
    assert (found.tally.present, found.tally.absent) == (60, 0)


def test_only_what_opens_in_the_range_counts(store: DataFolder) -> None:
    fill(store, BTC, JUNE_30, 240, without=(5, 100, 200))
    found = audited(store, BTC, SeriesMetadata(), JUNE_30 + HOUR_MS, JUNE_30 + 2 * HOUR_MS)
    assert (found.tally.expected, found.tally.present, found.tally.missing) == (60, 59, 1)
    odd = audited(store, BTC, SeriesMetadata(), JUNE_30 + HOUR_MS + 1, JUNE_30 + 2 * HOUR_MS + 1)
    assert (odd.tally.expected, odd.span.begin_ms) == (59, JUNE_30 + HOUR_MS + MINUTE_MS)


@pytest.mark.parametrize("interval", list(Interval))
def test_every_interval_has_its_own_grid(store: DataFolder, interval: Interval) -> None:
    series = BTC._replace(interval=interval)
    first = interval.floor(JUNE_30) + (DAY_MS if interval is Interval.D3 else 0)  # any day will do for 3d
    opens = fill(store, series, first, 40, without=(0, 7, 8, 30))
    found = audited(store, series, SeriesMetadata(), None, interval.end(opens[-1]))
    assert (found.tally.expected, found.tally.present, found.tally.missing) == (39, 36, 3)
    assert found.rows.wrong_rows == 0
    assert [gap.begin_ms for gap in found.gaps] == [interval.end(opens[5]), interval.end(opens[26])]


def test_3d_candles_are_counted_from_those_that_are_stored_whatever_day_recording_began(store: DataFolder) -> None:
    series = BTC._replace(interval=Interval.D3)
    began = Interval.D3.floor(JUNE_30)
    fill(store, series, began + DAY_MS, 40, without=(7,))
    found = audited(store, series, noted((FactKind.BEGAN, began, began)), began, began + 100 * DAY_MS)
    assert [part.begin_ms for part in found.parts] == [began + DAY_MS]
    assert (found.tally.expected, found.tally.missing) == (33, 1)
    assert [gap.begin_ms for gap in found.gaps] == [began + 22 * DAY_MS]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"high": "1"}, "high is below low"),
        ({"low": "99999999"}, "low is above open or close"),
        ({"taker_buy_base_asset_volume": "99"}, "takers bought more than was traded"),
    ],
)
def test_values_that_cannot_be_are_named(store: DataFolder, changes: dict[str, str], reason: str) -> None:
    fill(store, BTC, JUNE_30, 5, without=(2,))
    at = JUNE_30 + 2 * MINUTE_MS
    values: dict[str, Any] = changes
    store.write(BTC, [make_candle(BTC, at, **values)])
    found = audited(store, BTC, SeriesMetadata())
    assert WrongRow(at, reason) in found.rows.wrong
    assert not found.is_good


def test_values_that_only_a_foreign_hand_can_write_are_named(store: DataFolder) -> None:
    fill(store, BTC, JUNE_30, 5)
    path = store.root / series_folder(BTC) / "2024-06-30.parquet"
    table = pq.read_table(path, partitioning=None)
    columns: dict[str, Any] = {name: table.column(name) for name in SCHEMA.names}
    columns["volume"] = pa.chunked_array([[16.71, -1.0, float("nan"), 16.71, 16.71]])
    columns["trade_num"] = pa.chunked_array([[418.0, 418.0, 418.0, 0.5, 418.0]])
    columns["candle_end_time"] = pa.chunked_array(
        [np.array([JUNE_30 + number * MINUTE_MS for number in (1, 2, 3, 4, 6)])]
    ).cast(SCHEMA.field("candle_end_time").type)
    pq.write_table(pa.table(columns, schema=SCHEMA), path)
    reasons = {row.reason for row in audited(store, BTC, SeriesMetadata()).rows.wrong}
    assert {"a value is negative", "a value is no number", "its number of trades is not whole"} <= reasons
    assert "its candle_end_time is 2024-06-30 00:06:00+00:00" in reasons


def test_rows_off_the_grid_or_in_the_wrong_file_or_in_two_are_named(store: DataFolder) -> None:
    fill(store, BTC, JUNE_30, 5)
    folder = store.root / series_folder(BTC)
    (folder / "2024-06.parquet").write_bytes((folder / "2024-06-30.parquet").read_bytes())
    (folder / "2024-07-02.parquet").write_bytes((folder / "2024-06-30.parquet").read_bytes())
    reasons = {row.reason for row in audited(store, BTC, SeriesMetadata()).rows.wrong}
    assert "does not belong in 2024-07-02.parquet" in reasons
    assert any(reason.startswith("is stored in two files") for reason in reasons)


def test_a_damaged_file_is_named_and_its_candles_are_missing(store: DataFolder) -> None:
    fill(store, BTC, JUNE_30, 2880)
    path = store.root / series_folder(BTC) / "2024-06-30.parquet"
    path.write_bytes(path.read_bytes()[:-50])
    notes = noted((FactKind.BEGAN, JUNE_30, JUNE_30))
    found = audited(store, BTC, notes, market_ms=JUNE_30 + 2 * DAY_MS)
    assert (found.tally.present, found.tally.missing) == (1440, 1440)
    assert str(path) in found.errors[0]


def test_an_audit_while_the_file_is_replaced_sees_one_or_the_other(store: DataFolder) -> None:
    for number in range(200):
        store.write(BTC, [make_candle(BTC, JUNE_30 + number * MINUTE_MS)])
        found = audit_series(store.dataset, BTC, AuditRange())
        assert (found.tally.missing, found.rows.wrong_rows, found.tally.present) == (0, 0, number + 1)


@pytest.mark.parametrize("name", ["2024-06-30 copy.parquet", "notes.txt", "mine/"])
def test_what_is_not_ours_among_the_partitions_is_named(store: DataFolder, name: str) -> None:
    """A copy doubles every row of a plain reader; ours reads each once."""
    fill(store, BTC, JUNE_30, 10)
    folder = store.root / series_folder(BTC)
    if name.endswith("/"):
        (folder / name).mkdir()
    else:
        shutil.copy(folder / "2024-06-30.parquet", folder / name)
    (folder / "_left_out").touch()
    found = audited(store, BTC, noted((FactKind.BEGAN, JUNE_30, JUNE_30)))
    assert [stray.rpartition("/")[2] for stray in found.strays] == [name.rstrip("/")]
    assert found.tally.present == 10
    assert not found.is_good
    assert "is not ours" in (series_figures(store.dataset, BTC).error or "")


def test_without_its_metadata_an_audit_says_that_it_cannot_know(store: DataFolder) -> None:
    fill(store, BTC, JUNE_30, 10)
    found = audit_series(store.dataset, BTC, AuditRange())
    assert found.tally.missing == 0
    assert "missing, so nobody knows since when and how far it is recorded" in found.errors[0]
    assert not found.is_good
