"""Which exchange a store's candles come from, beside the dataset."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from consumer.sources import SourceWatch
from consumer.storage.layout import sources_key
from consumer.storage.sources import SourceStore
from shared.broker.keys import Keys
from shared.errors import DamagedFileError, SourceError
from shared.market import Market
from shared.settings.sections import ExchangeSettings
from tests.support.candles import BTC, make_candle
from tests.support.stores import DataFolder

MARKET = BTC.market


@pytest.fixture
def store(tmp_path: Path) -> Iterator[DataFolder]:
    folder = DataFolder(tmp_path)
    yield folder
    folder.close()


def test_sources_are_one_small_file_a_market_and_named_once(store: DataFolder) -> None:
    sources = SourceStore(store.local)
    assert sources.read(MARKET) == ()
    for _ in range(2):
        sources.add(MARKET, ["binance"])
    assert json.loads((store.data / "ledger" / "market=usdt_futures" / "sources.json").read_text()) == {
        "sources": ["binance"]
    }
    with pytest.raises(SourceError, match="simulated http://x"):
        sources.check(MARKET, ["simulated http://x"], mix=False)
    sources.add(MARKET, sources.check(MARKET, ["simulated http://x"], mix=True))
    assert sources.read(MARKET) == ("binance", "simulated http://x")
    assert sources.read(Market.SPOT) == ()


def test_candles_without_a_file_are_those_of_an_earlier_version_and_real(store: DataFolder) -> None:
    store.write(BTC, [make_candle()])
    sources = SourceStore(store.local)
    assert sources.read(MARKET) == ("binance",)
    with pytest.raises(SourceError):
        sources.check(MARKET, ["simulated http://x"], mix=False)
    sources.add(MARKET, ["binance"])
    assert (store.data / sources_key(MARKET)).is_file()


def test_candles_that_came_while_the_broker_knew_no_source_are_nobodys_until_it_does(
    store: DataFolder, client: Any, keys: Keys
) -> None:
    """A broker is emptied, and entries come before a producer says again whose they are (chaos, seed 1)."""
    watch = SourceWatch(client, keys, store.local, [MARKET], ExchangeSettings())
    watch.greet()
    watch.note([MARKET])
    store.write(BTC, [make_candle()])
    assert SourceStore(store.local).read(MARKET) == ()
    client.set(keys.sources(MARKET), "simulated http://x")
    later = SourceWatch(client, keys, store.local, [MARKET], ExchangeSettings())
    later.greet()
    later.note([MARKET])
    assert SourceStore(store.local).read(MARKET) == ("simulated http://x",)


@pytest.mark.parametrize("content", [b"", b'{"sour', b"[]", b'{"sources": "binance"}', b'{"sources": [1]}'])
def test_a_damaged_file_is_named_or_quarantined_and_written_anew(store: DataFolder, content: bytes) -> None:
    path: Path = store.data / sources_key(MARKET)
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    with pytest.raises(DamagedFileError, match="does not name sources"):
        SourceStore(store.local).read(MARKET)
    writer = SourceStore(store.local, quarantines=True)
    assert writer.read(MARKET) == ()
    writer.add(MARKET, ["binance"])
    assert writer.read(MARKET) == ("binance",)
    (kept,) = (store.data / "damaged").rglob("sources.json~1")
    assert kept.read_bytes() == content
