"""A small part of the crash matrix, of every kind of step and fault some. All of it: ``python -m chaos crashes``."""

from pathlib import Path

import pytest

from chaos.crashes import strace
from chaos.crashes.call_trial import CallTrial
from chaos.crashes.matrix import cases, measure
from chaos.crashes.places import PLACES, Place
from chaos.crashes.strace import Fault

TRIED = [
    ("make a folder", Fault.KILLED_AFTER),
    ("sync a folder above", Fault.KILLED_BEFORE),
    ("open a partition", Fault.EIO),
    ("write a staged partition", Fault.ENOSPC),
    ("rename over a partition", Fault.KILLED_AFTER),
    ("sync a series' folder", Fault.EIO),
    ("rename over a ledger", Fault.KILLED_AFTER),
    ("send the acknowledgement", Fault.KILLED_BEFORE),
    ("receive its answer", Fault.KILLED_BEFORE),
]


@pytest.fixture(scope="module")
def places(valkey_url: str, tmp_path_factory: pytest.TempPathFactory) -> list[Place]:
    """The calls of an undisturbed flush."""
    refusal = strace.refusal()
    if refusal is not None:
        pytest.skip(refusal)
    return measure(valkey_url, tmp_path_factory.mktemp("measured"))


def test_every_step_of_a_flush_is_found_and_none_is_left_out_of_the_matrix(places: list[Place]) -> None:
    assert {place.name for place in places} == set(PLACES)
    assert {place for place, fault in cases(places) if fault is Fault.KILLED_BEFORE} == set(places)
    assert {(place.name, fault) for place, fault in cases(places)} == {(n, fault) for n in PLACES for fault in Fault}
    assert {name for name, _ in TRIED} <= set(PLACES)


@pytest.mark.parametrize(("name", "fault"), TRIED)
def test_a_fault_in_a_flush_loses_and_doubles_nothing_and_no_reader_sees_it(
    name: str, fault: Fault, places: list[Place], valkey_url: str, tmp_path: Path
) -> None:
    last = [place for place in places if place.name == name][-1]
    outcome = CallTrial(valkey_url, tmp_path).run(fault, last)
    found = (outcome.lost, outcome.doubled, outcome.unsynced, outcome.left, outcome.reader_errors)
    assert found == (0, 0, 0, 0, 0), outcome
    assert outcome.polls > 1


def test_a_folder_of_metadata_whose_maker_died_is_synced_by_its_successor(
    places: list[Place], valkey_url: str, tmp_path: Path
) -> None:
    made = next(place for place in places if place.name == "make a folder of the ledger")
    outcome = CallTrial(valkey_url, tmp_path).run(Fault.KILLED_AFTER, made)
    assert outcome.unsynced == 0


def test_a_row_that_is_lost_on_the_way_is_seen_by_a_trial(
    places: list[Place], valkey_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The writer is never given one of the candles: the trial must not end with zeros."""
    publish = CallTrial._publish
    monkeypatch.setattr(CallTrial, "_publish", lambda self, items: publish(self, items[1:]))
    last = [place for place in places if place.name == "rename over a partition"][-1]
    outcome = CallTrial(valkey_url, tmp_path).run(Fault.KILLED_BEFORE, last)
    assert (outcome.lost, outcome.is_good) == (1, False)
