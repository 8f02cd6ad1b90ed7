"""CPU time from a contestant's first frame to its last, told as one line of JSON."""

import asyncio
import json
import sys
import time
from collections.abc import Awaitable, Callable


class Stopwatch:
    """Counts frames; ``done`` is set at the last of them."""

    def __init__(self, frames: int) -> None:
        self.done = asyncio.Event()
        self.seconds = 0.0
        self._frames = frames
        self._seen = 0
        self._began = 0.0

    def see(self, count: int = 1) -> None:
        """Note frames that were handed over."""
        if not self._seen:
            self._began = time.process_time()
            self._frames += count  # those that came before it began are not timed
        self._seen += count
        if self._seen >= self._frames and not self.done.is_set():
            self.seconds = time.process_time() - self._began
            self.done.set()


def timed(contest: Callable[[str, Stopwatch], Awaitable[None]], version: str) -> None:
    """Run a contestant on the feed at the address in the arguments, for so many frames; print what it took."""
    address, frames = sys.argv[1], int(sys.argv[2])

    async def main() -> None:
        watch = Stopwatch(frames)
        await contest(address, watch)
        print(json.dumps({"version": version, "microseconds": watch.seconds / frames * 1e6}))

    asyncio.run(main())
