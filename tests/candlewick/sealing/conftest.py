"""A recording whose June is over, and its sealed months."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.commands import Run
from tests.support.sealed import ALL, record
from tests.support.stores import DataFolder


@pytest.fixture
def store(tmp_path: Path) -> Iterator[DataFolder]:
    store = DataFolder(tmp_path / "data")
    yield store
    store.close()


@pytest.fixture
def sealed(store: DataFolder, candlewick: Run) -> Path:
    """June of several series, sealed by the command; the folder."""
    for series in ALL:
        record(store, series)
    done = candlewick("seal")
    assert (done.returncode, done.stderr) == (0, "")
    return store.data / "sealed"
