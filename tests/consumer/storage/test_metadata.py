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

from consumer.storage.durable import Staging
from consumer.storage.metadata import Ledger, SeriesLedger
from shared.candle import Series
from shared.errors import SeriesLockedError, StoreError
from shared.interval import Interval
from shared.market import Market
from shared.series_fact import Note, NoteKind
from shared.spans import Spans
from tests.conftest import BTC, JUNE_30, MINUTE


def note(kind: NoteKind, from_minute: int, noted_minute: int = 0, minutes: int = 0, reason: str = "") -> Note:
    begin = JUNE_30 + from_minute * MINUTE
    return Note(BTC, kind, begin, begin + minutes * MINUTE, JUNE_30 + noted_minute * MINUTE, reason)


def began(from_minute: int, noted_minute: int) -> Note:
    return note(NoteKind.BEGAN, from_minute, noted_minute)


def ended(at_minute: int, noted_minute: int, reason: str = "removed") -> Note:
    return note(NoteKind.ENDED, at_minute, noted_minute, reason=reason)


def absent(from_minute: int, minutes: int = 1) -> Note:
    return note(NoteKind.ABSENT, from_minute, minutes=minutes)


def merged(notes: list[Note]) -> SeriesLedger:
    ledger = SeriesLedger()
    for one in notes:
        ledger.take(one)
    return ledger


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(tmp_path / "ledger")


@pytest.fixture
def staging(tmp_path: Path) -> Iterator[Staging]:
    staging = Staging(tmp_path / "staging")
    yield staging
    staging.close()


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


NOTES = st.builds(
    note,
    st.sampled_from(NoteKind),
    st.integers(0, 9),
    st.integers(0, 4),
    st.integers(1, 3),
    st.sampled_from(["", "removed", "its status is BREAK"]),
)


@given(st.lists(NOTES, max_size=8).flatmap(lambda notes: st.tuples(st.just(notes), st.permutations(notes))))
def test_merging_does_not_depend_on_order_nor_on_repeats(orders: tuple[list[Note], list[Note]]) -> None:
    notes, other = orders
    assert merged(notes) == merged(other) == merged(other + notes)


@given(st.lists(NOTES, max_size=8), st.lists(NOTES, max_size=8))
def test_what_is_read_back_is_what_was_written_to_the_millisecond(
    tmp_path_factory: pytest.TempPathFactory, first: list[Note], second: list[Note]
) -> None:
    folder = tmp_path_factory.mktemp("ledger")
    staging, ledger = Staging(folder / "staging"), Ledger(folder / "ledger")
    odd = Note(BTC, NoteKind.ABSENT, 1_719_765_540_037, 1_719_765_540_999, 0)
    ledger.write(BTC, [*first, odd], staging)
    ledger.write(BTC, second, staging)
    assert ledger.read(BTC) == merged([*first, odd, *second])
    staging.remove()


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
def test_a_series_has_ended_if_its_end_was_noted_later_than_its_beginning(notes: list[Note], end: int | None) -> None:
    for order in (notes, notes[::-1]):
        found = merged(order)
        assert found.end_ms == (None if end is None else JUNE_30 + end * MINUTE)
        assert found.is_recorded == (end is None and bool(notes))


def test_the_reason_is_that_of_the_latest_end() -> None:
    assert merged([ended(9, 9, "its status is BREAK"), ended(5, 5, "removed")]).reason == "its status is BREAK"


def test_without_a_file_nothing_is_known_and_nothing_is_made(ledger: Ledger) -> None:
    assert ledger.read(BTC) == SeriesLedger()
    assert not ledger.root.exists()


def test_a_ledger_is_one_file_a_series_that_people_can_read(ledger: Ledger, staging: Staging) -> None:
    monthly = Series(Market.COIN_FUTURES, "BTCUSD_PERP", Interval.MONTH)
    assert ledger.write(BTC, [began(0, 1), absent(3, 2), ended(7, 8)], staging)
    assert ledger.write(monthly, [Note(monthly, NoteKind.BEGAN, 0, 0, 0)], staging)
    assert files(ledger.root) == [
        "market=coin_futures/interval=1mo/symbol=BTCUSD_PERP.json",
        "market=usdt_futures/interval=1m/symbol=BTCUSDT.json",
    ]
    assert json.loads(ledger.path(BTC).read_text()) == {
        "began": "2024-06-30T00:00:00.000Z",
        "began_noted": "2024-06-30T00:01:00.000Z",
        "ended": "2024-06-30T00:07:00.000Z",
        "ended_noted": "2024-06-30T00:08:00.000Z",
        "reason": "removed",
        "absent": [["2024-06-30T00:03:00.000Z", "2024-06-30T00:05:00.000Z"]],
    }
    assert ledger.read(monthly).began_ms == 0


