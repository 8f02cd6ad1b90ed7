"""One run of chaos: break, mend, wait until everything is there, stop in good order, compare with the truth."""

import signal
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import httpx
from redis.exceptions import RedisError

from chaos.processes import Part
from chaos.whole.faults import Faults
from chaos.whole.kinds import CUTS, KILLS
from chaos.whole.pipeline import ChaosError, Pipeline
from chaos.whole.truth import Difference, candles_of, control
from shared.interval import MINUTE_MS

LONG_MINUTES, LEAST_KILLS, LEAST_CUTS = 10, 100, 100
"""A run of so many minutes or more proves something only with so many kills and cuts."""

_COMPLETE_SECONDS = 240.0
_DRAIN_SECONDS = 60.0
_END_SECONDS = 20.0


@dataclass(slots=True)
class Outcome:
    """What a run came to.

    Attributes:
        minutes: how long faults happened.
        survived: how often each kind did.
        at_the_exchange: how often each of the exchange's own faults did.
        differences: every series compared with the truth.
        absent: candles that the exchange does not have, as the ledger notes them and no row contradicts.
        troubles: whatever else is not as it must be; none when all is well.
    """

    minutes: float
    survived: Counter[str] = field(default_factory=Counter)
    at_the_exchange: Counter[str] = field(default_factory=Counter)
    differences: list[Difference] = field(default_factory=list)
    absent: int = 0
    troubles: list[str] = field(default_factory=list)

    @property
    def kills(self) -> int:
        """Processes that were killed."""
        return sum(self.survived[name] for name in KILLS)

    @property
    def cuts(self) -> int:
        """Times that the connections to the broker were cut."""
        return self.survived[CUTS]

    def count(self, kind: str) -> int:
        """How many candles are ``missing``, ``doubled``, ``different`` or ``extra``; or ``compared``."""
        return candles_of(self.differences, kind)

    @property
    def is_good(self) -> bool:
        """Whether nothing was lost, doubled or changed, and enough happened to say so."""
        return (
            bool(self.differences) and not self.troubles and all(difference.is_good for difference in self.differences)
        )


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
    with Pipeline(folder, seed, speed, broker) as pipeline:
        faults = Faults(pipeline, seed)
        faults.run(60 * minutes)
        faults.end()
        state = control(pipeline.address)
        outcome.survived = faults.survived
        outcome.survived[CUTS] = pipeline.broker.cuts
        outcome.at_the_exchange = Counter(state["injected"])
        horizon_ms = int(state["time_ms"]) // MINUTE_MS * MINUTE_MS
        _settle(pipeline, faults, horizon_ms, outcome)
        _judge(pipeline, horizon_ms, outcome)
        outcome.troubles += faults.surprises
    if minutes >= LONG_MINUTES and (outcome.kills < LEAST_KILLS or outcome.cuts < LEAST_CUTS):
        outcome.troubles.append(f"only {outcome.kills} kills and {outcome.cuts} cuts: too few to prove anything")
    return outcome


def _settle(pipeline: Pipeline, faults: Faults, horizon_ms: int, outcome: Outcome) -> None:
    """Wait until everything up to the horizon is there, then stop in good order."""

    def complete() -> bool:
        faults.keep_alive()
        parts = (*pipeline.producers, *pipeline.writers)  # one that was killed at last comes back first
        is_alive = all(part.process is not None and part.process.poll() is None for part in parts)
        return is_alive and pipeline.is_complete(horizon_ms)

    def drained() -> bool:
        faults.keep_alive()
        return pipeline.waiting() == 0

    try:
        pipeline.wait_for("nothing is missing", complete, _COMPLETE_SECONDS)
    except ChaosError as error:
        outcome.troubles.append(str(error))
    outcome.troubles += _end(pipeline.producers)
    try:
        for producer in pipeline.producers:
            producer.due_at = float("inf")
        pipeline.wait_for("every entry is acknowledged", drained, _DRAIN_SECONDS)
    except (ChaosError, RedisError) as error:
        outcome.troubles.append(str(error))
    outcome.troubles += _end(pipeline.writers)


def _end(parts: list[Part]) -> list[str]:
    """Ask parts to end; what is wrong with how they did.

    One that has been started a moment ago has no ear for the signal yet, and dies of it; it holds nothing then.
    """
    for part in parts:
        if part.ending_since is None:  # a second time it would leave at once
            part.ask_to_end()
    deadline = time.monotonic() + _END_SECONDS
    while any(part.process is not None and part.process.poll() is None for part in parts):
        if time.monotonic() > deadline:
            return [f"{part.name} does not end" for part in parts if part.process and part.process.poll() is None]
        time.sleep(0.05)
    return [
        f"{part.name} left with code {part.process.returncode}"
        for part in parts
        if part.process is not None and part.process.returncode not in (0, -signal.SIGTERM)
    ]


def _judge(pipeline: Pipeline, horizon_ms: int, outcome: Outcome) -> None:
    """Compare with the truth, and look into the broker and the ledger."""
    try:
        outcome.differences = pipeline.compare(horizon_ms)
        dead, waiting = pipeline.dead_letters(), pipeline.waiting()
    except (httpx.HTTPError, RedisError) as error:
        outcome.troubles.append(f"no comparison: {error}")
        return
    if dead:
        outcome.troubles.append(f"{dead} dead letters")
    if waiting:
        outcome.troubles.append(f"{waiting} entries are not acknowledged")
    audits = pipeline.audits(horizon_ms)
    outcome.absent = sum(audited.tally.absent for audited in audits)
    outcome.troubles += [
        f"{audited.series}: {audited.tally.missing} missing by the audit, {audited.rows.wrong_rows} wrong rows, "
        f"{len(audited.errors)} bad files"
        for audited in audits
        if not audited.is_good
    ]
    unexpected = {audited.series for audited in audits} - set(pipeline.expected)
    outcome.troubles += [f"{series} was never asked for" for series in sorted(unexpected)]
