"""Storage in an object store, by URL: Amazon S3 and what speaks like it, Google Cloud Storage, Azure.

Each key is one object. It is replaced by one conditional write: if the object is still what was read (``If-Match``), or
if there is still none. So no lock is needed, and writers on any hosts may write the same series: the slower one is
refused, reads again and merges. A write is durable when it is answered. Should the answer be lost, the write looks
refused when it is tried again; who merges anew finds that nothing is left to change.

There is no transaction over several objects. A condition on another key is asked before the write; of a group with
several contents some may have been written when another one is refused. Who merges anew loses nothing by it.

Nothing is deleted that could have been changed meanwhile, because no store deletes under a condition that they all
have: what is damaged is copied aside, and replaced by content that holds nothing.

Credentials come from the environment, as obstore reads it (``AWS_…``, ``GOOGLE_…``, ``AZURE_…``).
"""

import contextlib
import io
import logging
import os
import re
import time
import uuid
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from itertools import count
from typing import Any, BinaryIO, NamedTuple, cast

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError, NotFoundError, PreconditionError
from obstore.store import from_url

from consumer.storage.interface import NO_VERSION, Change, Content, Damaged, Folder, Version
from shared.errors import StoreError, UnfitStoreError, VersionChangedError
from shared.text import without_passwords

log = logging.getLogger(__name__)

_REQUESTS_AT_ONCE = 16
_TIMEOUT = timedelta(seconds=30)  # of one request
_RETRY = timedelta(seconds=20)  # how long one that failed on the way is repeated
_CHECK_SECONDS = 60.0  # between two tries to find out whether the store keeps conditions
_ASIDE, _MARK = "damaged", ".rebuild"
_ENDPOINTS = ("AWS_ENDPOINT_URL", "AWS_ENDPOINT", "AWS_ENDPOINT_URL_S3", "GOOGLE_BASE_URL", "AZURE_STORAGE_ENDPOINT")
"""Variables that name another address than the provider's own; one that is plain HTTP means it."""


class _Version(NamedTuple):
    """What tells an object's content from another: S3 and Azure go by the first, Google by the second."""

    e_tag: str | None
    version: str | None


