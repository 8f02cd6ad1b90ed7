"""Fixtures of these tests."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.partitions import open_store
from tests.support.stores import DataFolder


@pytest.fixture
def store(tmp_path: Path) -> Iterator[DataFolder]:
    store = open_store(tmp_path)
    yield store
    store.staging.close()
