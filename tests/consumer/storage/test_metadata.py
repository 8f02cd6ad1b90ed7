"""What is known of a series besides its rows: notes merged in any order, kept whatever fails."""

import fcntl
import json
import multiprocessing
import os
import resource
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer.storage.layout import metadata_key
from consumer.storage.metadata import SeriesMetadata
from shared.candle import Series
from shared.errors import SeriesLockedError, StoreError
from shared.interval import Interval
from shared.market import Market
from shared.series_fact import FactKind, SeriesFact
from shared.spans import Spans
from tests.support.candles import BTC, JUNE_30, MINUTE
from tests.support.stores import DataFolder


def note(kind: FactKind, from_minute: int, noted_minute: int = 0, minutes: int = 0, reason: str = "") -> SeriesFact:
    begin = JUNE_30 + from_minute * MINUTE
    return SeriesFact(BTC, kind, begin, begin + minutes * MINUTE, JUNE_30 + noted_minute * MINUTE, reason)


def began(from_minute: int, noted_minute: int) -> SeriesFact:
    return note(FactKind.BEGAN, from_minute, noted_minute)


def ended(at_minute: int, noted_minute: int, reason: str = "removed") -> SeriesFact:
    return note(FactKind.ENDED, at_minute, noted_minute, reason=reason)


def absent(from_minute: int, minutes: int = 1) -> SeriesFact:
    return note(FactKind.ABSENT, from_minute, minutes=minutes)


def merged(notes: list[SeriesFact]) -> SeriesMetadata:
    metadata = SeriesMetadata()
    for fact in notes:
        metadata.merge(fact)
    return metadata


@pytest.fixture
def store(tmp_path: Path) -> Iterator[DataFolder]:
    store = DataFolder(tmp_path, lock_timeout_seconds=1)
    yield store
    store.close()


def path_of(store: DataFolder, series: Series = BTC) -> Path:
    return store.data / metadata_key(series)


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


NOTES = st.builds(
    note,
    st.sampled_from(FactKind),
    st.integers(0, 9),
    st.integers(0, 4),
    st.integers(1, 3),
    st.sampled_from(["", "removed", "its status is BREAK"]),
)


@given(st.lists(NOTES, max_size=8).flatmap(lambda notes: st.tuples(st.just(notes), st.permutations(notes))))
def test_merging_does_not_depend_on_order_nor_on_repeats(orders: tuple[list[SeriesFact], list[SeriesFact]]) -> None:
    notes, other = orders
    assert merged(notes) == merged(other) == merged(other + notes)


@given(st.lists(NOTES, max_size=8), st.lists(NOTES, max_size=8))
def test_what_is_read_back_is_what_was_written_to_the_millisecond(
    tmp_path_factory: pytest.TempPathFactory, first: list[SeriesFact], second: list[SeriesFact]
) -> None:
    folder = tmp_path_factory.mktemp("ledger")
    store = DataFolder(folder)
    odd = SeriesFact(BTC, FactKind.ABSENT, 1_719_765_540_037, 1_719_765_540_999, 0)
    store.metadata.write(BTC, [*first, odd])
    store.metadata.write(BTC, second)
    assert store.metadata.read(BTC) == merged([*first, odd, *second])
    store.staging.remove()


def test_the_earliest_beginning_counts_and_absences_are_united() -> None:
    found = merged([began(5, 5), began(2, 9), began(7, 7), absent(3), absent(4, 2), absent(9)])
    assert found.began_ms == JUNE_30 + 2 * MINUTE
    assert [(begin - JUNE_30) // MINUTE for begin, _ in found.absent] == [3, 9]
    assert [(end - JUNE_30) // MINUTE for _, end in found.absent] == [6, 10]


@pytest.mark.parametrize(
    ("notes", "end"),
    [
        ([], None),
        ([began(0, 0)], None),
        ([began(0, 0), ended(5, 6)], 5),
        ([ended(5, 6)], 5),
        ([began(0, 0), ended(5, 6), began(5, 8)], None),
        ([began(0, 0), ended(5, 6), began(5, 8), ended(9, 9)], 9),
        ([began(0, 0), ended(5, 6), began(5, 6)], None),  # in one moment: a candle too many is expected, not too few
        ([began(0, 0), ended(7, 8), ended(5, 6)], 7),
    ],
)
def test_a_series_has_ended_if_its_end_was_noted_later_than_its_beginning(
    notes: list[SeriesFact], end: int | None
) -> None:
    for order in (notes, notes[::-1]):
        found = merged(order)
        assert found.end_ms == (None if end is None else JUNE_30 + end * MINUTE)
        assert found.is_recorded == (end is None and bool(notes))


def test_the_reason_is_that_of_the_latest_end() -> None:
    assert merged([ended(9, 9, "its status is BREAK"), ended(5, 5, "removed")]).reason == "its status is BREAK"


def test_without_a_file_nothing_is_known_and_nothing_is_made(store: DataFolder) -> None:
    assert store.metadata.read(BTC) == SeriesMetadata()
    assert not (store.data / "ledger").exists()


def test_metadata_is_one_file_a_series_that_people_can_read(store: DataFolder) -> None:
    monthly = Series(Market.COIN_FUTURES, "BTCUSD_PERP", Interval.MONTH)
    assert store.metadata.write(BTC, [began(0, 1), absent(3, 2), ended(7, 8), note(FactKind.FETCHED, 9, minutes=1)])
    assert store.metadata.write(monthly, [SeriesFact(monthly, FactKind.BEGAN, 0, 0, 0)])
    assert files(store.data / "ledger") == [
        "market=coin_futures/interval=1mo/symbol=BTCUSD_PERP.json",
        "market=usdt_futures/interval=1m/symbol=BTCUSDT.json",
    ]
    assert json.loads(path_of(store).read_text()) == {
        "began": "2024-06-30T00:00:00.000Z",
        "began_noted": "2024-06-30T00:01:00.000Z",
        "ended": "2024-06-30T00:07:00.000Z",
        "ended_noted": "2024-06-30T00:08:00.000Z",
        "reason": "removed",
        "absent": [["2024-06-30T00:03:00.000Z", "2024-06-30T00:05:00.000Z"]],
        "fetched": [["2024-06-30T00:09:00.000Z", "2024-06-30T00:10:00.000Z"]],
        "repaired": [],
    }
    assert store.metadata.read(monthly).began_ms == 0


def test_notes_that_are_known_already_leave_the_file_alone(store: DataFolder) -> None:
    assert store.metadata.write(BTC, [began(0, 0), absent(3)])
    before = path_of(store).stat()
    assert not store.metadata.write(BTC, [absent(3), began(0, 0)])
    after = path_of(store).stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x00" * 100,
        b"null",
        b"[]",
        b"{}",
        b'"text"',
        b'{"began": 5, "began_noted": null, "ended": null, "ended_noted": null, "reason": "", "absent": []}',
        b'{"began": "soon", "began_noted": null, "ended": null, "ended_noted": null, "reason": "", "absent": []}',
        b'{"began": null, "began_noted": null, "ended": null, "ended_noted": null, "reason": "", "absent": [[]]}',
        b'{"began": null, "began_noted": null, "ended": null, "ended_noted": null, "reason": "", "absent": 7}',
        b'{"began": null, "began_noted": null, "ended": null, "ended_noted": null, "reason": ""}',
        b'{"began": "\xff"}',
    ],
)
def test_a_damaged_file_is_named_and_left_alone(store: DataFolder, content: bytes) -> None:
    path = path_of(store)
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    for use in (lambda: store.metadata.read(BTC), lambda: store.metadata.write(BTC, [absent(1)])):
        with pytest.raises(StoreError, match=str(path)):
            use()
    assert path.read_bytes() == content
    assert files(store.staging.path) == []


