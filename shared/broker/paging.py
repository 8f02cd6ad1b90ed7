"""Reading a stream page by page, in memory that stays bounded whatever lies in it.

An entry is some hundred bytes, and thousands of them make a quick answer. But anybody who can write into a stream can
write entries of megabytes, and an answer is in memory as a whole. So the first request is small, and the bytes of each
answer decide how many entries the next one asks for. An answer grows too large only where entries suddenly do.
"""

from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from typing import Any

Fields = Mapping[bytes, bytes]
Page = list[tuple[bytes, Fields]]
"""Entries of a stream by their ids, ascending."""

_FIRST = 64
_MAX_COUNT = 5000
_SMALL_BYTES, _LARGE_BYTES = 4 * 2**20, 32 * 2**20


class Paging:
    """The size of one sequence of answers."""

    def __init__(self) -> None:
        self._count = self._asked = _FIRST

    def next_count(self, max_count: int) -> int:
        """How many entries to ask for, from 1 to ``max_count``."""
        self._asked = max(1, min(self._count, max_count))
        return self._asked

    def note_answer(self, entries: Iterable[tuple[object, Fields | None]]) -> None:
        """Tell what an answer brought."""
        sizes = [sum(map(len, fields)) + sum(map(len, fields.values())) if fields else 0 for _, fields in entries]
        if sum(sizes) > _LARGE_BYTES:
            self._count = max(1, self._count // 4)
        elif len(sizes) >= self._asked and sum(sizes) < _SMALL_BYTES:
            self._count = min(self._count * 2, 2**20)


def pages(client: Any, stream: str, first: str = "-", last: str = "+") -> Iterator[Page]:
    """What a stream holds, page by page, oldest first, without a consumer group, over a blocking client.

    ``first`` and ``last`` are the ids of the first and last entry; behind ``(`` the first is left out.
    """
    paging = Paging()
    while page := client.xrange(stream, min=first, max=last, count=paging.next_count(_MAX_COUNT)):
        paging.note_answer(page)
        yield page
        first = f"({page[-1][0].decode()}"


async def pages_async(client: Any, stream: str, first: str = "-", last: str = "+") -> AsyncIterator[Page]:
    """``pages`` over an asyncio client."""
    paging = Paging()
    while page := await client.xrange(stream, min=first, max=last, count=paging.next_count(_MAX_COUNT)):
        paging.note_answer(page)
        yield page
        first = f"({page[-1][0].decode()}"
