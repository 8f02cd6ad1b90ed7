"""Quarantine: damaged files and files that are not ours, moved away, never overwritten, never deleted, and logged.

    data/candles/market=…/interval=1m/symbol=BTCUSDT/2024-06-30.parquet                    where it was
    data/damaged/candles/market=…/interval=1m/symbol=BTCUSDT/2024-06-30.parquet~1          where it is now
    data/damaged/candles/market=…/interval=1m/symbol=BTCUSDT/2024-06-30.parquet~1.rebuild  until it has been refilled

The mark is there before the file is moved. It goes when everything that the broker still holds of the file has been
written again (``consumer.recovery.refill``). After a crash in between, the file is refilled once more.
"""

import itertools
import logging
import os
from pathlib import Path

from consumer.storage.durable import make_folders, sync_folder
from consumer.storage.interface import Damaged

log = logging.getLogger(__name__)

_MARK = ".rebuild"


class Quarantine:
    """The folder ``damaged`` of an absolute data folder; what is moved must be below that, on the same filesystem."""

    def __init__(self, data: Path) -> None:
        self._data = data
        self.root = data / "damaged"

    def move(self, path: Path, reason: str) -> None:
        """Move a file (or folder) here. The caller holds the lock of whoever may write it.

        When the disk refuses it is where it was: OSError.
        """
        folder = self.root / path.parent.relative_to(self._data)
        make_folders(folder, self._data)
        names = (f"{path.name}~{number}" for number in itertools.count(1))
        target = next(folder / name for name in names if not os.path.lexists(folder / name))
        target.with_name(target.name + _MARK).touch()
        sync_folder(folder)
        path.rename(target)
        sync_folder(folder)
        sync_folder(path.parent)
        log.error("%s; moved to %s, to be refilled with what the broker still holds", reason, target)

    def list(self) -> list[Damaged]:
        """What has been moved and not refilled yet."""
        found = []
        for mark in sorted(self.root.rglob(f"*{_MARK}")):
            name, _, _ = mark.name.removesuffix(_MARK).rpartition("~")
            folder = mark.parent.relative_to(self.root)
            key = os.fsencode((folder / name).as_posix()).decode(errors="replace")
            found.append(Damaged(key, (folder / mark.name).as_posix()))
        return found

    def refilled(self, damaged: Damaged) -> None:
        """Everything that could be had of a file is in its place again, durable."""
        (self.root / damaged.mark).unlink(missing_ok=True)
