"""What each cost is in multiples of its floor, kept in the repository, and what has become slower since.

Machines differ, and a shared one differs from minute to minute; ours and its floor are measured side by side and suffer
alike, so a ratio can be compared with one from another day and another machine. Noise only ever adds: of several runs
the least cost of each counts, and then the ratio of those. On a quiet machine ratios of the same code differ by a tenth
from run to run; beside other work single ones are off by half, and come right with a second or third run.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from bench.result import Line, Result

TOLERANCE = 1.25
"""How many times what is kept a ratio may be."""

QUICK = ("frames", "publish", "disk", "reading", "commands", "pipeline")
"""The benchmarks with floors that are measured and take some minutes together."""

RUNS = 3
"""How often a benchmark is run at most before something in it counts as slower."""

Ratios = Mapping[str, float]


class Cost(NamedTuple):
    """What ours took, and what its floor took, in one unit."""

    ours: float
    floor: float


Costs = Mapping[str, Cost]


@dataclass(frozen=True, slots=True)
class Slower:
    """A ratio that is too far above what is kept."""

    name: str
    kept: float
    now: float

    def __str__(self) -> str:
        percent = 100 * (self.now / self.kept - 1)
        return f"{self.name}: {self.now:.2f} times its floor, was {self.kept:.2f}: {percent:.0f} % slower"


def costs_of(lines: Iterable[Line]) -> dict[str, Cost]:
    """By name and unit, the costs of every line that has a floor and is steady."""
    found = (line for line in lines if isinstance(line, Result) and line.is_steady)
    return {f"{line.name}, {line.unit}": Cost(line.ours, line.floor) for line in found if line.floor}


def least(*runs: Costs) -> dict[str, Cost]:
    """The least cost of each over several runs."""
    names = {name for run in runs for name in run}
    return {name: Cost(*map(min, zip(*(run[name] for run in runs if name in run), strict=True))) for name in names}


def ratios_of(costs: Costs) -> dict[str, float]:
    """Ours over the floor."""
    return {name: cost.ours / cost.floor for name, cost in costs.items()}


def slower(kept: Ratios, now: Ratios) -> list[Slower]:
    """What is in both and beyond the tolerance, the worst first."""
    found = [Slower(name, kept[name], now[name]) for name in kept.keys() & now.keys()]
    beyond = [one for one in found if one.now > one.kept * TOLERANCE]
    return sorted(beyond, key=lambda one: (-one.now / one.kept, one.name))


def read(path: Path) -> dict[str, dict[str, float]]:
    """What is kept, by benchmark; nothing where there is no file."""
    return json.loads(path.read_text()) if path.exists() else {}


def write(path: Path, measured: Mapping[str, Ratios]) -> None:
    """Keep these benchmarks' ratios, and what is kept of others."""
    rounded = {name: {line: float(f"{ratio:.3g}") for line, ratio in found.items()} for name, found in measured.items()}
    path.write_text(json.dumps(read(path) | rounded, indent=2, sort_keys=True, ensure_ascii=False) + "\n")
