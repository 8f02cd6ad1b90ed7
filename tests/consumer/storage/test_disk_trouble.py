"""A disk that is full, read-only, or has its folders deleted, for real: a small file system of the test's own."""

import logging
import shutil
from collections.abc import Callable
from typing import Any

import pytest

from consumer.dataset.dataset import Dataset
from shared.broker.entry import encode_entry
from shared.broker.keys import Keys
from shared.market import Market
from shared.series_fact import FactKind, SeriesFact
from shared.settings.model import Settings
from tests.support.candles import BTC, JUNE_30
from tests.support.disk import Disk
from tests.support.waiting import wait_until
from tests.support.writing import ETH, candles, pending, publish, stored, writing

REFUSED = "series stay pending"


def test_on_a_full_disk_entries_stay_pending_and_are_written_when_there_is_room(
    disk: Disk, make_settings: Callable[..., Settings], client: Any, keys: Keys, caplog: pytest.LogCaptureFixture
) -> None:
    settings = make_settings(
        data={"folder": disk.folder / "data"}, writer={"flush_max_seconds": 0.5, "claim_seconds": 1, "tries": 1}
    )
    with caplog.at_level(logging.INFO), writing(settings):
        publish(client, keys, candles(50))
        wait_until(lambda: stored(settings) == list(range(50)) and pending(client, keys) == 0)
        ballast = disk.fill()
        publish(client, keys, candles(600, first=50) + candles(5, ETH))
        wait_until(lambda: REFUSED in caplog.text and "No space left on device" in caplog.text)
        wait_until(lambda: pending(client, keys) == 605)
        assert stored(settings) == list(range(50)), "what was there stays as it was"
        ballast.unlink()
        wait_until(lambda: stored(settings) == list(range(650)) and stored(settings, ETH) == list(range(5)))
        wait_until(lambda: pending(client, keys) == 0)
        wait_until(lambda: "every series can be written again" in caplog.text)
    assert client.xlen(keys.dead_letters(Market.USDT_FUTURES)) == 0
    assert [path for path in settings.staging_folder.rglob("*") if path.is_file()] == []


def test_a_disk_that_becomes_read_only_is_waited_for(
    disk: Disk, make_settings: Callable[..., Settings], client: Any, keys: Keys, caplog: pytest.LogCaptureFixture
) -> None:
    settings = make_settings(data={"folder": disk.folder / "data"})
    with caplog.at_level(logging.INFO), writing(settings):
        publish(client, keys, candles(5))
        wait_until(lambda: stored(settings) == list(range(5)) and pending(client, keys) == 0)
        disk.remount("ro")
        publish(client, keys, candles(5, first=5))
        wait_until(lambda: REFUSED in caplog.text and "Read-only file system" in caplog.text)
        disk.remount("rw")
        wait_until(lambda: stored(settings) == list(range(10)) and pending(client, keys) == 0)


@pytest.mark.parametrize("name", ["candles", "staging", "ledger"])
def test_a_folder_that_is_deleted_under_a_writer_is_made_again_and_later_candles_are_written(
    name: str, make_settings: Callable[..., Settings], client: Any, keys: Keys
) -> None:
    settings = make_settings()
    dataset = Dataset.in_folder(settings.data.folder)
    with writing(settings):
        for round_number in range(3):
            publish(client, keys, candles(5, first=5 * round_number))
            note = SeriesFact(
                BTC, FactKind.BEGAN, JUNE_30 + round_number, JUNE_30 + round_number, JUNE_30 + round_number
            )
            client.xadd(keys.candles(Market.USDT_FUTURES), encode_entry(note))
            wait_until(lambda last=5 * round_number + 4: stored(settings)[-1:] == [last])  # type: ignore[misc]
            wait_until(lambda: pending(client, keys) == 0 and dataset.metadata(BTC).began_ms is not None)
            shutil.rmtree(settings.data.folder / name)
