"""What each process of a recording takes: CPU and memory, from one moment to another."""

import contextlib
import time
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

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


class Sample(NamedTuple):
    """Seconds since a process began: of CPU, and that its threads waited for a core, which another one had."""

    cpu: float
    waited: float


class Meter:
    """Measures processes from its making on."""

    def __init__(self, measured: Mapping[str, psutil.Process]) -> None:
        self._measured = dict(measured)
        for process in measured.values():
            with contextlib.suppress(OSError):  # another user's, or a kernel without: then the peak is its life's
                Path(f"/proc/{process.pid}/clear_refs").write_text(_RESET_PEAK)
        self._began, self._busy_before = time.monotonic(), _busy_seconds()
        self._before = {name: _sample(process) for name, process in measured.items()}

    def usages(self) -> list[Usage]:
        """What each process has taken since then, and last of all everything else on this machine."""
        seconds, busy = time.monotonic() - self._began, _busy_seconds() - self._busy_before
        found = [self._usage(name, process, seconds) for name, process in self._measured.items()]
        else_percent = 100 * busy / seconds - sum(usage.cpu_percent for usage in found)
        return [*found, Usage("all else on this machine", max(0.0, else_percent))]

    def _usage(self, name: str, process: psutil.Process, seconds: float) -> Usage:
        before, now = self._before[name], _sample(process)
        pss_mb = process.memory_full_info().pss / 2**20
        shares = (100 * (now.cpu - before.cpu) / seconds, 100 * (now.waited - before.waited) / seconds)
        return Usage(name, *shares, peak_mb(process.pid), pss_mb)


def _busy_seconds() -> float:
    """Seconds of CPU that this machine has taken since its start, of all cores."""
    times = psutil.cpu_times()
    return float(sum(times) - times.idle - getattr(times, "iowait", 0.0) - getattr(times, "guest", 0.0))


def _sample(process: psutil.Process) -> Sample:
    return Sample(cpu_seconds(process), _waited_seconds(process.pid))


def _waited_seconds(pid: int) -> float:
    """Seconds that the threads of a process were ready to run and had no core; 0 where the kernel does not count it."""
    waited = 0
    for path in Path(f"/proc/{pid}/task").glob("*/schedstat"):
        with contextlib.suppress(OSError):  # a thread that has just ended
            waited += int(path.read_text().split()[1])
    return waited / 1e9


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
