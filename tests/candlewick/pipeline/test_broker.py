"""The embedded broker under ``candlewick up``: whatever becomes of it, it is mended, and nothing is lost."""

import os
import signal
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from candlewick.up import embedded
from candlewick.up.embedded import Reach
from candlewick.up.serving import serving_pids
from chaos.whole.truth import control
from shared.broker.client import embedded_folder, embedded_socket
from shared.interval import MINUTE_MS
from shared.settings.load import load_settings
from shared.settings.model import Settings
from tests.support.candles import JUNE_30
from tests.support.commands import Start
from tests.support.completeness import audits, is_complete
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
    content[at : at + 64] = bytes(64)
    path.write_bytes(content)
    os.kill(pid, signal.SIGKILL)


def is_another(settings: Settings, pid: int) -> bool:
    """Whether another broker than that process answers."""
    found = embedded.look(settings)
    return found.reach is Reach.READY and found.pid != pid


@pytest.mark.timeout(240)
def test_whatever_becomes_of_the_embedded_broker_it_is_mended_and_nothing_is_lost(
    start: Start, simulator: Callable[..., str], tmp_path: Path
) -> None:
    address = simulator("--speed", 120, "--start", BASE, "--updates", 1)
    path = write_settings(tmp_path, address, SPOT, broker={"timeout_seconds": 2}, repair={"grace_seconds": 120})
    settings = load_settings(path)
    up = start("up")
    wait_until(lambda: is_complete(settings, 4, JUNE_30 + 5 * MINUTE_MS), 60)
    for fault in (socket_cleaned, files_beside_the_data_deleted, files_damaged):
        before = embedded.look(settings)
        assert before.reach is Reach.READY
        assert before.pid is not None
        fault(settings, before.pid)
        wait_until(partial(is_another, settings, before.pid), 30)
        assert len(serving_pids(embedded_folder(settings))) == 1
        until_ms = control(address)["time_ms"] // MINUTE_MS * MINUTE_MS
        wait_until(lambda until_ms=until_ms: is_complete(settings, 4, until_ms), 60)  # type: ignore[misc]
    up.terminate()
    assert up.wait(20) == 0
    assert all(audit.tally.absent == 0 for audit in audits(settings, until_ms))
    said = (tmp_path / "log").read_text()
    for words in ("cannot be reached: its socket is gone", "broker is gone; starting", "files are damaged"):
        assert said.count(words) == 1, words
