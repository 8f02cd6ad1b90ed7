"""What went through the streams, once more."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from consumer.dataset.dataset import Dataset
from consumer.recovery.replay import Selection, replay
from shared.broker.entry import encode_entry
from shared.broker.keys import Keys
from shared.candle import Series
from shared.errors import SettingsError
from shared.interval import Interval
from shared.market import Market
from shared.settings.model import Settings
from tests.support.candles import BTC, JUNE_30, MINUTE, make_candle
from tests.support.stores import DataFolder

ETH = Series(Market.SPOT, "ETHUSDT", Interval.M1)


@pytest.fixture
def published(client: Any, keys: Keys, make_settings: Callable[..., Settings]) -> Settings:
    """Both series in the streams, each candle twice and out of order, and in a store."""
    settings = make_settings()
    store = DataFolder(settings.data.folder)
    for series in (BTC, ETH):
        candles = [make_candle(series, JUNE_30 + at * MINUTE, close=str(at)) for at in range(0, 3000, 7)]
        store.write(series, candles)
        for candle in [*reversed(candles), *candles]:
            client.xadd(keys.candles(series.market), encode_entry(candle))
    client.xadd(keys.candles(Market.SPOT), {"no": "candle"})
    store.close()
    return settings


def test_the_same_entries_give_the_same_rows(published: Settings, client: Any, keys: Keys, tmp_path: Path) -> None:
    done = replay(client, keys, tmp_path / "again", Selection())
    assert (done.candles, done.series, done.unreadable) == (4 * 429, 2, 1)
    for series in (BTC, ETH):
        old = Dataset.in_folder(published.data.folder).rows(series)
        new = Dataset.in_folder(tmp_path / "again").rows(series)
        assert np.array_equal(old.times, new.times)
        assert np.array_equal(old.values, new.values)
    assert sorted(path.name for path in (tmp_path / "again").iterdir()) == ["candles"]


def test_once_more_into_the_same_folder_changes_nothing(
    published: Settings, client: Any, keys: Keys, tmp_path: Path
) -> None:
    assert replay(client, keys, tmp_path / "again", Selection()).files > 0
    assert replay(client, keys, tmp_path / "again", Selection()).files == 0
    assert published.candles_folder.is_dir()


@pytest.mark.parametrize(
    ("selection", "rows"),
    [
        (Selection(market=Market.SPOT), {ETH: 429}),
        (Selection(symbols=frozenset(["BTCUSDT"])), {BTC: 429}),
        (Selection(interval=Interval.H1), {}),
        (Selection(start_ms=JUNE_30 + 2000 * MINUTE), {BTC: 143, ETH: 143}),
        (Selection(end_ms=JUNE_30 + 7 * MINUTE), {BTC: 1, ETH: 1}),
    ],
)
@pytest.mark.usefixtures("published")
def test_a_selection_is_kept_to(
    client: Any, keys: Keys, tmp_path: Path, selection: Selection, rows: dict[Series, int]
) -> None:
    done = replay(client, keys, tmp_path / "again", selection)
    assert done.series == len(rows)
    for series, count in rows.items():
        assert len(Dataset.in_folder(tmp_path / "again").rows(series)) == count


def test_a_folder_with_other_things_in_it_is_refused(client: Any, keys: Keys, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("precious")
    with pytest.raises(SettingsError, match="neither empty nor an earlier replay's folder"):
        replay(client, keys, tmp_path, Selection())
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]
