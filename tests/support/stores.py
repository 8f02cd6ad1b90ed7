"""A data folder with all that reads and writes it."""

from contextlib import AbstractContextManager
from pathlib import Path

from consumer.dataset.dataset import Dataset
from consumer.storage.candle_store import CandleStore
from consumer.storage.durable import Staging
from consumer.storage.layout import candles_key
from consumer.storage.local import LocalStorage, LockedFolder
from consumer.storage.metadata import MetadataStore
from shared.candle import Series


class DataFolder(CandleStore):
    """Writes candles below a folder of the test's.

    Attributes:
        data: the folder.
        root: the dataset in it.
        staging: the staging folder; closed by ``close``.
        local: the storage.
        dataset: what is stored.
        metadata: what is known besides rows.
    """

    def __init__(self, data: Path, lock_timeout_seconds: float = 5, cache_bytes: int = 2**20) -> None:
        self.data = data
        self.root = data / "candles"
        self.staging = Staging(data / "staging")
        self.local = LocalStorage(data, self.staging, lock_timeout_seconds)
        self.dataset = Dataset(self.local)
        self.metadata = MetadataStore(self.local)
        super().__init__(self.local, cache_bytes)

    def locked(self, series: Series) -> AbstractContextManager[LockedFolder]:
        """Hold a series against all other writers."""
        return self.local.locked(candles_key(series))

    def close(self) -> None:
        """Let go of the staging folder."""
        self.staging.close()
