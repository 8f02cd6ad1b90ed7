"""How many entries to ask the broker for at once. Pure.

An entry is some hundred bytes, and thousands of them make a quick answer. But anybody who can write into a stream can
write entries of megabytes, and an answer is in memory as a whole. So the first question is small, and each answer that
is full tells how large the next may be. Entries that are suddenly larger than all before them are read by as many.
"""

from collections.abc import Iterable, Mapping

_FIRST = 64
_SMALL_BYTES, _LARGE_BYTES = 4 * 2**20, 32 * 2**20


class Paging:
    """The size of one sequence of answers."""

    def __init__(self) -> None:
        self._count = self._asked = _FIRST

    def count(self, most: int) -> int:
        """How many entries to ask for, from 1 to ``most``."""
        self._asked = max(1, min(self._count, most))
        return self._asked

    def took(self, entries: Iterable[tuple[object, Mapping[bytes, bytes] | None]]) -> None:
        """Tell what an answer brought."""
        sizes = [sum(len(name) + len(value) for name, value in (fields or {}).items()) for _, fields in entries]
        if sum(sizes) > _LARGE_BYTES:
            self._count = max(1, self._count // 4)
        elif len(sizes) >= self._asked and sum(sizes) < _SMALL_BYTES:
            self._count = min(self._count * 2, 2**20)
