"""A whole market, ``"*"`` of 1,600 symbols, from the simulated exchange: what each process takes of memory and CPU.

Time runs four times as fast as the exchange's, at the market's own cadence of frames (an open kline every two seconds
a symbol). CPU is counted from the first whole minute on disk to the fourth, per minute of the exchange's time, so that
the start is left out.
"""

import json
import subprocess
import time
from pathlib import Path
from typing import NamedTuple

from bench.result import Result
from bench.simulated import COMMAND, recorded, symbols
from bench.usage import cpu_seconds, peak_mb, processes
from shared.market import Market

_SYMBOLS = 1600
_SPEED = 4
_FIRST_MINUTE, _LAST_MINUTE = 1, 4
_PATIENCE_SECONDS = 180


class Sample(NamedTuple):
    """CPU seconds of each process so far, and when that was."""

    at: float
    cpu_seconds: dict[str, float]


def run() -> list[Result]:
    """Record until four minutes of every symbol are on disk."""
    with recorded({Market.SPOT: symbols(Market.SPOT, _SYMBOLS)}, _SPEED) as recording:
        up, data = recording.up, recording.data
        first = watch(up.pid, data, _FIRST_MINUTE * _SYMBOLS)
        last = watch(up.pid, data, _LAST_MINUTE * _SYMBOLS)
        peaks = {name: peak_mb(process.pid) for name, process in processes(up.pid, data).items()}
    minutes = (last.at - first.at) * _SPEED / 60
    name = f'"*" of {_SYMBOLS:,} symbols'
    return [
        *(Result(f"{name}: peak memory of {process}", "MB", peak) for process, peak in peaks.items()),
        *(
            Result(f"{name}: CPU of {process}", "s a minute", (seconds - first.cpu_seconds[process]) / minutes)
            for process, seconds in last.cpu_seconds.items()
        ),
    ]


def watch(pid: int, data: Path, rows: int) -> Sample:
    """Wait until so many rows are on disk; the CPU that was used by then."""
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while time.monotonic() < deadline and _rows(data) < rows:
        time.sleep(1)
    used = {name: cpu_seconds(process) for name, process in processes(pid, data).items()}
    return Sample(time.monotonic(), used)


def _rows(data: Path) -> int:
    command = [*COMMAND, "status", "--json", "--data", str(data)]
    status = subprocess.run(command, capture_output=True, check=False)  # its code says how well it does
    return int(json.loads(status.stdout)["store"]["rows"])