class ObjectStorage:
    """Objects below a URL. ``consumer.storage.interface.Storage`` says what its methods promise.

    StoreError when the URL is none that can be used. Nothing is asked before the first call.
    """

    def __init__(self, url: str, store: Any = None) -> None:
        self.name = without_passwords(url.rstrip("/"))
        if store is None:
            retry: Any = {"max_retries": 5, "retry_timeout": _RETRY}
            options: Any = {"timeout": _TIMEOUT, "allow_http": any(map(_is_plain, _ENDPOINTS))}
            try:
                store = from_url(url, client_options=options, retry_config=retry)
            except (BaseError, ValueError, TypeError) as error:
                raise StoreError(f"{self.name} cannot be used as a store: {_line(error)}") from None
        self._store = store
        self._keeps_conditions, self._check_at = False, 0.0
        self._pool = ThreadPoolExecutor(_REQUESTS_AT_ONCE, thread_name_prefix="store")

    def check_root(self) -> None:
        """StoreError when the store ignores conditions of writes; asked once, as soon as it answers."""
        if not self._keeps_conditions and time.monotonic() >= self._check_at:
            self._check_at = time.monotonic() + _CHECK_SECONDS
            try:
                self.check_conditions()
            except UnfitStoreError:
                raise
            except StoreError as error:
                log.debug("whether the store keeps conditions is not known: %s", error)

    def check_conditions(self) -> None:
        """Write an object that nobody needs, and try to write it where that must be refused.

        UnfitStoreError when it is not: writers would lose each other's candles. StoreError when the store refuses all.
        """
        key = f"staging/check-{uuid.uuid4().hex}"
        (written,) = self.replace([[Change(key, NO_VERSION, b"first")]])
        if isinstance(written, StoreError):
            raise written
        other = cast("_Version", written[0])
        other = _Version('"of-nobody"', None if other.version is None else "1")
        refused = [self.replace([[Change(key, version, b"second")]])[0] for version in (NO_VERSION, other)]
        with contextlib.suppress(StoreError):  # the right to delete is needed to join months, not to write
            self.remove([key])
        for one in refused:
            if isinstance(one, StoreError) and not isinstance(one, VersionChangedError):
                raise one
        if not all(isinstance(one, VersionChangedError) for one in refused):
            raise UnfitStoreError(
                f"{self.name} ignores the conditions of a write (If-Match, If-None-Match): writers would lose each "
                "other's candles"
            )
        self._keeps_conditions = True

    def list_folder(self, folder: str) -> Folder:  # noqa: D102 # as the interface says, here and below
        with self._errors(folder):
            found: Any = obstore.list_with_delimiter(self._store, folder or None)
        folders = sorted(prefix.rstrip("/").rpartition("/")[2] for prefix in found["common_prefixes"])
        return Folder(folders, {one["path"].rpartition("/")[2]: one["size"] for one in found["objects"]})

    def version(self, key: str) -> Version:  # noqa: D102
        with self._errors(key):
            try:
                return _version(obstore.head(self._store, key))
            except (NotFoundError, FileNotFoundError):
                return NO_VERSION

    def await_writers(self, folders: Sequence[str]) -> list[StoreError | None]:
        """Nobody holds anything."""
        return [None] * len(folders)

    def read(self, key: str) -> Content | None:  # noqa: D102
        with self._errors(key):
            try:
                found = obstore.get(self._store, key)
                return Content(bytes(found.bytes()), _version(found.meta))
            except (NotFoundError, FileNotFoundError):
                return None

    def open(self, key: str) -> BinaryIO:  # noqa: D102
        try:
            file = obstore.open_reader(self._store, key)
        except (NotFoundError, FileNotFoundError):
            raise FileNotFoundError(key) from None
        except BaseError as error:
            raise OSError(_line(error)) from None
        return cast("BinaryIO", io.BufferedReader(_Reader(file)))

    def replace(self, groups: Sequence[Sequence[Change]]) -> list[list[Version] | StoreError]:  # noqa: D102
        return list(self._pool.map(self._replace, groups)) if len(groups) > 1 else [*map(self._replace, groups)]

    def quarantine(self, key: str, version: Version, reason: str, instead: bytes) -> Version:  # noqa: D102
        found = self.read(key)
        if found is None or found.version != version:
            return NO_VERSION
        mark = self._put_aside(key, found.content)
        log.error("%s; copied to %s/%s, to be refilled with what the broker still holds", reason, self.name, mark)
        (result,) = self.replace([[Change(key, version, instead)]])
        if isinstance(result, VersionChangedError):  # by somebody else, or by us and the answer was lost: refill it
            return NO_VERSION
        if isinstance(result, StoreError):
            raise result
        return result[0]

    def damaged(self) -> list[Damaged]:  # noqa: D102
        marks = [key for key in self.keys(_ASIDE) if key.endswith(_MARK)]
        return [Damaged(mark.removeprefix(f"{_ASIDE}/").rpartition("~")[0], mark.removesuffix(_MARK)) for mark in marks]

    def refilled(self, damaged: Damaged) -> None:  # noqa: D102
        self.remove([f"{damaged.mark}{_MARK}"])

    def keys(self, folder: str) -> list[str]:
        """Every key below a folder, however deep, sorted; below all where that is empty."""
        with self._errors(folder):
            pages: Iterable[Any] = obstore.list(self._store, folder or None)
            return sorted(one["path"] for page in pages for one in page)

    def remove(self, keys: Sequence[str]) -> None:
        """Delete objects of which the caller knows that nobody changes them; those that are gone are no error."""
        for key in keys:
            with self._errors(key):
                try:
                    obstore.delete(self._store, key)
                except (NotFoundError, FileNotFoundError):
                    continue

    def _replace(self, changes: Sequence[Change]) -> list[Version] | StoreError:
        """Make the changes of one group: what must be so is asked first, then each content is written."""
        writes = [change for change in changes if change.content is not None]
        try:
            for change in changes:
                if (change.content is None or len(writes) > 1) and self.version(change.key) != change.version:
                    raise self._changed(change.key)
            return [change.version if change.content is None else self._write(change) for change in changes]
        except StoreError as error:
            return error

    def _write(self, change: Change) -> Version:
        mode: Any = "create"
        if change.version is not NO_VERSION:
            known = cast("_Version", change.version)
            mode = {name: value for name, value in known._asdict().items() if value is not None}
        with self._errors(change.key):
            try:
                return _version(obstore.put(self._store, change.key, change.content or b"", mode=mode))
            except (AlreadyExistsError, PreconditionError, NotFoundError, FileNotFoundError, FileExistsError):
                raise self._changed(change.key) from None

    def _changed(self, key: str) -> VersionChangedError:
        return VersionChangedError(f"{self.name}/{key} has been replaced since it was read")

    def _put_aside(self, key: str, content: bytes) -> str:
        """Copy content to a place of its own below ``damaged``, its mark first; that place."""
        for number in count(1):
            place = f"{_ASIDE}/{key}~{number}"
            (marked,) = self.replace([[Change(f"{place}{_MARK}", NO_VERSION, b"")]])
            if isinstance(marked, VersionChangedError) or self.version(place) is not NO_VERSION:
                continue
            (result,) = self.replace([[Change(place, NO_VERSION, content)]])
            for one in (marked, result):
                if isinstance(one, StoreError):
                    raise one
            return place
        raise AssertionError

    @contextlib.contextmanager
    def _errors(self, key: str) -> Iterator[None]:
        """What the store answers otherwise than it should, as one line that names the place."""
        try:
            yield
        except (BaseError, OSError, ValueError) as error:
            raise StoreError(f"{self.name}/{key}: {_line(error)}") from error


class _Reader(io.RawIOBase):
    """An object that is read in parts, as Python knows files."""

    def __init__(self, file: Any) -> None:
        self._file = file

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return int(self._file.seek(offset, whence))

    def tell(self) -> int:
        return int(self._file.tell())

    def readinto(self, buffer: Any) -> int:
        found = bytes(self._file.read(len(buffer)))
        buffer[: len(found)] = found
        return len(found)


def _is_plain(variable: str) -> bool:
    return os.environ.get(variable, "").startswith("http://")


def _version(meta: Any) -> _Version:
    return _Version(meta["e_tag"], meta["version"])


def _line(error: BaseException) -> str:
    """An error in a line, with what the store calls it: behind that obstore prints how it came to it."""
    text = str(error)
    name = re.search(r"<Code>(\w+)</Code>", text)
    line = text.strip().partition("\n")[0].removesuffix('<?xml version="1.0" encoding="utf-8"?>').rstrip(": ")
    return without_passwords(f"{line}: {name[1]}" if name else line) or type(error).__name__
