"""A small file system of a test's own: it can be filled, made read-only, taken away."""

import os
import subprocess
from pathlib import Path


class Disk:
    """A mounted file system of one megabyte, unless it is made larger."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def mount(self, *options: str) -> bool:
        command = ["mount", "-t", "tmpfs", *options, "tmpfs", str(self.folder)]
        return subprocess.run(command, capture_output=True, check=False).returncode == 0

    def remount(self, mode: str) -> None:
        subprocess.run(["mount", "-o", f"remount,{mode}", self.folder], check=True)

    @property
    def ballast(self) -> Path:
        """The file that takes the room of others."""
        return self.folder / "ballast"

    def take(self, count: int) -> None:
        """Let the ballast take at least so many bytes."""
        fd = os.open(self.ballast, os.O_WRONLY | os.O_CREAT)
        try:
            os.posix_fallocate(fd, 0, count)
        finally:
            os.close(fd)

    def fill(self) -> Path:
        """Let the ballast grow until not a byte more goes."""
        ballast = self.ballast
        fd = os.open(ballast, os.O_WRONLY | os.O_CREAT)
        try:
            for size in (65536, 4096, 512, 1):
                try:
                    while os.write(fd, bytes(size)):
                        pass
                except OSError:
                    continue
        finally:
            os.close(fd)
        return ballast

    def unmount(self) -> None:
        """Take it away, whoever still uses it."""
        subprocess.run(["umount", "--lazy", self.folder], check=True)
