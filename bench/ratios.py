"""What each cost is in multiples of its floor, kept in the repository, and what has become slower since.

Machines differ, and a shared one differs from minute to minute; ours and its floor are measured side by side and suffer
alike, so a ratio can be compared with one from another day and another machine. Between runs of the same code ratios
still differ by a tenth, seldom by a fifth. One counts as slower when it is a quarter above what is kept, and is so
again when its benchmark is run once more.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from bench.result import Line, Result

TOLERANCE = 1.25
"""How many times what is kept a ratio may be."""

QUICK = ("frames", "publish", "disk", "reading", "commands", "pipeline")
"""The benchmarks with floors that are measured and take some minutes together."""

Ratios = Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Slower:
    """A ratio that is too far above what is kept."""

    name: str
    kept: float
    now: float

    def __str__(self) -> str:
        percent = 100 * (self.now / self.kept - 1)
        return f"{self.name}: {self.now:.2f} times its floor, was {self.kept:.2f}: {percent:.0f} % slower"


def ratios_of(lines: Iterable[Line]) -> dict[str, float]:
    """Ours over the floor, by name and unit, of every line that has a floor and is steady."""
    costs = (line for line in lines if isinstance(line, Result) and line.floor and line.is_steady)
    return {f"{line.name}, {line.unit}": line.ours / line.floor for line in costs if line.floor}


def slower(kept: Ratios, now: Ratios) -> list[Slower]:
    """What is in both and beyond the tolerance, the worst first."""
    found = [Slower(name, kept[name], now[name]) for name in kept.keys() & now.keys()]
    beyond = [one for one in found if one.now > one.kept * TOLERANCE]
    return sorted(beyond, key=lambda one: (-one.now / one.kept, one.name))


def least(*measured: Ratios) -> dict[str, float]:
    """The best of each over several runs: noise makes a ratio worse more easily than better."""
    names = {name for one in measured for name in one}
    return {name: min(one[name] for one in measured if name in one) for name in names}


def read(path: Path) -> dict[str, dict[str, float]]:
    """What is kept, by benchmark; nothing where there is no file."""
    return json.loads(path.read_text()) if path.exists() else {}


def write(path: Path, measured: Mapping[str, Ratios]) -> None:
    """Keep these benchmarks' ratios, and what is kept of others."""
    rounded = {name: {line: float(f"{ratio:.3g}") for line, ratio in found.items()} for name, found in measured.items()}
    path.write_text(json.dumps(read(path) | rounded, indent=2, sort_keys=True, ensure_ascii=False) + "\n")
