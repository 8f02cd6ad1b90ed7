"""Whether anybody looks: what is shown to nobody is not worked out."""

import asyncio
from types import TracebackType
from typing import Self


class Audience:
    """The pages that are open now; each is a ``with`` block.

    Attributes:
        is_here: set while there is any.
        count: how many there are.
    """

    def __init__(self) -> None:
        self.is_here = asyncio.Event()
        self.count = 0

    def __enter__(self) -> Self:
        self.count += 1
        self.is_here.set()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.count -= 1
        if not self.count:
            self.is_here.clear()
