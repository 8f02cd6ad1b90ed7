"""One run of chaos: everything breaks at random, drawn from a seed, overlapping as it comes; then it is compared.

Kills and cuts are the most frequent; between them parts are stopped for longer than the writers wait for each other,
asked to end in good order, cut off from the broker, refused by the disk, and the exchange has its own bad moments.
"""

import time
from pathlib import Path

from chaos.whole.ending import settle
from chaos.whole.faults import Faults
from chaos.whole.kinds import CUTS, always, kinds_of
from chaos.whole.outcome import Outcome
from chaos.whole.pipeline import Pipeline
from chaos.whole.shape import rough_shape

LONG_MINUTES, LEAST_KILLS, LEAST_CUTS = 10, 100, 100
"""A run of so many minutes or more proves something only with so many kills and cuts."""

_MEAN_PAUSE_SECONDS = 1.0


def run(folder: Path, minutes: float, seed: int, speed: float, broker: str = "single") -> Outcome:
    """Run once; nothing runs any more when it returns or raises.

    Args:
        folder: empty; keeps the data and the log of all processes.
        minutes: how long faults happen; about a minute more is needed to mend and compare.
        seed: decides the exchange's market and what breaks.
        speed: the exchange's seconds a second.
        broker: its kind (``chaos.whole.pipeline.BROKERS``).

    Raises:
        ChaosError: when the pipeline does not even start.
    """
    outcome = Outcome(minutes)
    with Pipeline(folder, seed, rough_shape(speed), broker) as pipeline:
        faults = Faults(pipeline, seed)
        _break_at_random(faults, 60 * minutes)
        settle(pipeline, faults, outcome)
        outcome.survived[CUTS] = pipeline.broker.cuts
    if minutes >= LONG_MINUTES and (outcome.kills < LEAST_KILLS or outcome.cuts < LEAST_CUTS):
        outcome.troubles.append(f"only {outcome.kills} kills and {outcome.cuts} cuts: too few to prove anything")
    return outcome


def _break_at_random(faults: Faults, seconds: float) -> None:
    """Let faults happen for so long; they are not mended yet when it returns."""
    faults.pipeline.ask_exchange("PATCH", "faults", always(faults.pipeline))
    kinds = kinds_of(faults.pipeline)
    weights = [kind.weight for kind in kinds]
    next_at = time.monotonic()
    until = next_at + seconds
    while (now := time.monotonic()) < until:
        if now >= next_at:
            next_at = now + faults.rng.expovariate(1 / _MEAN_PAUSE_SECONDS)
            (kind,) = faults.rng.choices(kinds, weights)
            faults.happen(kind.name, kind.strike)
        faults.step()
        time.sleep(0.02)
