"""What samples say about each process: how much it uses, and whether that grows. Pure.

Memory is judged by its slope: least squares over all lives of a process at once, each around its own mean, without the
first minutes after each start, while caches fill.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

from chaos.soak.watch import Sample

WARM_UP_SECONDS = 600.0
_HOUR_SECONDS = 3600.0


@dataclass(slots=True)
class Slope:
    """Least squares through the points of several lives that share a slope, kept as sums.

    Attributes:
        hours: how long all lives were observed.
    """

    hours: float = 0.0
    _covariance: float = 0.0
    _variance: float = 0.0
    _lives: dict[int, "_Life"] = field(default_factory=dict)

    def add(self, life: int, hour: float, value: float) -> None:
        """One point of a life."""
        found = self._lives.get(life)
        if found is None:
            self._lives[life] = _Life(1, hour, value, hour)
            return
        found.count += 1
        share = 1 / found.count
        before, found.last_hour = found.last_hour, hour
        self.hours += hour - before
        x, y = hour - found.mean_hour, value - found.mean_value
        found.mean_hour += x * share
        found.mean_value += y * share
        self._variance += x * (hour - found.mean_hour)
        self._covariance += x * (value - found.mean_value)

    @property
    def per_hour(self) -> float | None:
        """How much the value grows an hour; None while there is too little to say."""
        return self._covariance / self._variance if self._variance > 0 else None


@dataclass(slots=True)
class _Life:
    count: int
    mean_hour: float
    mean_value: float
    last_hour: float


@dataclass(slots=True)
class _Mean:
    count: int = 0
    total: float = 0.0

    def add(self, value: float) -> None:
        self.count += 1
        self.total += value

    @property
    def value(self) -> float | None:
        return self.total / self.count if self.count else None


@dataclass(slots=True)
class Usage:
    """What one process has used, over all its lives.

    Attributes:
        process: its name.
        lives: how often it was started.
        memory: slope of its memory, MB an hour.
        max_memory_mb: the most.
        max_resident_mb: the most, with what it shares.
        first_fds: fewest file descriptors in the first part of the run; None when it was not seen then.
        last_fds: the same in the last part.
        max_fds: the most.
        max_threads: the most.
    """

    process: str
    memory: Slope = field(default_factory=Slope)
    max_memory_mb: float = 0.0
    max_resident_mb: float = 0.0
    first_fds: int | None = None
    last_fds: int | None = None
    max_fds: int = 0
    max_threads: int = 0
    _first: _Mean = field(default_factory=_Mean)
    _last: _Mean = field(default_factory=_Mean)
    _cpu: dict[int, float] = field(default_factory=dict)

    @property
    def lives(self) -> int:
        """How many processes it was."""
        return len(self._cpu)

    @property
    def first_memory_mb(self) -> float | None:
        """Mean memory in the first part of the run."""
        return self._first.value

    @property
    def last_memory_mb(self) -> float | None:
        """Mean memory in the last part of the run."""
        return self._last.value

    def cpu_share(self, seconds: float) -> float:
        """Part of one core that it used in so many seconds, 0 to 1 a core."""
        return sum(self._cpu.values()) / seconds

    def add(self, sample: Sample, edge_seconds: float, run_seconds: float) -> None:
        """One sample; ``edge_seconds`` are the length of the first and the last part."""
        self._cpu[sample.pid] = sample.cpu_seconds
        self.max_memory_mb = max(self.max_memory_mb, sample.memory_mb)
        self.max_resident_mb = max(self.max_resident_mb, sample.resident_mb)
        self.max_fds = max(self.max_fds, sample.fds)
        self.max_threads = max(self.max_threads, sample.threads)
        if sample.age_seconds >= WARM_UP_SECONDS:
            self.memory.add(sample.pid, sample.at_seconds / _HOUR_SECONDS, sample.memory_mb)
        if sample.at_seconds <= edge_seconds:
            self._first.add(sample.memory_mb)
            self.first_fds = sample.fds if self.first_fds is None else min(self.first_fds, sample.fds)
        if sample.at_seconds >= run_seconds - edge_seconds:
            self._last.add(sample.memory_mb)
            self.last_fds = sample.fds if self.last_fds is None else min(self.last_fds, sample.fds)


def edge_seconds(run_seconds: float) -> float:
    """How long the first and the last part of a run are: an hour, or a quarter of a shorter run."""
    return min(_HOUR_SECONDS, run_seconds / 4)


def usages(samples: Iterable[Sample], run_seconds: float) -> list[Usage]:
    """What each process has used, by the order in which they are seen first."""
    found: dict[str, Usage] = {}
    for sample in samples:
        usage = found.setdefault(sample.process, Usage(sample.process))
        usage.add(sample, edge_seconds(run_seconds), run_seconds)
    return list(found.values())