def test_notes_that_are_known_already_leave_the_file_alone(ledger: Ledger, staging: Staging) -> None:
    assert ledger.write(BTC, [began(0, 0), absent(3)], staging)
    before = ledger.path(BTC).stat()
    assert not ledger.write(BTC, [absent(3), began(0, 0)], staging)
    after = ledger.path(BTC).stat()
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
def test_a_damaged_file_is_named_and_left_alone(ledger: Ledger, staging: Staging, content: bytes) -> None:
    path = ledger.path(BTC)
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    for use in (lambda: ledger.read(BTC), lambda: ledger.write(BTC, [absent(1)], staging)):
        with pytest.raises(StoreError, match=str(path)):
            use()
    assert path.read_bytes() == content
    assert files(staging.path) == []


def whole() -> bytes:
    value = {"began": "2024-06-30T00:00:00.000Z", "began_noted": None, "ended": None, "ended_noted": None}
    return json.dumps(value | {"reason": "", "absent": [["2024-06-30T00:00:00.000Z"] * 2]}).encode()


@given(st.integers(0, len(whole())), st.integers(0, 20), st.binary(max_size=12))
def test_whatever_is_damaged_in_a_file_is_one_kind_of_error(
    tmp_path_factory: pytest.TempPathFactory, at: int, length: int, instead: bytes
) -> None:
    ledger = Ledger(tmp_path_factory.mktemp("ledger"))
    ledger.path(BTC).parent.mkdir(parents=True)
    ledger.path(BTC).write_bytes(whole()[:at] + instead + whole()[at + length :])
    try:
        ledger.read(BTC)
    except StoreError as error:
        assert str(ledger.path(BTC)) in str(error)  # noqa: PT017 # it may raise, or not


@contextmanager
def files_of_at_most(number_of_bytes: int) -> Iterator[None]:
    """What a full disk does: a write takes a part, the next one fails."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (number_of_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_disk_that_takes_only_a_part_leaves_the_file_as_it_was(ledger: Ledger, staging: Staging) -> None:
    ledger.write(BTC, [began(0, 0)], staging)
    before = ledger.path(BTC).read_bytes()
    with files_of_at_most(len(before) + 10), pytest.raises(StoreError, match="cannot be written"):
        ledger.write(BTC, [absent(at * 2) for at in range(50)], staging)
    assert ledger.path(BTC).read_bytes() == before
    assert files(staging.path) == []


def test_a_folder_that_may_not_be_written_is_a_clear_error(ledger: Ledger, staging: Staging) -> None:
    ledger.root.write_text("in the way")
    with pytest.raises(StoreError, match=f"the ledger of {BTC} cannot be written"):
        ledger.write(BTC, [absent(1)], staging)


def test_a_lock_that_is_held_for_too_long_is_an_error_that_may_pass(
    ledger: Ledger, staging: Staging, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("consumer.storage.metadata._LOCK_SECONDS", 0.05)
    ledger.write(BTC, [began(0, 0)], staging)
    fd = os.open(ledger.path(BTC).parent, os.O_RDONLY)
    fcntl.flock(fd, fcntl.LOCK_EX)
    with pytest.raises(SeriesLockedError, match="is locked by another writer"):
        ledger.write(BTC, [absent(1)], staging)
    os.close(fd)
    assert ledger.write(BTC, [absent(1)], staging)


def test_threads_that_write_notes_of_one_series_at_once_lose_nothing(ledger: Ledger, staging: Staging) -> None:
    def write(first: int) -> None:
        for at in range(first, 60, 4):
            ledger.write(BTC, [absent(at)], staging)

    threads = [threading.Thread(target=write, args=(first,)) for first in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert ledger.read(BTC).absent == Spans([(JUNE_30, JUNE_30 + 60 * MINUTE)])
    assert files(staging.path) == []


def write_notes(folder: Path, first: int) -> None:
    staging, ledger = Staging(folder / "staging"), Ledger(folder / "ledger")
    for at in range(first, 60, 3):
        ledger.write(BTC, [absent(at), began(at, at)], staging)
    staging.close()


def test_processes_that_write_notes_of_one_series_at_once_lose_nothing(tmp_path: Path, ledger: Ledger) -> None:
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=write_notes, args=(tmp_path, first)) for first in range(3)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
        assert writer.exitcode == 0
    found = ledger.read(BTC)
    assert found.absent == Spans([(JUNE_30, JUNE_30 + 60 * MINUTE)])
    assert (found.began_ms, found.began_noted_ms) == (JUNE_30, JUNE_30 + 59 * MINUTE)
