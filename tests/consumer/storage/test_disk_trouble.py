"""A disk that is full, read-only, or has its folders deleted, for real: a small file system of the test's own."""

import logging
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from consumer.dataset.dataset import Dataset
from shared.broker.entry import encode_entry
from shared.broker.keys import Keys
from shared.market import Market
from shared.series_fact import FactKind, SeriesFact
from shared.settings.model import Settings
from tests.support.candles import BTC, JUNE_30
from tests.support.waiting import wait_until
from tests.support.writing import ETH, candles, pending, publish, stored, writing

REFUSED = "series stay pending"


class Disk:
    """A mounted file system of one megabyte."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def mount(self, *options: str) -> bool:
        command = ["mount", "-t", "tmpfs", *options, "tmpfs", str(self.folder)]
        return subprocess.run(command, capture_output=True, check=False).returncode == 0

    def remount(self, mode: str) -> None:
        subprocess.run(["mount", "-o", f"remount,{mode}", self.folder], check=True)

    def fill(self) -> Path:
        """Write a file until not a byte more goes."""
        ballast = self.folder / "ballast"
        fd = os.open(ballast, os.O_WRONLY | os.O_CREAT)
        try:
            for size in (65536, 4096, 512, 1):
                try:
                    while os.write(fd, bytes(size)):
                        pass
                except OSError:
                    continue
        finally:
            os.close(fd)
        return ballast


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    if sys.platform != "linux" or os.getuid() != 0:
        pytest.skip("only root may mount a file system")
    folder = tmp_path / "disk"
    folder.mkdir()
    disk = Disk(folder)
    if not disk.mount("-o", "size=1m"):
        pytest.skip("this machine does not let a file system be mounted")
    yield disk
    subprocess.run(["umount", "--lazy", folder], check=True)


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


@pytest.mark.parametrize("name", ["candles", "staging", "ledger", "."])
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
