"""Many partitions at once: the same rows as one by one, and whoever is damaged is named."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from consumer.dataset.dataset import Dataset
from consumer.storage.layout import candles_key
from consumer.storage.table import concatenate
from shared.errors import DamagedFileError
from shared.interval import DAY_MS
from tests.support.candles import BTC, JUNE_30, MINUTE, make_candle
from tests.support.stores import DataFolder

DAYS = 40


@pytest.fixture
def store(tmp_path: Path) -> Iterator[DataFolder]:
    store = DataFolder(tmp_path)
    opens = [JUNE_30 + day * DAY_MS + at * MINUTE for day in range(DAYS) for at in range(3)]
    store.write(BTC, [make_candle(open_time_ms=time_ms, close=str(time_ms % 997)) for time_ms in opens])
    yield store
    store.close()


def test_many_files_give_the_rows_of_each(store: DataFolder) -> None:
    whole = store.dataset.rows(BTC)
    each = concatenate(rows for part in store.dataset.partitions(BTC) if (rows := store.dataset.partition(part)))
    assert np.array_equal(whole.times, each.times)
    assert np.array_equal(whole.values, each.values)
    closes = store.dataset.table(BTC, JUNE_30 + DAY_MS, columns=["close"])
    assert closes.column_names == ["candle_end_time", "candle_begin_time", "close"]
    assert closes.num_rows == 3 * (DAYS - 1)


@pytest.mark.parametrize("damage", ["a bit", "cut", "another file"])
def test_of_many_files_the_damaged_one_is_named(store: DataFolder, damage: str) -> None:
    path = store.data / candles_key(BTC, "2024-07-09.parquet")
    content = bytearray(path.read_bytes())
    content[len(content) // 3] ^= 1
    path.write_bytes({"a bit": bytes(content), "cut": bytes(content[:-9]), "another file": b"PAR1PAR1"}[damage])
    with pytest.raises(DamagedFileError, match=r"2024-07-09\.parquet is no partition of ours"):
        Dataset.in_folder(store.data).rows(BTC)
