"""Which fault happens when: a Poisson process a kind, drawn from a seed. Pure.

A run of a week or more has faults as often as an ordinary week has. A shorter one has those of a whole week, compressed
into it, but in the mean no denser than the plan allows.
"""

import random
from collections.abc import Sequence
from typing import NamedTuple

from chaos.soak.kinds import Kind
from chaos.soak.plan import WEEK_HOURS

_FIRST = 0.02


class Planned(NamedTuple):
    """A fault that is to happen so many seconds after the beginning."""

    at_seconds: float
    kind: Kind


def weeks_of(kinds: Sequence[Kind], seconds: float, densest_seconds: float) -> float:
    """How many ordinary weeks' faults happen in a run, in the mean."""
    weeks = max(1.0, seconds / 3600 / WEEK_HOURS)
    return min(weeks, seconds / densest_seconds / sum(kind.per_week for kind in kinds))


def draw(kinds: Sequence[Kind], seconds: float, seed: int, densest_seconds: float) -> list[Planned]:
    """All faults of a run, in the order of their times.

    In a run that has room for all kinds, one that the dice left out happens once.

    Args:
        kinds: what may happen, and how often in a week.
        seconds: how long the run is.
        seed: the same seed and length are the same faults.
        densest_seconds: the least mean time between two faults.
    """
    weeks = weeks_of(kinds, seconds, densest_seconds)
    has_room = seconds / densest_seconds >= len(kinds)
    planned = []
    for kind in kinds:
        rng = random.Random(f"{seed} {kind.name}")
        first, last = _FIRST * seconds, kind.until * seconds
        times, mean_pause = [], (last - first) / (kind.per_week * weeks)
        at = first + rng.expovariate(1 / mean_pause)
        while at < last:
            times.append(at)
            at += rng.expovariate(1 / mean_pause)
        if not times and has_room:
            times = [rng.uniform(first, last)]
        planned += [Planned(time, kind) for time in times]
    return sorted(planned, key=lambda one: one.at_seconds)
