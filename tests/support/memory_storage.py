"""Storage in this process's memory, for tests of whatever uses a storage. Nothing is durable."""

import io
import itertools
import logging
import posixpath
import threading
from collections.abc import Sequence
from typing import BinaryIO

from consumer.storage.interface import NO_VERSION, Change, Content, Damaged, Folder, Version
from shared.errors import StoreError, VersionChangedError

log = logging.getLogger(__name__)


class MemoryStorage:
    """Files in a dictionary. ``consumer.storage.interface.Storage`` says what its methods promise."""

    name = "memory"

    def __init__(self) -> None:
        self._files: dict[str, Content] = {}
        self._aside: dict[str, bytes] = {}
        self._waiting: list[Damaged] = []
        self._versions = itertools.count(1)
        self._mutex = threading.RLock()

    def list_folder(self, folder: str) -> Folder:  # as the interface says, here and below
        folders, files = set(), {}
        prefix = f"{folder}/"
        with self._mutex:
            for key, content in self._files.items():
                if key.startswith(prefix):
                    name, is_folder, _ = key.removeprefix(prefix).partition("/")
                    if is_folder:
                        folders.add(name)
                    else:
                        files[name] = len(content.content)
        return Folder(sorted(folders), files)

    def version(self, key: str) -> Version:
        content = self._files.get(key)
        return NO_VERSION if content is None else content.version

    def await_writers(self, folders: Sequence[str]) -> list[StoreError | None]:
        return [None] * len(folders)

    def read(self, key: str) -> Content | None:
        return self._files.get(key)

    def open(self, key: str) -> BinaryIO:
        content = self._files.get(key)
        if content is None:
            raise FileNotFoundError(key)
        return io.BytesIO(content.content)

    def replace(self, groups: Sequence[Sequence[Change]]) -> list[list[Version] | StoreError]:
        with self._mutex:
            return [self._replace(changes) for changes in groups]

    def check_root(self) -> None:
        pass

    def quarantine(self, key: str, version: Version, reason: str, instead: bytes) -> Version:
        del instead
        with self._mutex:
            content = self._files.get(key)
            if content is not None and content.version == version:
                mark = f"{key}~{len(self._aside) + 1}"
                self._aside[mark] = self._files.pop(key).content
                self._waiting.append(Damaged(key, mark))
                log.error("%s; moved to %s", reason, mark)
            return NO_VERSION

    def damaged(self) -> list[Damaged]:
        return list(self._waiting)

    def refilled(self, damaged: Damaged) -> None:
        with self._mutex:
            self._waiting = [other for other in self._waiting if other != damaged]

    def _replace(self, changes: Sequence[Change]) -> list[Version] | StoreError:
        if len({posixpath.dirname(change.key) for change in changes}) > 1:
            raise ValueError("the changes of a group are one folder's")
        for change in changes:
            if self.version(change.key) != change.version:
                return VersionChangedError(f"{change.key} has been replaced since it was read")
        for change in changes:
            if change.content is not None:
                self._files[change.key] = Content(change.content, next(self._versions))
        return [self.version(change.key) for change in changes]
