"""What a writer needs of a place where files are kept: the ``Storage`` interface.

A key is a path below the data folder, such as ``candles/market=spot/interval=1m/symbol=BTCUSDT/2024-06-30.parquet``.
What lies under a key has a version. Nothing is changed in place: whoever wants to change something reads it with its
version, makes the new content, and replaces it *if the version still holds*; else somebody else was faster, and it
reads again. So two writers, or one that was stopped and woke up, can never undo each other's work.

``tests/support/storage_tests.py`` is the kit of tests that every kind of storage must pass.
"""

from collections.abc import Hashable, Mapping, Sequence
from typing import BinaryIO, NamedTuple, Protocol

from shared.errors import StoreError

Version = Hashable
"""Tells whether content is still what was read. Compared for equality, and nothing else."""

NO_VERSION: Version = None
"""The version of what does not exist."""


class Content(NamedTuple):
    """What lies under a key: its bytes, and their version."""

    content: bytes
    version: Version


class Change(NamedTuple):
    """One change, good only while the key's version is the one that the caller knows.

    Attributes:
        version: the version that must still hold; ``NO_VERSION``: nothing must be there.
        content: the new bytes; None: what is there stays, and is durable when the change has been made.
    """

    key: str
    version: Version
    content: bytes | None = None


class Folder(NamedTuple):
    """What lies directly in a folder: the names of its folders, and of its files with their sizes in bytes."""

    folders: Sequence[str]
    files: Mapping[str, int]


class Damaged(NamedTuple):
    """What was quarantined under a key and is not refilled yet; ``mark`` tells each time that happened from others."""

    key: str
    mark: str


class Storage(Protocol):
    """A kind of storage. Safe to call from several threads.

    Every method raises StoreError when the storage does not answer as it should; nothing is half done then.
    """

    name: str
    """What it is called in messages, such as the folder's path."""

    def check_root(self) -> None:
        """StoreError when it is not the one any more that it was when writing began."""

    def list_folder(self, folder: str) -> Folder:
        """What lies directly in a folder; nothing where there is none."""

    def version(self, key: str) -> Version:
        """The version of what lies under a key; ``NO_VERSION`` where nothing does. Cheaper than reading it."""

    def await_writers(self, folders: Sequence[str]) -> list[StoreError | None]:
        """Wait for whoever changes something in these folders: what is read after that is less likely to be replaced.

        Returns:
            For each folder None, or SeriesLockedError when another writer holds it for too long.
        """

    def read(self, key: str) -> Content | None:
        """What lies under a key; None where nothing does, DamagedFileError when it is no file.

        Errors name the reason, and not the key.
        """

    def open(self, key: str) -> BinaryIO:
        """What lies under a key, to be read in parts. FileNotFoundError where nothing does."""

    def replace(self, groups: Sequence[Sequence[Change]]) -> list[list[Version] | StoreError]:
        """Make changes; each group is one folder's, and fails or succeeds by itself.

        A reader sees the old content of a key or the new one, and never a part. When this returns, what was changed
        or confirmed survives a power cut.

        Returns:
            For each group the versions that its keys have now, or why nothing of it may be relied on:
            VersionChangedError when one of its versions does not hold (then none of its keys was changed; in an object
            store, if that changed in this very moment, some may have been), SeriesLockedError when another writer
            holds the folder, StoreError when the storage refuses.
        """

    def quarantine(self, key: str, version: Version, reason: str, instead: bytes) -> Version:
        """Move what is damaged away, if it is still what was read: never overwritten, never deleted, named in the log.

        A storage that cannot move leaves a copy, and ``instead`` in its place: content that holds nothing. Returns the
        version of that; NO_VERSION where nothing is left, or somebody else was faster and what is there is not known.
        SeriesLockedError when another writer holds the folder.
        """

    def damaged(self) -> list[Damaged]:
        """What was quarantined and has not been refilled yet."""

    def refilled(self, damaged: Damaged) -> None:
        """Note that everything that could be had of it is in its place again, durable."""
