"""One log for many processes: their output goes through one pipe into one file, in the order in which it was said.

A process whose files may not grow can still say so. What each has said is counted; a bounded log keeps its last part.
"""

import os
import threading
import time
from collections import Counter
from pathlib import Path
from typing import BinaryIO, Self

_END_SECONDS = 10.0
_READ_BYTES = 2**12


class Logbook:
    """A file that takes the output of many processes, through a pipe.

    Args:
        path: the file; made.
        max_bytes: beyond so many it is moved aside, in the place of the one before, and begun anew; None: never.

    Attributes:
        fd: where processes write.
        volume: bytes by the name that a line begins with, behind its time; ``other`` for lines of another form.
    """

    def __init__(self, path: Path, max_bytes: int | None = None) -> None:
        self.path = path
        self.volume: Counter[str] = Counter()
        self._max_bytes = max_bytes
        reading, self.fd = os.pipe()
        self._thread = threading.Thread(target=self._copy, args=(os.fdopen(reading, "rb", 0),), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Close; returns when everything that was said is in the file, or somebody still holds the pipe."""
        os.close(self.fd)
        self._thread.join(_END_SECONDS)

    def say(self, text: str) -> None:
        """Write a line of our own among the others."""
        now = time.time()
        stamp = f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(now))}.{int(now * 1000) % 1000:03d}Z"
        os.write(self.fd, f"{stamp} {'chaos':<12} {text}\n".encode())

    def _copy(self, reading: BinaryIO) -> None:
        with reading:
            file, size, begun = self.path.open("wb", 0), 0, b""
            try:
                while data := reading.read(_READ_BYTES):
                    file.write(data)
                    size += len(data)
                    *lines, begun = (begun + data).split(b"\n")
                    for line in lines:
                        self.volume[speaker(line)] += len(line) + 1
                    if self._max_bytes is not None and size > self._max_bytes:
                        file.close()
                        self.path.replace(self.path.with_suffix(".1"))
                        file, size = self.path.open("wb", 0), 0
            finally:
                file.close()


def speaker(line: bytes) -> str:
    """Which process says a line of the log; ``other`` where it does not tell."""
    stamp, _, rest = line.partition(b" ")
    if not stamp.endswith(b"Z") or not stamp[:4].isdigit():
        return "other"
    return rest[:12].decode(errors="replace").strip() or "other"
