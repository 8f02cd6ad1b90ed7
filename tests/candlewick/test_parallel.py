"""Work on many series by several processes: the same result as by one, also when one of them is killed."""

import contextlib
import json
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from consumer.dataset.dataset import Dataset
from tests.support.commands import Run, Start
from tests.support.waiting import wait_until

pytest.importorskip("distributed")

SYMBOLS = [f"S{number}USDT" for number in range(10)]
SPAN = ("--interval", "1m", "--from", "2024-05-31", "--to", "2024-06-04")


def contents(data: Path) -> dict[str, bytes]:
    """Every partition, by its path."""
    root = data / "candles"
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in sorted(root.rglob("*.parquet"))}


def test_a_backfill_by_two_workers_of_which_one_is_killed_is_that_of_one_process(
    simulator: Callable[..., str], candlewick: Run, start: Start, tmp_path: Path
) -> None:
    address = simulator("--start", "2024-06-30T00:00", "--symbols", f"spot:{','.join(SYMBOLS)}")
    alone = candlewick("backfill", "spot", *SYMBOLS, *SPAN, "--simulator", address, "--data", "alone")
    assert alone.returncode == 0, alone.stderr

    command = ("backfill", "spot", *SYMBOLS, *SPAN, "--simulator", address, "--data", "shared", "--workers", 2)
    running = start(*command)
    wait_until(lambda: len(contents(tmp_path / "shared")) > 8, 60)
    workers = [child for child in psutil.Process(running.pid).children(recursive=True) if _works(child)]
    workers[0].kill()
    assert running.wait(90) == 0
    assert contents(tmp_path / "shared") == contents(tmp_path / "alone")
    again = candlewick(*command[:-2])
    assert again.returncode == 0
    assert "0 file writes" in again.stdout

    audits = [
        json.loads(candlewick("audit", "--json", "--data", "shared", *more).stdout) for more in ((), ("--workers", 2))
    ]
    assert audits[0] == audits[1]
    compacted = candlewick("compact", "--data", "shared")
    assert compacted.stdout == "joined 10 files into 10 months\n"
    rows = {series: len(Dataset.in_folder(tmp_path / "shared").rows(series)) for series in _series(tmp_path / "alone")}
    assert set(rows.values()) == {4 * 1440}


def _works(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.Error):
        return "spawn_main" in " ".join(process.cmdline())
    return False


def _series(data: Path) -> list:  # type: ignore[type-arg]
    return Dataset.in_folder(data).series()


def test_workers_here_and_elsewhere_are_asked_for_one_at_a_time(candlewick: Run) -> None:
    done = candlewick("backfill", "spot", "BTCUSDT", *SPAN, "--workers", 2, "--dask", "tcp://127.0.0.1:9")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "only one of them may be given" in done.stderr


def test_a_scheduler_that_does_not_answer_is_one_line(candlewick: Run) -> None:
    done = candlewick("backfill", "spot", "BTCUSDT", *SPAN, "--dask", "tcp://127.0.0.1:9")
    assert done.returncode == 2
    assert done.stderr.startswith("candlewick: no Dask scheduler answers at tcp://127.0.0.1:9")
    assert done.stderr.count("\n") == 1
