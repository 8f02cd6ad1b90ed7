"""The embedded broker's files: whether its disk takes them, why it could not load them, and where damaged ones go."""

import contextlib
import itertools
import os
import re
import signal
from pathlib import Path

_FILES = "appendonlydir"
_PROBE_BYTES = 2**20  # what the disk must take before a server is started on it
_STAMP = re.compile(r"^\d+:\w \d+ \w+ \d+ [\d:.]+ [.*#-] ")
_OF_FILES = re.compile(r"aof|append only|rdb|manifest", re.IGNORECASE)
_OF_DISK = re.compile(
    r"permission denied|input/output error|too many open|cannot allocate|no space|read-only", re.IGNORECASE
)
_CRASHES = (-signal.SIGSEGV, -signal.SIGABRT, -signal.SIGBUS)


def for_us_alone(path: str, flags: int) -> int:
    """An opener of files that no other user can read."""
    return os.open(path, flags, 0o600)


def disk_trouble(folder: Path) -> str:
    """Why the disk takes nothing more in a folder; empty when it does."""
    probe = folder / "probe"
    try:
        with probe.open("wb") as file:
            file.write(bytes(_PROBE_BYTES))
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        return f"{error.strerror} on {folder}"
    finally:
        with contextlib.suppress(OSError):
            probe.unlink()
    return ""


def why_ended(log: Path, log_from: int, code: int) -> tuple[str, bool]:
    """Why a server ended before it was ready, by what its log says from some place on, and whether its files are bad.

    A disk that refuses is no damage: then nothing is to be moved.
    """
    with log.open("rb") as file:
        file.seek(log_from)
        lines = file.read().decode(errors="replace").splitlines()
    told = [_STAMP.sub("", line) for line in lines if line.strip()]
    last = told[-1] if told else f"see {log}"
    trouble = disk_trouble(log.parent)
    is_damaged = code in _CRASHES or (_OF_FILES.search(last) is not None and _OF_DISK.search(last) is None)
    return trouble or last.partition(": make a backup")[0], is_damaged and not trouble


def move_away(folder: Path, damaged: Path) -> Path:
    """Move the files in a broker's folder to a folder for damaged ones; where they are now."""
    damaged.mkdir(parents=True, exist_ok=True)
    target = next(path for number in itertools.count(1) if not (path := damaged / f"broker~{number}").exists())
    (folder / _FILES).rename(target)
    return target
