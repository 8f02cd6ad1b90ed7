"""Locks among processes of one host: an ``flock`` on an open file or folder. It dies with its process.

A file or folder may be swapped or removed while its lock is awaited: a lock is good only if the path still leads to
what was locked (``leads_to``).
"""

import fcntl
import os
import time
from pathlib import Path

_PAUSE_SECONDS = 0.02


def try_lock(fd: int) -> bool:
    """Lock what is open, if nobody else has it locked."""
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def lock_within(fd: int, seconds: float) -> bool:
    """Lock what is open, as soon as nobody else has it locked; False when somebody still has after so long."""
    deadline = time.monotonic() + seconds
    while not (locked := try_lock(fd)) and time.monotonic() <= deadline:
        time.sleep(_PAUSE_SECONDS)
    return locked


def is_locked(fd: int) -> bool:
    """Whether somebody else has locked what is open. Whoever looks holds the lock for an instant, if nobody does."""
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    fcntl.flock(fd, fcntl.LOCK_UN)
    return False


def leads_to(path: Path, fd: int) -> bool:
    """Whether a path still leads to what was opened."""
    try:
        return os.path.samestat(os.fstat(fd), path.stat())
    except FileNotFoundError:
        return False
