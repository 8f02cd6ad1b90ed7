"""One soak: the pipeline as it is, faults when the schedule says so, a look every few seconds, then the comparison."""

import subprocess
import sys
import time
from collections import Counter, deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import httpx
from redis.exceptions import RedisError

from chaos.brokers.plain import free_ports
from chaos.brokers.single import Single
from chaos.soak.disturbances import Disturbances
from chaos.soak.kinds import ordinary_week
from chaos.soak.lateness import ToBroker, ToDisk
from chaos.soak.machine import machine
from chaos.soak.plan import ALWAYS, Plan
from chaos.soak.schedule import Planned, draw
from chaos.soak.watch import Watch
from chaos.whole.ending import Patience, settle
from chaos.whole.faults import Faults
from chaos.whole.outcome import Outcome
from chaos.whole.pipeline import ChaosError, Pipeline
from shared.market import Market

_LOOK_SECONDS, _PROGRESS_SECONDS, _STEP_SECONDS = 12.0, 300.0, 0.2
_AGAIN_SECONDS = 5.0
_COMPLETE_SECONDS, _LEAST_COMPLETE_SECONDS = 1800.0, 240.0
_METRICS_PORTS = 4


@dataclass(slots=True)
class Soaked:
    """What a soak came to.

    Attributes:
        plan: what was asked for.
        begun: when, in UTC, seconds since 1970.
        outcome: the comparison, and what has happened.
        machine: what it ran on.
        series: how many were recorded from the start.
        to_broker: lateness of what was published.
        to_disk: lateness of what was stored.
        log_bytes: by process.
        seconds: how long faults happened; less than was asked for when somebody ended it.
        planned: how many faults were to happen by then, by name.
    """

    plan: Plan
    begun: float
    outcome: Outcome
    machine: dict[str, str]
    series: int
    to_broker: ToBroker
    to_disk: ToDisk
    log_bytes: Counter[str]
    seconds: float = 0.0
    planned: Counter[str] = field(default_factory=Counter)


def run(folder: Path, plan: Plan, is_stopped: Callable[[], bool] = lambda: False) -> Soaked:
    """Run once; nothing runs any more when it returns or raises.

    Args:
        folder: empty; keeps data, log, and the samples in ``samples.jsonl``.
        plan: what is run.
        is_stopped: asked several times a second; from then on no more faults happen, and the end begins.

    Raises:
        ChaosError: when the pipeline does not even start.
    """
    metrics_port = free_ports(_METRICS_PORTS)
    with (
        (folder / "samples.jsonl").open("w") as samples,
        Pipeline(folder, plan.seed, plan.shape(metrics_port)) as pipeline,
    ):
        assert isinstance(pipeline.broker, Single)  # noqa: S101 # what is made without a name
        disturbances = Disturbances()
        with pipeline.client() as client:
            ran_on = machine(client)
        soaked = Soaked(
            plan,
            begun=time.time(),
            outcome=Outcome(60 * plan.hours),
            machine=ran_on,
            series=len(pipeline.expected),
            to_broker=ToBroker(pipeline, disturbances),
            to_disk=ToDisk(f"http://127.0.0.1:{metrics_port + 3}", disturbances),
            log_bytes=pipeline.logbook.volume,
        )
        Soaking(soaked, pipeline, disturbances, Watch(pipeline, samples)).run(is_stopped)
    return soaked


class Soaking:
    """The loop of a run.

    Args:
        soaked: takes what is found.
        pipeline: runs.
        disturbances: told when something is broken.
        watch: takes samples.
    """

    def __init__(self, soaked: Soaked, pipeline: Pipeline, disturbances: Disturbances, watch: Watch) -> None:
        self._soaked = soaked
        self._plan = plan = soaked.plan
        self._pipeline = pipeline
        self._disturbances = disturbances
        self._watch = watch
        self._faults = Faults(pipeline, plan.seed)
        *others, last = pipeline.shape.symbols[Market.SPOT]
        self._faults.listed = {(Market.SPOT, last): 0.0} if others else {}  # what may be delisted before it was listed
        kinds = ordinary_week(plan.speed)
        self._schedule = draw(kinds, plan.seconds, plan.seed, plan.densest_seconds)
        self._due = deque(self._schedule)

    def run(self, is_stopped: Callable[[], bool]) -> None:
        """Break, watch, and compare at the end."""
        soaked, outcome = self._soaked, self._soaked.outcome
        self._pipeline.ask_exchange("PATCH", "faults", ALWAYS)
        self._tell(f"{soaked.series} series are recorded; {len(self._due)} faults are to come")
        try:
            self._break_and_watch(is_stopped)
        except (httpx.HTTPError, RedisError, OSError, subprocess.TimeoutExpired) as error:
            outcome.troubles.append(f"the run ended early: {error!r}")
        outcome.minutes = soaked.seconds / 60
        soaked.planned = Counter(
            planned.kind.name for planned in self._schedule if planned.at_seconds <= soaked.seconds
        )
        self._tell("no more faults: waiting until nothing is missing, then comparing")
        self._settle()

    def _break_and_watch(self, is_stopped: Callable[[], bool]) -> None:
        began = time.monotonic()
        look_at, tell_at = 0.0, _PROGRESS_SECONDS
        while (at := time.monotonic() - began) < self._plan.seconds and not is_stopped():
            self._soaked.seconds = at
            self._strike(at)
            self._faults.step()
            self._disturbances.note(time.time(), is_broken=not self._faults.all_mended)
            if at >= look_at:
                look_at = at + _LOOK_SECONDS
                self._look(at)
            if at >= tell_at:
                tell_at = at + _PROGRESS_SECONDS
                self._tell_progress()
            time.sleep(_STEP_SECONDS)
        self._soaked.seconds = at
        self._look(at)

    def _strike(self, at: float) -> None:
        while self._due and self._due[0].at_seconds <= at:
            kind = self._due.popleft().kind
            with suppress(httpx.HTTPError):  # an exchange that stalls at this very moment
                if self._faults.happen(kind.name, kind.strike):
                    continue
            self._due.append(Planned(at + _AGAIN_SECONDS, kind))
            self._due = deque(sorted(self._due, key=lambda planned: planned.at_seconds))

    def _look(self, at: float) -> None:
        self._watch.look(at)
        self._soaked.to_broker.look()
        writer = self._pipeline.writers[0]
        runs = writer.runs and not writer.is_stopped and writer.process is not None
        self._soaked.to_disk.look(time.time(), writer.process.pid if runs and writer.process else None)

    def _settle(self) -> None:
        speed, outcome = self._plan.speed, self._soaked.outcome
        patience = Patience(max(_COMPLETE_SECONDS / speed, _LEAST_COMPLETE_SECONDS), max(_AGAIN_SECONDS / speed, 0.5))
        try:
            settle(self._pipeline, self._faults, outcome, patience)
        except KeyboardInterrupt:
            outcome.troubles.append("interrupted before it was compared")
        except (ChaosError, httpx.HTTPError, OSError) as error:
            outcome.troubles.append(f"not compared: {error}")

    def _tell_progress(self) -> None:
        happened, entries = self._faults.survived.total(), self._soaked.to_broker.entries
        self._tell(f"{happened} of {len(self._schedule)} faults, {entries:,} candles published")

    def _tell(self, text: str) -> None:
        hours, minutes = divmod(int(self._soaked.seconds / 60), 60)
        print(f"soak: {hours}:{minutes:02} of {self._plan.hours:g} h: {text}", file=sys.stderr, flush=True)
