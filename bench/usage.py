"""What each process of a recording takes: CPU and memory, from one moment to another."""

import contextlib
import time
from collections.abc import Mapping
from pathlib import Path

import psutil

from bench.result import Usage

_RESET_PEAK = "5"  # what the kernel is told for it (proc(5), clear_refs)


def processes(pid: int, data: Path) -> dict[str, psutil.Process]:
    """What ``candlewick up`` runs, by what it does: up itself, ``producer MARKET``, writer and broker."""
    found = {"up": psutil.Process(pid)}
    for process in found["up"].children():
        words = process.cmdline()
        if "produce" in words:
            found[f"producer {words[words.index('produce') + 1]}"] = process
        elif "write" in words:
            found["writer"] = process
    for process in psutil.process_iter(["name", "cwd"]):
        if process.info["name"] == "valkey-server" and str(data.resolve()) in (process.info["cwd"] or ""):
            found["broker"] = process
    return found


class Meter:
    """Measures processes from its making on."""

    def __init__(self, measured: Mapping[str, psutil.Process]) -> None:
        self._measured = dict(measured)
        for process in measured.values():
            with contextlib.suppress(OSError):  # another user's, or a kernel without: then the peak is its life's
                Path(f"/proc/{process.pid}/clear_refs").write_text(_RESET_PEAK)
        self._began, self._busy_before = time.monotonic(), _busy_seconds()
        self._before = {name: cpu_seconds(process) for name, process in measured.items()}

    def usages(self) -> list[Usage]:
        """CPU in percent of a core since then, the highest RSS since then, and PSS now.

        The last one is everything else on this machine: a machine that is busy with it makes all times longer.
        """
        seconds, busy = time.monotonic() - self._began, _busy_seconds() - self._busy_before
        used = {name: cpu_seconds(process) - self._before[name] for name, process in self._measured.items()}
        return [
            *(
                Usage(name, 100 * used[name] / seconds, peak_mb(process.pid), process.memory_full_info().pss / 2**20)
                for name, process in self._measured.items()
            ),
            Usage("all else on this machine", 100 * max(0.0, busy - sum(used.values())) / seconds),
        ]


def _busy_seconds() -> float:
    """Seconds of CPU that this machine has taken since its start, of all cores."""
    times = psutil.cpu_times()
    return float(sum(times) - times.idle - getattr(times, "iowait", 0.0) - getattr(times, "guest", 0.0))


def cpu_seconds(process: psutil.Process) -> float:
    """Seconds of CPU that a process has taken, in user and in kernel mode."""
    times = process.cpu_times()
    return float(times.user + times.system)


def peak_mb(pid: int) -> float:
    """The most memory that a process has had resident, in MB."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    return 0.0
