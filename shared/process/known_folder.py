"""A folder that must stay what it was when the process began: not renamed, deleted, or unmounted under it.

By its path alone nobody would notice: a folder of that name is made again, or the empty one below a mount is used, and
a second dataset begins beside the first.
"""

import os
from pathlib import Path

from shared.errors import StoreError


class KnownFolder:
    """A folder by its device and inode. FileNotFoundError, as any OSError, when it is not there at first."""

    def __init__(self, path: Path) -> None:
        self._path = path.absolute()
        self._name = os.fsencode(self._path)  # it is looked at again and again
        self._status = self._path.stat()

    def check(self) -> None:
        """StoreError when the path leads to another folder now, or to none."""
        try:
            is_there = os.path.samestat(os.stat(self._name), self._status)  # noqa: PTH116 # a Path takes longer
        except OSError:
            is_there = False
        if not is_there:
            raise StoreError(f"{self._path} is not the folder any more that it was: renamed, deleted or unmounted")
