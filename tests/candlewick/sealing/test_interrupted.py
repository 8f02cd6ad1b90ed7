"""Sealing that is killed: the manifest is the old one or the new one, and the next run makes all of it good."""

import itertools
import shutil
import signal
import time
from pathlib import Path

import pytest

from candlewick.sealing.place import LocalPlace
from candlewick.sealing.plan import plan_all
from candlewick.sealing.seal import Sealing
from candlewick.sealing.verify import verify
from consumer.dataset.dataset import Dataset
from consumer.storage.layout import candles_key
from shared.candle import Series
from shared.errors import StoreError
from shared.interval import Interval
from tests.support.commands import Run, Start
from tests.support.interruption import killed
from tests.support.sealed import FUTURES, HOURS, MANIFEST, WEEKS, contents, record
from tests.support.stores import DataFolder


def seal(data: Path, folder: Path, *series: Series) -> None:
    """What the command does."""
    dataset, place = Dataset.in_folder(data), LocalPlace(folder)
    with place.held_for_sealing():
        sealing = Sealing(dataset, place, "candlewick test")
        for month, chosen in plan_all(dataset, series).months.items():
            sealing.seal(month, chosen)


@pytest.fixture
def data(store: DataFolder) -> Path:
    for series in (HOURS, WEEKS, FUTURES):
        record(store, series)
    return store.data


def test_killed_between_any_two_effects_it_leaves_the_old_manifest_or_the_new_one(data: Path, tmp_path: Path) -> None:
    old, new, folder = tmp_path / "old", tmp_path / "new", tmp_path / "sealed"
    for place in (old, new):
        seal(data, place, HOURS)
    seal(data, new, HOURS, WEEKS, FUTURES)
    whole, old_manifest = contents(new), (old / MANIFEST).read_bytes()
    unnamed = {candles_key(series, "2024-06.parquet") for series in (WEEKS, FUTURES)}
    for point in itertools.count():
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(old, folder)
        killed(point, lambda: seal(data, folder, HOURS, WEEKS, FUTURES))
        is_over = contents(folder) == whole and not (folder / "staging").exists()
        manifest = (folder / MANIFEST).read_bytes()
        assert manifest in (old_manifest, whole[MANIFEST])
        problems = verify(LocalPlace(folder)).problems
        assert problems.keys() <= (unnamed if manifest == old_manifest else set())
        assert {text for texts in problems.values() for text in texts} <= {"no manifest names it"}
        for key in contents(folder).keys() - {MANIFEST}:
            assert (folder / key).read_bytes() == whole[key], "no file is ever there in part"
        seal(data, folder, HOURS, WEEKS, FUTURES)
        assert contents(folder) == whole
        assert not (folder / "staging").exists()
        if is_over:
            break
    assert point > 20


@pytest.mark.parametrize("seconds", [0.0, 0.02, 0.05, 0.1, 0.2])
def test_a_command_that_is_killed_is_made_good_by_the_next(
    store: DataFolder, start: Start, candlewick: Run, tmp_path: Path, seconds: float
) -> None:
    """Killed so long after the first file was staged."""
    for number in range(20):
        record(store, HOURS._replace(symbol=f"S{number}USDT", interval=Interval.M15))
    process = start("seal", "--into", "killed")
    deadline = time.monotonic() + 30
    while not (tmp_path / "killed" / "staging").exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.001)
    time.sleep(seconds)
    process.send_signal(signal.SIGKILL)
    process.wait()
    place = LocalPlace(tmp_path / "killed")
    try:
        before = verify(place)
    except StoreError as error:
        assert "nothing was sealed" in str(error)  # noqa: PT017 # it was killed before anything could be seen
    else:
        assert {text for texts in before.problems.values() for text in texts} <= {"no manifest names it"}
    assert candlewick("seal", "--into", "killed").returncode == 0
    assert candlewick("seal", "--into", "whole").returncode == 0
    assert contents(tmp_path / "killed") == contents(tmp_path / "whole")
    assert len(verify(place).files) == 20
    assert verify(place).problems == {}
