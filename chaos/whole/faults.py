"""What breaks, how often, and when it is mended: drawn from a seed, one after the other, overlapping as they come.

Kills and cuts are the most frequent; between them parts are stopped for longer than the writers wait for each other,
asked to end in good order, cut off from the broker, refused by the disk, and the exchange has its own bad moments.
Each fault that met something is counted; how it is mended is planned when it happens.
"""

import heapq
import itertools
import random
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from redis.exceptions import RedisError

from chaos.whole.pipeline import BY_PATTERN, CLAIM_SECONDS, HOLES, INTERVALS, Pipeline
from chaos.whole.processes import Part
from shared.candle import Series
from shared.interval import Interval
from shared.market import Market

ALWAYS = {"all": 0.5, "listing": 0, "delisting": 0, "holes": HOLES}
"""Faults of the exchange's own while the others happen; symbols come and go by ``list`` and ``delist`` below."""

_STORM = ALWAYS | {"all": 2.0}
_MEAN_PAUSE_SECONDS = 1.0
_MOST_DOWN_SECONDS = 2.5
_END_SECONDS = 15.0
_MOST_CUT_AFTER_BYTES = 400
_MOST_LISTED = 6
_LEAST_LIFE_SECONDS = 20.0


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of fault.

    Attributes:
        name: what is counted.
        weight: how often it happens, beside the others.
        strike: lets it happen; False when there was nothing that it could happen to.
    """

    name: str
    weight: float
    strike: "Callable[[Faults], bool]"


class Faults:
    """Lets faults happen to a pipeline and mends them.

    Args:
        pipeline: what is broken.
        seed: decides what happens, in which order and for how long.

    Attributes:
        survived: how often each kind happened to something.
        surprises: parts that ended by themselves or did not end when they were asked to, and how.
    """

    def __init__(self, pipeline: Pipeline, seed: int) -> None:
        self.pipeline = pipeline
        self.rng = random.Random(seed)
        self.survived: Counter[str] = Counter()
        self.surprises: list[str] = []
        self.listed: dict[tuple[Market, str], float] = {(Market.SPOT, "SOLUSDT"): 0.0}
        self._later: list[tuple[float, int, Callable[[], object]]] = []
        self._numbers = itertools.count()

    def run(self, seconds: float) -> None:
        """Let faults happen for so long; they are not mended yet when it returns."""
        self.pipeline.ask_exchange("PATCH", "faults", ALWAYS)
        weights = [kind.weight for kind in KINDS]
        until = time.monotonic() + seconds
        next_at = time.monotonic()
        while (now := time.monotonic()) < until:
            if now >= next_at:
                next_at = now + self.rng.expovariate(1 / _MEAN_PAUSE_SECONDS)
                (kind,) = self.rng.choices(KINDS, weights)
                if kind.strike(self):
                    self.survived[kind.name] += 1
                    self.pipeline.logbook.say(kind.name)
            self._mend(now)
            self._keep(now)
            time.sleep(0.02)

    def end(self) -> None:
        """Mend everything: heal, wake, start what is down, and let the exchange be well but for its holes."""
        while self._later:
            self._mend(self._later[0][0])
        for part in self.pipeline.parts:
            part.wake()
        self.pipeline.ask_exchange("PATCH", "faults", {"all": 0, "holes": HOLES})
        for pool in ("spot", "futures"):
            self.pipeline.ask_exchange("POST", "rest", {"pool": pool, "status": 429, "seconds": 0})
        self.pipeline.proxy.heal()
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
                part.due_at = now + self.rng.uniform(0, _MOST_DOWN_SECONDS)
            if part.due_at is not None and now >= part.due_at:
                part.start()


def _kill(parts: Callable[[Pipeline], Sequence[Part]]) -> Callable[[Faults], bool]:
    def strike(faults: Faults) -> bool:
        part = faults.any_of(parts(faults.pipeline))
        if part is None:
            return False
        part.kill(time.monotonic() + faults.rng.uniform(0, _MOST_DOWN_SECONDS))
        return True

    return strike


def _stop(parts: Callable[[Pipeline], Sequence[Part]], most_seconds: float) -> Callable[[Faults], bool]:
    def strike(faults: Faults) -> bool:
        part = faults.any_of(parts(faults.pipeline))
        if part is None:
            return False
        part.stop()
        faults.later(faults.rng.uniform(0.5, 1) * most_seconds, part.wake)
        return True

    return strike


def _ask_to_end(parts: Callable[[Pipeline], Sequence[Part]]) -> Callable[[Faults], bool]:
    def strike(faults: Faults) -> bool:
        part = faults.any_of(parts(faults.pipeline))
        if part is None:
            return False
        part.ask_to_end()
        return True

    return strike


def _cut(faults: Faults) -> bool:
    """Counted by the proxy: it knows whether there was a connection."""
    faults.pipeline.proxy.cut(faults.rng.choice((0, faults.rng.randrange(1, _MOST_CUT_AFTER_BYTES))))
    return False


def _until_healed(act: Callable[[Faults], None], most_seconds: float) -> Callable[[Faults], bool]:
    def strike(faults: Faults) -> bool:
        act(faults)
        faults.later(faults.rng.uniform(0.1, 1) * most_seconds, faults.pipeline.proxy.heal)
        return True

    return strike


def _fill_disk(faults: Faults) -> bool:
    """Writers' files may not grow any more, or only a little."""
    writers = [part for part in faults.pipeline.writers if part.runs]
    size = faults.rng.choice((0, 2000))
    for writer in writers:
        writer.limit_files(size)
        faults.later(faults.rng.uniform(1, 4), partial(writer.limit_files, None))
    return bool(writers)


