"""Lets faults happen to a pipeline, one beside the other as they come, and mends each when its time has come.

Whoever drives it decides what happens when. Each fault that met something is counted.
"""

import heapq
import itertools
import random
import time
from collections import Counter
from collections.abc import Callable, Sequence

from chaos.processes import Part
from chaos.whole.pipeline import Pipeline
from chaos.whole.strikes import Strike
from shared.market import Market

_MAX_DOWN_SECONDS = 2.5
_END_SECONDS = 15.0


class Faults:
    """What has happened to a pipeline, and what is still to be mended.

    Args:
        pipeline: what is broken.
        seed: decides to which part something happens, and for how long.

    Attributes:
        survived: how often each kind happened to something.
        surprises: parts that ended by themselves or did not end when they were asked to, and how.
        listed: since when (monotonic) each symbol is listed that may be delisted.
    """

    def __init__(self, pipeline: Pipeline, seed: int) -> None:
        self.pipeline: Pipeline = pipeline
        self.rng: random.Random = random.Random(seed)
        self.survived: Counter[str] = Counter()
        self.surprises: list[str] = []
        self.listed: dict[tuple[Market, str], float] = {(Market.SPOT, "SOLUSDT"): 0.0}
        self._later: list[tuple[float, int, Callable[[], object]]] = []
        self._numbers = itertools.count()

    def happen(self, name: str, strike: Strike) -> bool:
        """Let a fault happen; whether it met something."""
        if not strike(self):
            return False
        self.survived[name] += 1
        self.pipeline.logbook.say(name)
        return True

    def step(self) -> None:
        """Mend and start whatever is due; note what ended by itself. Call it often while faults happen."""
        now = time.monotonic()
        self._mend(now)
        self._keep(now)

    @property
    def all_mended(self) -> bool:
        """Whether nothing is broken: every part runs, and nothing waits to be mended."""
        return not self._later and all(part.runs and not part.is_stopped for part in self.pipeline.parts)

    def end(self) -> None:
        """Mend everything: heal, wake, start what is down, and let the exchange be well but for its holes."""
        while self._later:
            self._mend(self._later[0][0])
        for part in self.pipeline.parts:
            part.wake()
        self.pipeline.ask_exchange("PATCH", "faults", {"all": 0, "holes": self.pipeline.shape.holes})
        for pool in ("spot", "futures"):
            self.pipeline.ask_exchange("POST", "rest", {"pool": pool, "status": 429, "seconds": 0})
        self.pipeline.broker.heal()
        self.pipeline.logbook.say("everything is mended")

    def keep_alive(self) -> None:
        """Start whatever is due; note what ended by itself. Call it as long as the pipeline is to run."""
        self._keep(time.monotonic())

    def later(self, seconds: float, act: Callable[[], object]) -> None:
        """Do something after so long, or at the end."""
        heapq.heappush(self._later, (time.monotonic() + seconds, next(self._numbers), act))

    def any_of(self, parts: Sequence[Part]) -> Part | None:
        """One that runs and is not stopped; None when there is none."""
        running = [part for part in parts if part.runs and not part.is_stopped]
        return self.rng.choice(running) if running else None

    def _mend(self, now: float) -> None:
        while self._later and self._later[0][0] <= now:
            heapq.heappop(self._later)[2]()

    def _keep(self, now: float) -> None:
        for part in self.pipeline.parts:
            code = None if part.process is None else part.process.poll()
            if code is None and part.ending_since is not None and now - part.ending_since > _END_SECONDS:
                self.surprises.append(f"{part.name} did not end within {_END_SECONDS:g} s of SIGTERM")
                part.kill(now)
            elif code is not None and part.due_at is None:
                if not part.may_end or code not in (0, 1, -9, -15):  # 1: it could not hand everything over
                    self.surprises.append(f"{part.name} ended by itself with code {code}")
                    self.pipeline.logbook.say(self.surprises[-1])
                part.due_at = now + self.rng.uniform(0, _MAX_DOWN_SECONDS)
            if part.due_at is not None and now >= part.due_at:
                part.start()
