"""Where sealed months are kept: the little that a kind of place has to do, and the local kind, a folder.

    candles/market=spot/interval=1m/symbol=BTCUSDT/2024-06.parquet     as a store has it: every reader of ours reads it
    manifests/2024-06.json                                             apart: plain readers stumble over other files
    staging/                                                           files being written; not part of what is sealed

What is put is written into ``staging`` and synced, one file after the other; when all are there they are renamed, and
their folders synced. So whoever is killed before has changed nothing, and no file is ever seen in part.
"""

import contextlib
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

from candlewick.sealing.manifest import MANIFESTS
from consumer.storage.durable import DurableFolders, make_folders, open_folder, sync_folder, write_new
from consumer.storage.layout import CANDLES
from shared.errors import StoreError
from shared.process.locks import try_lock
from shared.settings.load import given_store

_STAGING = "staging"


def place_of(name: Path) -> "Place":
    """The place that somebody named: a folder, or an object store by URL.

    StoreError when the URL cannot be used, or the extra that object stores need is not installed.
    """
    url = given_store(name)["store"]
    if not url:
        return LocalPlace(name)
    try:
        from candlewick.sealing.object_place import ObjectPlace
    except ImportError as error:
        raise StoreError(f"{url} needs `pip install 'candlewick[object-store]'`: {error}") from None
    return ObjectPlace(url)


class Place(Protocol):
    """A kind of place. A key is a path below it. Every method raises StoreError when the place refuses."""

    name: str
    """What it is called in messages, such as the folder's path."""

    @property
    def exists(self) -> bool:
        """Whether somebody has begun to seal here."""

    def held_for_sealing(self) -> AbstractContextManager[None]:
        """Hold the place against others who seal, as far as its kind can.

        StoreError when one is at work there, or when it holds a recording, whose files must not be overwritten.
        """

    def put(self, files: Iterable[tuple[str, bytes]]) -> None:
        """Put bytes under keys; what is there is replaced. When this returns, a power cut takes none of it.

        Files are taken one at a time, and in a folder none can be seen before the last one was taken. A reader of a key
        finds the old bytes or the new ones, and never a part.
        """

    def get(self, key: str) -> bytes | None:
        """What lies under a key; None where nothing does."""

    def keys(self) -> list[str]:
        """Every key under which something lies, sorted."""


class LocalPlace:
    """A folder. ``Place`` says what its methods promise; only the holder of ``held_for_sealing`` may put."""

    def __init__(self, folder: Path) -> None:
        self.name = str(folder)
        self._folder = folder.absolute()

    @property
    def exists(self) -> bool:  # noqa: D102
        return (self._folder / MANIFESTS).is_dir()

    @contextlib.contextmanager
    def held_for_sealing(self) -> Iterator[None]:  # noqa: D102
        with contextlib.ExitStack() as stack:
            try:
                make_folders(self._folder)
                fd = open_folder(self._folder, self._folder.parent)
                stack.callback(os.close, fd)
                if not try_lock(fd):
                    raise StoreError(f"another candlewick seal is at work in {self.name}")
                if (self._folder / CANDLES).exists() and not self.exists:
                    raise StoreError(f"{self.name} holds candles and no manifests: seal into a folder of its own")
                make_folders(self._folder / MANIFESTS)
            except OSError as error:
                raise StoreError(f"{self.name} cannot be used: {error}") from error
            yield

    def put(self, files: Iterable[tuple[str, bytes]]) -> None:  # noqa: D102 # as the interface says, here and below
        staging, staged = self._folder / _STAGING, list[tuple[Path, Path]]()
        try:
            shutil.rmtree(staging, ignore_errors=True)  # of one that was killed
            staging.mkdir()
            for number, (key, content) in enumerate(files):
                path = staging / str(number)
                fd = write_new(path, content)
                try:
                    os.fsync(fd)
                finally:
                    os.close(fd)
                staged.append((path, self._folder / key))
            self._rename(staged)
        except OSError as error:
            raise StoreError(f"{self.name} cannot be written: {error}") from error
        finally:
            shutil.rmtree(staging, ignore_errors=True)

    def _rename(self, staged: Iterable[tuple[Path, Path]]) -> None:
        folders, touched = DurableFolders(self._folder), set[Path]()
        for path, target in staged:
            folders.make(target.parent)
            path.rename(target)
            touched.add(target.parent)
        for folder in touched:
            sync_folder(folder)

    def get(self, key: str) -> bytes | None:  # noqa: D102
        try:
            return (self._folder / key).read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (OSError, MemoryError) as error:
            raise StoreError(f"it cannot be read: {error or 'out of memory'}") from error

    def keys(self) -> list[str]:  # noqa: D102
        return sorted(self._keys())

    def _keys(self) -> Iterator[str]:
        def refuse(error: OSError) -> None:
            raise StoreError(f"{self.name} cannot be listed: {error}") from error

        for root, folders, names in os.walk(self._folder, onerror=refuse):
            at = Path(root).relative_to(self._folder)
            if not at.parts and _STAGING in folders:
                folders.remove(_STAGING)
            for name in names:
                yield os.fsencode(at / name).decode(errors="replace")
