"""How many entries are asked for at once."""

from shared.broker.paging import Paging


def test_small_entries_are_soon_read_by_thousands_and_never_more_than_are_wanted() -> None:
    paging = Paging()
    assert paging.next_count(10_000) < 100
    for _ in range(10):
        paging.note_answer([(b"1-0", {b"close": b"61624.90"})] * paging.next_count(10_000))
    assert paging.next_count(10_000) == 10_000
    assert paging.next_count(7) == 7


def test_large_entries_are_read_by_ever_fewer_and_at_least_by_one() -> None:
    paging = Paging()
    counts = []
    for _ in range(6):
        counts.append(paging.next_count(10_000))
        paging.note_answer([(b"1-0", {b"close": bytes(40 * 2**20)})])
    assert counts == sorted(counts, reverse=True)
    assert counts[-1] == 1


def test_an_empty_answer_and_an_entry_that_is_gone_tell_nothing() -> None:
    paging = Paging()
    before = paging.next_count(10_000)
    for _ in range(5):
        paging.note_answer([])
        paging.note_answer([(b"1-0", {b"close": b"61624.90"})])
    assert paging.next_count(10_000) == before, "nor does one that is not full"
    paging.note_answer([(b"1-0", None)])
