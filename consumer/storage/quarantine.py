"""Damaged files and files that are not ours, moved aside: never overwritten, never deleted, named in the log.

    data/candles/market=…/interval=1m/symbol=BTCUSDT/2024-06-30.parquet                    where it was
    data/damaged/candles/market=…/interval=1m/symbol=BTCUSDT/2024-06-30.parquet~1          where it is now
    data/damaged/candles/market=…/interval=1m/symbol=BTCUSDT/2024-06-30.parquet~1.rebuild  until it has been rebuilt

The mark is there before the file is moved and goes when everything that the broker still holds has been written again
(``consumer.recovery.refill``), so a crash anywhere in between only means that it is rebuilt once more.
"""

import itertools
import logging
import os
from pathlib import Path
from typing import NamedTuple

from consumer.storage.durable import make_folders, sync_folder

log = logging.getLogger(__name__)

_MARK = ".rebuild"


class Moved(NamedTuple):
    """One file that was moved aside and is to be rebuilt.

    Attributes:
        file: where it was, below the data folder, such as ``candles/market=…/symbol=BTCUSDT/2024-06-30.parquet``.
        mark: the file that says so.
    """

    file: Path
    mark: Path


class Aside:
    """The folder ``damaged`` of a data folder.

    Args:
        data: the data folder, absolute; what is moved must be below it, on the same filesystem.
    """

    def __init__(self, data: Path) -> None:
        self._data = data
        self.root = data / "damaged"

    def move(self, path: Path, reason: str) -> None:
        """Move a file (or folder) aside. The caller holds the lock of whoever may write it.

        Args:
            path: what is damaged, or not ours.
            reason: what is wrong with it, for the log.

        Raises:
            OSError: when the disk refuses; then it is where it was.
        """
        folder = self.root / path.parent.relative_to(self._data)
        make_folders(folder)
        names = (f"{path.name}~{number}" for number in itertools.count(1))
        target = next(folder / name for name in names if not os.path.lexists(folder / name))
        target.with_name(target.name + _MARK).touch()
        sync_folder(folder)
        path.rename(target)
        sync_folder(folder)
        sync_folder(path.parent)
        log.error("%s; moved to %s, to be rebuilt from what the broker still holds", reason, target)

    def to_rebuild(self) -> list[Moved]:
        """What has been moved and not rebuilt yet."""
        found = []
        for mark in sorted(self.root.rglob(f"*{_MARK}")):
            name, _, _ = mark.name.removesuffix(_MARK).rpartition("~")
            found.append(Moved(mark.parent.relative_to(self.root) / name, mark))
        return found

    def rebuilt(self, moved: Moved) -> None:
        """Everything that could be had of a file is in its place again, synced."""
        moved.mark.unlink(missing_ok=True)
