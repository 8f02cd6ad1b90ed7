"""Two writers, one of which is stopped in the middle of a flush, or is slow at it, for longer than the claim time."""

import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from chaos.crashes import strace
from chaos.whole.truth import rows_on_disk
from shared.broker.heartbeat import heartbeats
from shared.broker.keys import Keys
from shared.candle import Series
from shared.interval import Interval
from shared.market import Market
from shared.settings.model import Settings
from tests.support.candles import JUNE_30, MINUTE
from tests.support.waiting import wait_until
from tests.support.writing import candles, pending, publish, start_process

MARKET = Market.USDT_FUTURES
HELD = [Series(MARKET, f"S{number}USDT", Interval.M1) for number in range(5)]
FREE = Series(MARKET, "OTHERUSDT", Interval.M1)
STOPPED = {
    "partitions are staged, the first is synced": "fsync:signal=SIGSTOP:when=1",
    "the first partition is renamed": "renameat:signal=SIGSTOP:when=1",
    "all are renamed, the first folder is synced": f"fsync:signal=SIGSTOP:when={len(HELD) + 1}",
}


@pytest.fixture(autouse=True)
def _can_trace() -> None:
    refusal = strace.refusal()
    if refusal is not None:
        pytest.skip(refusal)


@contextmanager
def two_writers(settings: Settings, client: Any, keys: Keys) -> Iterator[tuple[Any, Any]]:
    """One that works and one that is stopped before it could take anything; both leave in good order."""
    writers = [start_process(settings), start_process(settings)]
    try:
        wait_until(lambda: len(heartbeats(client, keys)) == 2)
        writers[1].send_signal(signal.SIGSTOP)
        yield writers[0], writers[1]
    finally:
        for writer in writers:
            writer.send_signal(signal.SIGCONT)
            writer.terminate()
        for writer in writers:
            assert writer.wait(30) == 0


def consumer_of(client: Any, keys: Keys, writer: "subprocess.Popen[bytes]") -> bytes:
    """The consumer name of a writer that lives."""
    lives = {name: body["consumer"] for (_, name), body in heartbeats(client, keys).items()}
    return next(str(one).encode() for name, one in lives.items() if name.endswith(f"-{writer.pid}"))


def held_by(client: Any, keys: Keys, consumer: bytes) -> int:
    """Entries that are pending for a consumer."""
    found = client.xpending(keys.candles(MARKET), "writers")["consumers"]
    return sum(int(one["pending"]) for one in found if one["name"] == consumer)


def minutes(settings: Settings, series: Series) -> list[int]:
    """Open times of all rows on disk in minutes, as often as they stand there."""
    return [(time - JUNE_30) // MINUTE for time, _ in rows_on_disk(settings.candles_folder, series)]


@pytest.mark.parametrize("where", STOPPED)
def test_a_writer_stopped_in_the_middle_of_a_flush_and_woken_after_others_took_over_loses_and_doubles_nothing(
    where: str, make_settings: Callable[..., Settings], client: Any, keys: Keys, tmp_path: Path
) -> None:
    settings = make_settings()
    with two_writers(settings, client, keys) as (first, second):
        consumer = consumer_of(client, keys, first)
        publish(client, keys, [candle for series in HELD for candle in candles(3, series)])
        wait_until(lambda: all(minutes(settings, series) == [0, 1, 2] for series in HELD) and not pending(client, keys))
        log = tmp_path / "strace.log"
        with strace.attached(first.pid, log, injection=STOPPED[where]):
            publish(client, keys, [candle for series in HELD for candle in candles(30, series, first=3)])
            wait_until(lambda: "stopped by SIGSTOP" in log.read_text(errors="replace"))
        assert psutil.Process(first.pid).status() == psutil.STATUS_STOPPED
        assert held_by(client, keys, consumer) == 30 * len(HELD)
        second.send_signal(signal.SIGCONT)
        for batch in range(20):  # more for the series whose locks are held, and for one whose is not
            publish(client, keys, [candle for series in HELD for candle in candles(5, series, first=33 + 5 * batch)])
            publish(client, keys, candles(5, FREE, first=5 * batch))
            wait_until(lambda batch=batch: minutes(settings, FREE) == list(range(5 * batch + 5)))  # type: ignore[misc]
        wait_until(lambda: held_by(client, keys, consumer) == 0, 60)
        first.send_signal(signal.SIGCONT)
        wait_until(lambda: all(minutes(settings, series) == list(range(133)) for series in HELD), 60)
        wait_until(lambda: pending(client, keys) == 0)
    assert minutes(settings, FREE) == list(range(100))
    assert [path for path in settings.staging_folder.rglob("*") if path.is_file()] == []


def test_a_slow_disk_is_only_slow_even_when_others_claim_what_is_being_written(
    make_settings: Callable[..., Settings], client: Any, keys: Keys, tmp_path: Path
) -> None:
    """Every sync takes longer than the claim time."""
    settings = make_settings()
    with two_writers(settings, client, keys) as (first, second):
        second.send_signal(signal.SIGCONT)
        slow = "fsync:delay_enter=1500000:when=1+"  # microseconds
        with strace.attached(first.pid, tmp_path / "strace.log", injection=slow):
            for batch in range(4):
                publish(client, keys, [candle for series in HELD for candle in candles(5, series, first=5 * batch)])
            wait_until(lambda: all(minutes(settings, series) == list(range(20)) for series in HELD), 90)
            wait_until(lambda: pending(client, keys) == 0, 90)
    assert all(minutes(settings, series) == list(range(20)) for series in HELD)
