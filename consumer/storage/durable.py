"""Folders and files that survive a crash: names made durable, and a staging folder for files being written.

A staging folder is held by a lock. When its process has died it is free again, and what lies in it belongs to nobody.
"""

import contextlib
import errno
import itertools
import os
import shutil
from pathlib import Path

from shared.errors import StoreError
from shared.process.locks import leads_to, try_lock

_MAX_WRITERS = 1000
_TRIES = 100  # a folder that is made while another process tidies up
_OPEN_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


class Staging:
    """This process's folder for files being written, held by a lock until ``close`` or the process's end.

    Its ``number``, from 1, is no other living process's. A process that starts after a crash gets its predecessor's
    number, so it serves as the consumer's name too. StoreError when ``folder``, the parent of all writers' staging
    folders on the dataset's filesystem, cannot be used.
    """

    def __init__(self, folder: Path) -> None:
        parent = folder.absolute()
        try:
            make_folders(parent)
            for number in range(1, _MAX_WRITERS):
                path = parent / f"writer-{number}"
                fd = _try_lock(path)
                if fd is not None:
                    self.number, self.path, self._fd = number, path, fd
                    break
            else:
                raise StoreError(f"{folder} holds {_MAX_WRITERS} living writers; there cannot be more")
            self._names = itertools.count()
            _empty(self.path)
            for other in parent.glob("writer-*"):
                if other != self.path and (fd := _try_lock(other)) is not None:  # a dead writer has left it
                    _remove(other)
                    os.close(fd)
        except OSError as error:
            raise StoreError(f"data folder {folder.parent} cannot be used: {error}") from error

    def new_path(self, suffix: str = "") -> Path:
        """A path that no file has. A staging folder that was deleted under us is made again."""
        if not self.path.is_dir():
            fd = _try_lock(self.path)
            if fd is None:
                raise StoreError(f"staging folder {self.path} was deleted and is another writer's now")
            os.close(self._fd)
            self._fd = fd
        return self.path / f"{next(self._names)}{suffix}"

    def close(self) -> None:
        """Let go of the folder."""
        os.close(self._fd)

    def remove(self) -> None:
        """Remove the folder, and its parent when no other writer is there, and let go of it."""
        _remove(self.path)
        with contextlib.suppress(OSError):
            self.path.parent.rmdir()
        self.close()


class DurableFolders:
    """Folders whose names survive a power cut, whoever made them: each is looked at once in a process's life.

    A folder that is there may have been made by a process that died before it could sync the name. ``root`` is the
    topmost folder that is looked at.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._known: set[str] = set()  # of text: a Path takes long to hash

    def make(self, folder: Path) -> None:
        """Make a folder below the root if need be, and every name on the way to it durable."""
        make_folders(folder, self._root.parent)
        fresh = []
        for path in (folder, *folder.parents):
            if str(path) in self._known:
                break
            sync_folder(path.parent)
            fresh.append(str(path))
            if path == self._root:
                break
        self._known.update(fresh)


def make_folders(path: Path, root: Path | None = None) -> None:
    """Make a folder and its missing parents, each durable in its own parent; but not ``root``, nor what is above it.

    FileNotFoundError when that is missing: it was taken away, and a new one in its place would be another dataset.
    """
    if path.is_dir():
        return
    if path == root:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))
    make_folders(path.parent, root)
    path.mkdir(exist_ok=True)
    sync_folder(path.parent)


def sync_folder(path: Path) -> None:
    """Make the names in a folder durable."""
    fd = os.open(path, _OPEN_FOLDER)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def open_folder(path: Path, root: Path) -> int:
    """A descriptor of a folder below a root, made if need be, and made again if somebody removed it meanwhile."""
    for _ in range(_TRIES):
        with contextlib.suppress(FileNotFoundError):
            return os.open(path, _OPEN_FOLDER)
        with contextlib.suppress(FileNotFoundError, FileExistsError):  # mkdir says so of what is gone when it looks
            make_folders(path, root)
    return os.open(path, _OPEN_FOLDER)


def write_new(path: Path, content: bytes) -> int:
    """Write a new file; its open descriptor, to be synced and closed. What fails leaves no file."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
    left = memoryview(content)
    try:
        while left:  # a disk that is nearly full takes a part of it
            left = left[os.write(fd, left) :]
    except BaseException:
        os.close(fd)
        path.unlink(missing_ok=True)
        raise
    return fd


def _try_lock(path: Path) -> int | None:
    """Lock a writer's folder, made if need be; its descriptor, or None when somebody else holds it."""
    fd = open_folder(path, path.parent.parent)
    if try_lock(fd) and leads_to(path, fd):
        return fd
    os.close(fd)
    return None


def _remove(folder: Path) -> None:
    _empty(folder)
    with contextlib.suppress(OSError):
        folder.rmdir()


def _empty(folder: Path) -> None:
    for path in folder.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()
