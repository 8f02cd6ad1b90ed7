"""Peak memory of each process while it records many series from the simulated exchange, in MB."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

import psutil

from bench.result import Result

_SERIES = 2000
_CANDLES = 3 * _SERIES
_PATIENCE_SECONDS = 180


def run() -> list[Result]:
    """The whole pipeline with 2,000 one-minute series of one market, until each has recorded three candles."""
    folder = Path(tempfile.mkdtemp(prefix="cw-", dir=Path.cwd()))
    symbols = [f"S{number}USDT" for number in range(_SERIES)]
    record = json.dumps([{"market": "spot", "symbols": symbols, "intervals": ["1m"]}])
    environment = os.environ | {"CANDLEWICK_RECORD": record, "CANDLEWICK_LOG_LEVEL": "ERROR"}
    command = [sys.executable, "-P", "-m", "candlewick"]
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, folder)
        simulator = subprocess.Popen(
            [*command, "simulate", "--port", "0", "--speed", "6", "--updates", "1", "--log-level", "ERROR"],
            stdout=subprocess.PIPE,
            text=True,
        )
        stack.callback(_end, simulator)
        assert simulator.stdout is not None  # noqa: S101 # it is a pipe
        address = simulator.stdout.readline().rpartition(" ")[2].strip()
        flags = ["--simulator", address, "--data", str(folder / "data")]
        up = subprocess.Popen([*command, "up", *flags], env=environment)
        stack.callback(_end, up)
        peaks = _watch(up.pid, folder / "data")
    return [Result(f"peak memory of the {name} at {_SERIES:,} series", "MB", peak) for name, peak in peaks.items()]


def _watch(pid: int, data: Path) -> dict[str, float]:
    deadline = time.monotonic() + _PATIENCE_SECONDS
    peaks: dict[str, float] = {}
    while time.monotonic() < deadline:
        time.sleep(1)
        for process in psutil.Process(pid).children():
            name = "writer" if "write" in process.cmdline() else "producer"
            peaks[name] = max(peaks.get(name, 0.0), _peak_mb(process.pid))
        for process in psutil.process_iter(["name", "cwd"]):
            if process.info["name"] == "valkey-server" and str(data.resolve()) in (process.info["cwd"] or ""):
                peaks["broker"] = _peak_mb(process.pid)
        status = subprocess.run(
            [sys.executable, "-P", "-m", "candlewick", "status", "--json", "--data", str(data)],
            capture_output=True,
            check=True,
        )
        if json.loads(status.stdout)["store"]["rows"] >= _CANDLES:
            break
    return peaks


def _peak_mb(pid: int) -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    return 0.0


def _end(process: "subprocess.Popen[bytes] | subprocess.Popen[str]") -> None:
    process.send_signal(signal.SIGTERM)
    process.wait()
    if process.stdout is not None:
        process.stdout.close()
