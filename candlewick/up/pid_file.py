"""``candlewick.pid`` in a data folder: the process that records there.

Locked while its process lives, empty when nobody records. ``candlewick up`` holds it, ``candlewick down`` reads it.
"""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from shared.errors import SettingsError
from shared.process.locks import is_locked, lock_within

_LOOK_SECONDS = 0.25  # somebody who only looks has the lock for an instant


class PidFile:
    """The file of one data folder."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "candlewick.pid"

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Hold the file for this process. SettingsError when another one holds it, or the folder cannot be used."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise SettingsError(f"data folder {self.path.parent} cannot be used: {error}") from error
        try:
            if not lock_within(fd, _LOOK_SECONDS):
                raise SettingsError(
                    f"Candlewick already runs on {self.path.parent} (process {self.path.read_text().strip()}): "
                    "`candlewick down` stops it"
                )
            os.ftruncate(fd, 0)
            os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
            yield
            os.ftruncate(fd, 0)
        finally:
            os.close(fd)

    def running(self) -> int | None:
        """Process id of whoever holds the file; None when nobody does."""
        try:
            with self.path.open() as file:
                return int(file.read()) if is_locked(file.fileno()) else None
        except (FileNotFoundError, ValueError):
            return None
