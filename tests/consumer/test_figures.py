"""What a writer shows, when things are not as they should be."""

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from chaos.proxy import proxy
from consumer.figures import WriterFigures
from consumer.group import streams
from consumer.group.streams import stream_figures
from consumer.journal import Journal
from shared.broker.keys import Keys
from shared.market import Market
from shared.metrics.measures import Family
from shared.settings.model import Settings
from tests.support.candles import BTC, JUNE_30, MINUTE, make_candle
from tests.support.stores import DataFolder


@pytest.fixture
def folder(make_settings: Callable[..., Settings]) -> Iterator[DataFolder]:
    folder = DataFolder(make_settings().data.folder)
    yield folder
    folder.close()


def families(settings: Settings) -> dict[str, Family]:
    figures = WriterFigures(settings, tuple(Market), Journal(20, time))
    return {family.name: family for family in figures.families({})}


def test_a_writer_that_has_just_been_started_knows_what_is_stored(
    make_settings: Callable[..., Settings], folder: DataFolder
) -> None:
    folder.write(BTC, [make_candle(BTC, JUNE_30)])
    found = families(make_settings())
    assert found["newest_stored_close_timestamp_seconds"].values == {("usdt_futures",): (JUNE_30 + MINUTE) / 1000}


def test_a_folder_and_a_broker_that_are_away_leave_the_other_figures(
    make_settings: Callable[..., Settings], refused_port: int
) -> None:
    found = families(make_settings(broker={"url": f"redis://127.0.0.1:{refused_port}"}))
    assert "data_free_bytes" not in found
    assert found["stream_entries"].values == {}
    assert "flush_seconds" in found


def test_a_broker_that_hangs_is_waited_for_once_a_scrape(
    make_settings: Callable[..., Settings], refused_port: int
) -> None:
    with proxy(refused_port) as hanging:
        hanging.freeze()
        broker = {"url": f"redis://127.0.0.1:{hanging.port}", "timeout_seconds": 1.1}
        figures = WriterFigures(make_settings(broker=broker), tuple(Market), Journal(20, time))
        assert figures.troubles() == ["the broker does not answer"]
        assert "flush_seconds" in {family.name for family in figures.families({})}
        assert hanging.counts["connections"] == 1


def test_entries_are_counted_where_they_are_few_and_the_broker_is_believed_where_they_are_many(
    client: Any, keys: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "_MAX_COUNTED", 50)
    stream = keys.candles(Market.SPOT)
    client.xgroup_create(stream, "writers", id="0", mkstream=True)
    for number in range(40):
        client.xadd(stream, {"number": number})
    assert stream_figures(client, keys, Market.SPOT, "writers")["unread"] == 40
    for number in range(400):
        client.xadd(stream, {"number": number})
    assert stream_figures(client, keys, Market.SPOT, "writers")["unread"] == 440