def whole() -> bytes:
    value = {"began": "2024-06-30T00:00:00.000Z", "began_noted": None, "ended": None, "ended_noted": None}
    return json.dumps(value | {"reason": "", "absent": [["2024-06-30T00:00:00.000Z"] * 2]}).encode()


@given(st.integers(0, len(whole())), st.integers(0, 20), st.binary(max_size=12))
def test_whatever_is_damaged_in_a_file_is_one_kind_of_error(
    tmp_path_factory: pytest.TempPathFactory, at: int, length: int, instead: bytes
) -> None:
    store = DataFolder(tmp_path_factory.mktemp("data"))
    path_of(store).parent.mkdir(parents=True)
    path_of(store).write_bytes(whole()[:at] + instead + whole()[at + length :])
    try:
        store.metadata.read(BTC)
    except StoreError as error:
        assert str(path_of(store)) in str(error)  # noqa: PT017 # it may raise, or not


@contextmanager
def files_of_at_most(number_of_bytes: int) -> Iterator[None]:
    """What a full disk does: a write takes a part, the next one fails."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (number_of_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_disk_that_takes_only_a_part_leaves_the_file_as_it_was(store: DataFolder) -> None:
    store.metadata.write(BTC, [began(0, 0)])
    before = path_of(store).read_bytes()
    with files_of_at_most(len(before) + 10), pytest.raises(StoreError, match="cannot be written"):
        store.metadata.write(BTC, [absent(at * 2) for at in range(50)])
    assert path_of(store).read_bytes() == before
    assert files(store.staging.path) == []


def test_a_folder_that_may_not_be_written_is_a_clear_error(store: DataFolder) -> None:
    (store.data / "ledger").write_text("in the way")
    with pytest.raises(StoreError, match=f"the metadata of {BTC} cannot be written"):
        store.metadata.write(BTC, [absent(1)])


def test_a_lock_that_is_held_for_too_long_is_an_error_that_may_pass(tmp_path: Path) -> None:
    store = DataFolder(tmp_path, lock_timeout_seconds=0.05)
    store.metadata.write(BTC, [began(0, 0)])
    fd = os.open(path_of(store).parent, os.O_RDONLY)
    fcntl.flock(fd, fcntl.LOCK_EX)
    with pytest.raises(SeriesLockedError, match="is locked by another writer"):
        store.metadata.write(BTC, [absent(1)])
    os.close(fd)
    assert store.metadata.write(BTC, [absent(1)])


def test_threads_that_write_facts_of_one_series_at_once_lose_nothing(store: DataFolder) -> None:
    def write(first: int) -> None:
        for at in range(first, 60, 4):
            store.metadata.write(BTC, [absent(at)])

    threads = [threading.Thread(target=write, args=(first,)) for first in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert store.metadata.read(BTC).absent == Spans([(JUNE_30, JUNE_30 + 60 * MINUTE)])
    assert files(store.staging.path) == []


def write_notes(folder: Path, first: int) -> None:
    store = DataFolder(folder)
    for at in range(first, 60, 3):
        store.metadata.write(BTC, [absent(at), began(at, at)])
    store.close()


def test_processes_that_write_facts_of_one_series_at_once_lose_nothing(tmp_path: Path, store: DataFolder) -> None:
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=write_notes, args=(tmp_path, first)) for first in range(3)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
        assert writer.exitcode == 0
    found = store.metadata.read(BTC)
    assert found.absent == Spans([(JUNE_30, JUNE_30 + 60 * MINUTE)])
    assert (found.began_ms, found.began_noted_ms) == (JUNE_30, JUNE_30 + 59 * MINUTE)
