"""Every kind of storage passes the same kit of tests."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from obstore.store import MemoryStore

from consumer.storage.durable import Staging
from consumer.storage.interface import Storage
from consumer.storage.local import LocalStorage
from consumer.storage.object_store import ObjectStorage
from tests.support.memory_storage import MemoryStorage
from tests.support.storage_tests import StorageTests


class TestLocalStorage(StorageTests):
    @pytest.fixture
    def storage(self, tmp_path: Path) -> Iterator[Storage]:
        staging = Staging(tmp_path / "staging")
        yield LocalStorage(tmp_path, staging, lock_timeout_seconds=10)
        assert list(staging.path.iterdir()) == [], "nothing is left behind"
        staging.close()


class TestMemoryStorage(StorageTests):
    @pytest.fixture
    def storage(self) -> Storage:
        return MemoryStorage()


class TestObjectStorageInMemory(StorageTests):
    @pytest.fixture
    def storage(self) -> Storage:
        return ObjectStorage("memory://", MemoryStore())


class TestObjectStorageOnS3(StorageTests):
    @pytest.fixture
    def storage(self, bucket: str) -> Storage:
        return ObjectStorage(bucket)
