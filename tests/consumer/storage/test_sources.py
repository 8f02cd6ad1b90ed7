"""Which exchange a store's candles come from, beside the dataset."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from consumer.sources import SourceWatch
from consumer.storage.layout import sources_key
from consumer.storage.sources import SourceStore
from consumer.writer import Writer
from shared.broker.keys import Keys
from shared.errors import DamagedFileError, SourceError
from shared.market import Market
from shared.settings.model import Settings
from shared.settings.sections import ExchangeSettings
from tests.support.candles import BTC, make_candle
from tests.support.stores import DataFolder
from tests.support.waiting import wait_until
from tests.support.writing import candles, publish

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


def test_candles_whose_source_cannot_be_written_down_stay_pending_until_it_can(
    make_settings: Callable[..., Settings], client: Any
) -> None:
    """Else a writer that is killed leaves candles that count as an earlier version's (chaos, a cluster, seed 5)."""
    settings = make_settings(writer={"flush_seconds": 0.05, "flush_max_seconds": 0.1})
    keys = Keys(settings.broker.prefix)
    client.set(keys.sources(MARKET), "simulated http://x")
    in_the_way = settings.data.folder / "ledger" / f"market={MARKET}"
    in_the_way.parent.mkdir(parents=True)
    in_the_way.write_text("a file where a folder has to be")
    publish(client, keys, candles(3))
    writer = Writer(settings, [MARKET], block_ms=10)

    def waiting() -> int:
        writer.step()
        return len(writer.batch)

    try:
        writer.reader.create_groups()
        wait_until(lambda: waiting() == 3)
        for _ in range(20):
            writer.step()
        assert not list(settings.candles_folder.rglob("*.parquet"))
        assert client.xpending(keys.candles(MARKET), settings.writer.group)["pending"] == 3
        in_the_way.unlink()
        wait_until(lambda: waiting() == 0, 30)
    finally:
        writer.close()
    assert client.xpending(keys.candles(MARKET), settings.writer.group)["pending"] == 0
    assert len(list(settings.candles_folder.rglob("*.parquet"))) == 1
    sources = json.loads((settings.data.folder / sources_key(MARKET)).read_text())
    assert sources == {"sources": ["simulated http://x"]}
