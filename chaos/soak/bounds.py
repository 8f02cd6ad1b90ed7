"""What growth is too much. Pure.

Two things grow as they should: a writer keeps the open files of its series in a cache (`writer.cache_mb`), which grows
through the day and begins anew with the next; and the broker keeps what it was given for a week
(`broker.retention_days`). Both are known to the byte, more or less, and added to the bound.

Of a run that is short the slope says little: a few megabytes that an allocator takes once are many an hour. So it is
judged where a process was observed for some hours; before, it is only told.
"""

from collections.abc import Iterable

from chaos.soak.usage import Usage

JUDGED_HOURS = 6.0
"""A slope is judged from so many hours after warm-up on: 6 hours at the bound are 6 MB, more than allocators waver."""

MAX_MB_AN_HOUR = 1.0
"""More would be 168 MB in a week: what a service may not take that nobody starts again."""

ENTRY_MB = 0.0005
"""What an entry costs the broker: 250 bytes by docs/settings.md, and as much for what is not packed yet."""

CACHED_ROW_MB = 0.0002
"""What a row in the writer's cache costs: eleven columns of 8 bytes, and the copy that a flush makes."""

MAX_FDS = 8
"""File descriptors that a process may have more at the end: a connection or two to each neighbour that was replaced."""

_LEAST_SECONDS = 600.0
_NOT_OURS = ("exchange", "soak")  # told, not judged: the simulated exchange caches klines, and this is the tool


def bound_mb(process: str, rows_an_hour: float) -> float:
    """How many MB an hour a process may grow."""
    grows = {"broker": ENTRY_MB, "writer": CACHED_ROW_MB}
    return MAX_MB_AN_HOUR + grows.get(process, 0.0) * rows_an_hour


def growth(found: Iterable[Usage], run_seconds: float, rows_an_hour: float) -> list[str]:
    """What grows beyond its bound, a line each.

    Args:
        found: the processes.
        run_seconds: how long they were watched.
        rows_an_hour: candles that were recorded.
    """
    lines = []
    for usage in found:
        if usage.process in _NOT_OURS:
            continue
        slope, bound = usage.memory.per_hour, bound_mb(usage.process, rows_an_hour)
        if slope is not None and usage.memory.hours >= JUDGED_HOURS and slope > bound:
            lines.append(f"{usage.process}: memory grows by {slope:.2f} MB an hour; allowed is {bound:.2f}")
        first, last = usage.first_fds, usage.last_fds
        if run_seconds >= _LEAST_SECONDS and first is not None and last is not None and last > first + MAX_FDS:
            lines.append(f"{usage.process}: {first} file descriptors became {last}; allowed are {MAX_FDS} more")
    return lines
