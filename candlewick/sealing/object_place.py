"""Sealed months in an object store: the second kind of place.

Files are put one after the other; nothing says that they are there before their manifest is. A manifest is replaced
only if it is still what was read, so of two who seal at once one is refused and nothing is lost.
"""

import contextlib
from collections.abc import Iterable, Iterator

from candlewick.sealing.manifest import MANIFESTS
from consumer.storage.interface import NO_VERSION, Change, Version
from consumer.storage.object_store import ObjectStorage
from shared.errors import StoreError, VersionChangedError


class ObjectPlace:
    """Objects below a URL. ``candlewick.sealing.place.Place`` says what its methods promise."""

    def __init__(self, url: str) -> None:
        self._storage = ObjectStorage(url)
        self._read: dict[str, Version] = {}
        self.name = self._storage.name

    @property
    def exists(self) -> bool:
        """Whether somebody has begun to seal here."""
        return MANIFESTS in self._storage.list_folder("").folders

    @contextlib.contextmanager
    def held_for_sealing(self) -> Iterator[None]:
        """Nothing is held: StoreError when what is there is a recording, whose objects must not be overwritten."""
        if not self.exists and self._storage.list_folder("").folders:
            raise StoreError(f"{self.name} holds something else: seal into a place of its own")
        self._storage.check_conditions()
        yield

    def put(self, files: Iterable[tuple[str, bytes]]) -> None:  # noqa: D102 # as the interface says, here and below
        for key, content in files:
            version = self._read[key] if key in self._read else self._storage.version(key)
            (result,) = self._storage.replace([[Change(key, version, content)]])
            if isinstance(result, VersionChangedError):
                raise StoreError(f"another candlewick seal is at work in {self.name}: {key} was changed by it")
            if isinstance(result, StoreError):
                raise result

    def get(self, key: str) -> bytes | None:  # noqa: D102
        found = self._storage.read(key)
        self._read[key] = NO_VERSION if found is None else found.version
        return None if found is None else found.content

    def keys(self) -> list[str]:  # noqa: D102
        return self._storage.keys("")
