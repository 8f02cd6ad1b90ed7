"""Lines of the tables: costs beside each other, times as percentiles, and what processes take."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np


@dataclass(frozen=True, slots=True)
class Result:
    """What one benchmark measured, in one unit for all contestants.

    Attributes:
        name: what was measured.
        unit: of the figures.
        ours: Candlewick.
        floor: the least that the same work can cost with the same libraries; None where there is no such thing.
        old: one process, an in-process queue and a whole-file rewrite; None where it has no such part.
        aim: the ratio of ours to the floor that we aim at; None for figures without one.
        is_steady: whether the ratio hardly depends on what else the machine does, so that a later run may be compared.
    """

    name: str
    unit: str
    ours: float
    floor: float | None = None
    old: float | None = None
    aim: float | None = None
    is_steady: bool = True


class Percentiles(NamedTuple):
    """Half of all are below ``p50``, 99 of 100 below ``p99``, none above ``max``."""

    p50: float
    p99: float
    max: float

    @classmethod
    def of(cls, values: Iterable[float]) -> "Percentiles | None":
        """Those of some values; None of none."""
        found = np.fromiter(values, float)
        return cls(*map(float, np.percentile(found, [50, 99, 100]))) if len(found) else None


@dataclass(frozen=True, slots=True)
class Spread:
    """How long a step took, over many candles, in ms; and how long after a candle's close it was over."""

    name: str
    step: Percentiles | None
    since_close: Percentiles | None = None


@dataclass(frozen=True, slots=True)
class Usage:
    """What a process took over a while.

    Attributes:
        process: its name.
        cpu_percent: CPU, in percent of a core.
        waited_percent: its threads were ready and had no core, in percent of the time: a machine that is busy.
        peak_mb: highest RSS, in MB.
        pss_mb: its own memory and its part of what it shares with others, at the end, in MB.
    """

    process: str
    cpu_percent: float
    waited_percent: float | None = None
    peak_mb: float | None = None
    pss_mb: float | None = None


@dataclass(frozen=True, slots=True)
class Contestant:
    """One of several that take in the same frames: microseconds of CPU a frame of each feed, and the floors'."""

    name: str
    microseconds: tuple[float, ...]
    floors: tuple[float, ...]


Line = Result | Spread | Usage | Contestant


def best_of(rounds: int, contestants: Mapping[str, Callable[[], float]]) -> dict[str, float]:
    """The least cost of each contestant over some rounds in which they take turns."""
    best = dict.fromkeys(contestants, float("inf"))
    for _ in range(rounds):
        for name, run in contestants.items():
            best[name] = min(best[name], run())
    return best
