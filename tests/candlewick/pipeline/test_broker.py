"""The embedded broker under ``candlewick up``: whatever becomes of it, it is mended, and nothing is lost."""

import os
import shutil
import signal
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from candlewick.up import embedded
from candlewick.up.embedded import Reach, Server
from candlewick.up.serving import is_server, serving_pids
from chaos.whole.truth import control
from shared.broker.address import embedded_folder, embedded_socket
from shared.interval import MINUTE_MS
from shared.settings.load import load_settings
from shared.settings.model import Settings
from tests.support.candles import JUNE_30
from tests.support.commands import Start
from tests.support.completeness import audits, is_complete
from tests.support.disk import Disk
from tests.support.pipeline import BASE, GROUPS, write_settings
from tests.support.waiting import wait_until

SPOT = [group for group in GROUPS if group["market"] == "spot"]


def socket_cleaned(settings: Settings, pid: int) -> None:
    del pid
    embedded_socket(settings).unlink()


def files_beside_the_data_deleted(settings: Settings, pid: int) -> None:
    for name in ("server", "valkey.log"):
        (embedded_folder(settings) / name).unlink()
    os.kill(pid, signal.SIGKILL)


def files_damaged(settings: Settings, pid: int) -> None:
    """While it runs: it notices when it is started the next time."""
    path = max((embedded_folder(settings) / "appendonlydir").glob("*.incr.aof"), key=lambda file: file.stat().st_size)
    content = bytearray(path.read_bytes())
    at = len(content) // 2
    content[at : at + 2048] = bytes(2048)  # longer than any value, in which zeros would be nobody's business
    path.write_bytes(content)
    os.kill(pid, signal.SIGKILL)


def is_another(settings: Settings, pid: int) -> bool:
    """Whether another broker than that process answers."""
    found = embedded.look(settings)
    return found.reach is Reach.READY and found.pid != pid


def folder_deleted(settings: Settings, pid: int) -> None:
    """The server lives on, without files, and whoever is connected goes on using it."""
    del pid
    shutil.rmtree(embedded_folder(settings))


@pytest.mark.timeout(240)
def test_whatever_becomes_of_the_embedded_broker_it_is_mended_and_nothing_is_lost(
    start: Start, simulator: Callable[..., str], tmp_path: Path
) -> None:
    address = simulator("--speed", 120, "--start", BASE, "--updates", 1)
    path = write_settings(tmp_path, address, SPOT, broker={"timeout_seconds": 2}, repair={"grace_seconds": 120})
    settings = load_settings(path)
    up = start("up")
    wait_until(lambda: is_complete(settings, 4, JUNE_30 + 5 * MINUTE_MS), 60)
    for fault in (socket_cleaned, files_beside_the_data_deleted, files_damaged, folder_deleted):
        before = embedded.look(settings)
        assert before.reach is Reach.READY
        assert before.pid is not None
        fault(settings, before.pid)
        wait_until(partial(is_another, settings, before.pid), 30)
        assert len(serving_pids(embedded_folder(settings))) == 1
        assert not is_server(before.pid)
        until_ms = control(address)["time_ms"] // MINUTE_MS * MINUTE_MS
        wait_until(lambda until_ms=until_ms: is_complete(settings, 4, until_ms), 60)  # type: ignore[misc]
    up.terminate()
    assert up.wait(20) == 0
    assert all(audit.tally.absent == 0 for audit in audits(settings, until_ms))
    said = (tmp_path / "log").read_text()
    for words in ("cannot be reached: its socket is gone", "broker is gone; starting", "files are damaged"):
        assert said.count(words) == 1, words


def test_a_disk_that_fills_up_under_the_broker_is_told_once_and_nothing_is_lost(
    disk: Disk, start: Start, simulator: Callable[..., str], tmp_path: Path
) -> None:
    """Each try to start it fails: they come ever more seldom, and say so once."""
    disk.remount("size=16m")
    address = simulator("--speed", 120, "--start", BASE, "--updates", 1)
    data = {"folder": str(disk.folder / "data")}
    settings = load_settings(write_settings(tmp_path, address, SPOT, data=data, repair={"grace_seconds": 120}))
    up = start("up")
    wait_until(lambda: is_complete(settings, 4, JUNE_30 + 5 * MINUTE_MS), 60)
    before = embedded.look(settings)
    assert before.pid is not None
    ballast = disk.fill()
    os.kill(before.pid, signal.SIGKILL) if embedded.look(settings).reach is Reach.READY else None
    tried = 0

    def has_tried_often() -> bool:
        nonlocal tried
        tried += embedded.look(settings).reach is Reach.GONE
        return tried > 100 and "No space left on device" in (tmp_path / "log").read_text()

    wait_until(has_tried_often, 60)
    ballast.unlink()
    wait_until(partial(is_another, settings, before.pid), 60)
    until_ms = control(address)["time_ms"] // MINUTE_MS * MINUTE_MS
    wait_until(lambda: is_complete(settings, 4, until_ms), 60)
    up.terminate()
    assert up.wait(20) == 0
    said = [line for line in (tmp_path / "log").read_text().splitlines() if " up " in line]
    assert sum("cannot be started: No space left on device" in line for line in said) == 1
    assert sum("broker is gone" in line for line in said) == 1


def test_a_broker_that_was_started_by_hand_is_left_alone_by_up(
    start: Start, simulator: Callable[..., str], tmp_path: Path
) -> None:
    address = simulator("--speed", 120, "--start", BASE, "--updates", 1)
    settings = load_settings(write_settings(tmp_path, address, SPOT))
    broker = start("broker")
    wait_until(lambda: embedded.is_running(settings))
    up = start("up")
    wait_until(lambda: is_complete(settings, 4, JUNE_30 + 3 * MINUTE_MS), 60)
    up.terminate()
    assert up.wait(20) == 0
    assert embedded.look(settings) == Server(Reach.READY, broker.pid, is_ours=False)
    broker.terminate()
    assert broker.wait(15) == 0
