"""One line of the table."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass


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
    """

    name: str
    unit: str
    ours: float
    floor: float | None = None
    old: float | None = None
    aim: float | None = None


def best_of(rounds: int, contestants: Mapping[str, Callable[[], float]]) -> dict[str, float]:
    """The least cost of each contestant over some rounds in which they take turns."""
    best = dict.fromkeys(contestants, float("inf"))
    for _ in range(rounds):
        for name, run in contestants.items():
            best[name] = min(best[name], run())
    return best
