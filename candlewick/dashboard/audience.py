"""Whether anybody looks: what is shown to nobody is not worked out."""

import asyncio
from types import TracebackType
from typing import Any, Self


class Audience:
    """The pages that are open now; each is a ``with`` block in a task of its own.

    Attributes:
        is_here: set while there is any.
    """

    def __init__(self) -> None:
        self.is_here = asyncio.Event()
        self._pages: set[asyncio.Task[Any] | None] = set()

    def __len__(self) -> int:
        return len(self._pages)

    def __enter__(self) -> Self:
        self._pages.add(asyncio.current_task())
        self.is_here.set()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._pages.discard(asyncio.current_task())
        if not self._pages:
            self.is_here.clear()

    def dismiss(self) -> None:
        """End every page."""
        for page in self._pages:
            if page is not None:
                page.cancel()