def _exchange(method: str, path: str, body: Callable[[Faults], dict[str, object]]) -> Callable[[Faults], bool]:
    def strike(faults: Faults) -> bool:
        faults.pipeline.ask_exchange(method, path, body(faults))
        return True

    return strike


def _storm(faults: Faults) -> bool:
    faults.pipeline.ask_exchange("PATCH", "faults", _STORM)
    faults.later(faults.rng.uniform(2, 5), lambda: faults.pipeline.ask_exchange("PATCH", "faults", ALWAYS))
    return True


def _list(faults: Faults) -> bool:
    number = len(faults.listed)
    if number > _MOST_LISTED:
        return False
    market = faults.rng.choice(BY_PATTERN)
    symbol = f"CHAOS{number}USDT"
    faults.pipeline.ask_exchange("POST", "symbols", {"market": market.value, "list": [symbol]})
    faults.listed[market, symbol] = time.monotonic()
    faults.pipeline.expected += [Series(market, symbol, Interval(name)) for name in INTERVALS[market]]
    return True


def _delist(faults: Faults) -> bool:
    """One that has lived for long enough to be noticed whatever else happened."""
    now = time.monotonic()
    old = [one for one, since in faults.listed.items() if now - since > _LEAST_LIFE_SECONDS]
    if not old:
        return False
    market, symbol = faults.rng.choice(old)
    faults.listed[market, symbol] = float("inf")
    faults.pipeline.ask_exchange("POST", "symbols", {"market": market.value, "delist": [symbol]})
    return True


def _flush(faults: Faults) -> bool:
    """The broker forgets everything."""
    if faults.any_of([faults.pipeline.broker]) is None:
        return False
    try:
        with faults.pipeline.client() as client:
            client.flushall()
    except (RedisError, OSError):
        return False
    return True


def _fail_over(faults: Faults) -> bool:
    """A replica begins to follow, and is promoted soon, however far it has come."""
    if faults.any_of([faults.pipeline.broker]) is None or not faults.pipeline.begin_standby():
        return False
    faults.later(faults.rng.uniform(0, 4), faults.pipeline.fail_over)
    return True


def _producers(pipeline: Pipeline) -> Sequence[Part]:
    return pipeline.producers


def _writers(pipeline: Pipeline) -> Sequence[Part]:
    return pipeline.writers


def _broker(pipeline: Pipeline) -> Sequence[Part]:
    return [pipeline.broker]


LOSSES: Sequence[Kind] = (
    Kind("broker flushed", 0.1, _flush),
    Kind("fail-over to a replica that lags", 0.15, _fail_over),
)
"""The broker loses what it had answered for. Not among ``KINDS``: a producer publishes again what it remembers, and
what a producer knew that was killed at the same time is known to nobody. ``*LOSSES`` there switches them on.
"""

KINDS: Sequence[Kind] = (
    Kind("producer killed", 1.2, _kill(_producers)),
    Kind("writer killed", 1.2, _kill(_writers)),
    Kind("broker killed", 1.0, _kill(_broker)),
    Kind("connections to the broker cut", 3.4, _cut),
    Kind("producer stopped", 0.25, _stop(_producers, 5.0)),
    Kind("writer stopped beyond the claim time", 0.25, _stop(_writers, 2.5 * CLAIM_SECONDS)),
    Kind("broker hung", 0.2, _stop(_broker, 4.0)),
    Kind("producer asked to end", 0.2, _ask_to_end(_producers)),
    Kind("writer asked to end", 0.2, _ask_to_end(_writers)),
    Kind("broker asked to end", 0.1, _ask_to_end(_broker)),
    Kind("broker out of reach", 0.3, _until_healed(lambda faults: faults.pipeline.proxy.refuse(), 3)),
    Kind("broker a black hole", 0.25, _until_healed(lambda faults: faults.pipeline.proxy.freeze(), 4)),
    Kind("broker slow to answer", 0.2, _until_healed(lambda faults: faults.pipeline.proxy.delay(0.2), 4)),
    Kind("broker on a thin line", 0.15, _until_healed(lambda faults: faults.pipeline.proxy.throttle(5000), 4)),
    Kind("disk full", 0.4, _fill_disk),
    Kind("every connection to the exchange lost", 0.15, _exchange("POST", "drop", lambda _: {})),
    Kind("exchange shut down and back", 0.1, _exchange("POST", "shutdown", lambda _: {})),
    Kind(
        "REST banned",
        0.2,
        _exchange(
            "POST",
            "rest",
            lambda faults: {
                "pool": faults.rng.choice(("spot", "futures")),
                "status": faults.rng.choice((418, 429)),
                "seconds": faults.rng.uniform(1, 4),
            },
        ),
    ),
    Kind("storm of faults at the exchange", 0.15, _storm),
    Kind("symbol listed", 0.2, _list),
    Kind("symbol delisted", 0.1, _delist),
)

KILLS = ("producer killed", "writer killed", "broker killed")
CUTS = "connections to the broker cut"
