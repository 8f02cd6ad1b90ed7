"""The end of every run: mend, wait until everything is there, stop in good order, compare with the truth."""

import signal
import time
from collections import Counter
from dataclasses import dataclass

import httpx
from redis.exceptions import RedisError

from chaos.processes import Part
from chaos.whole.faults import Faults
from chaos.whole.outcome import Outcome
from chaos.whole.pipeline import ChaosError, Pipeline
from chaos.whole.truth import control
from shared.interval import MINUTE_MS

_DRAIN_SECONDS = 60.0
_END_SECONDS = 20.0


@dataclass(frozen=True, slots=True)
class Patience:
    """How long is waited until nothing is missing, and how often it is looked, in seconds."""

    complete_seconds: float = 240.0
    poll_seconds: float = 0.5


PATIENCE = Patience()
"""Of a run at high speed."""


def settle(pipeline: Pipeline, faults: Faults, outcome: Outcome, patience: Patience = PATIENCE) -> None:
    """Mend everything, wait until all that the exchange has is there, stop in good order, and compare.

    Args:
        pipeline: nothing of it runs any more but the exchange and the broker.
        faults: what has happened to it.
        outcome: takes what is found.
        patience: how long is waited.
    """
    faults.end()
    state = control(pipeline.address)
    outcome.survived = faults.survived
    outcome.at_the_exchange = Counter(state["injected"])
    horizon_ms = int(state["time_ms"]) // MINUTE_MS * MINUTE_MS
    _drain(pipeline, faults, horizon_ms, outcome, patience)
    _judge(pipeline, horizon_ms, outcome)
    outcome.troubles += faults.surprises


def _drain(pipeline: Pipeline, faults: Faults, horizon_ms: int, outcome: Outcome, patience: Patience) -> None:
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
        pipeline.wait_for("nothing is missing", complete, patience.complete_seconds, patience.poll_seconds)
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
