"""A million hostile inputs: only outcomes that have a name, and memory that stays where it was.

Each input is made from the run's seed and its own number alone, so any of them can be made again by itself:
``python -m chaos fuzz --seed SEED --first NUMBER --count 1``. Half are WebSocket messages, a quarter stream entries, a
quarter REST answers, and one in two hundred is an archive file.
"""

import contextlib
import logging
import random
import re
import statistics
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import psutil

from chaos.fuzz.corpora import corpora
from chaos.fuzz.mutations import mutated_fields, mutated_json, mutated_zip
from chaos.fuzz.targets import Answers, hear, read, take
from shared.interval import Interval
from shared.market import Market

MOST_GROWTH_MB = 32.0
"""A run fails when its memory, past the warm-up, grows by more; caches that are bounded fill up within it."""

_SAMPLES = 200
_WARM = (0.1, 0.3)  # the part of a run after the caches have filled that the last quarter is compared with
_FAILURES_KEPT = 20
_SHOWN_BYTES = 100
_UNTOUCHED = 0.03  # so that what is good is seen to be taken
_ANSWERED = 0.9  # the others are answers to another question
_STATUSES = (*(200,) * 12, 400, 403, 404, 500, 503)
_QUESTIONS = ("klines", "klines", "klines", "first", "time", "info")

Case = tuple[str, bytes, Callable[[], str]]


class Failure(NamedTuple):
    """An input that came to an outcome without a name.

    Attributes:
        number: which input of the run.
        target: what it was fed to.
        what: the exception.
        size: of the input, in bytes.
        excerpt: its first bytes in hex; all of them come back when it is made again.
    """

    number: int
    target: str
    what: str
    size: int
    excerpt: str


@dataclass(slots=True)
class Outcome:
    """What a run came to.

    Attributes:
        counts: how often each target came to each outcome.
        failures: the first inputs without a named outcome, one of a kind.
        failed: how many there were.
        kinds: their targets and exceptions, without numbers.
        memory_mb: resident memory, sampled at even steps.
        seconds: how long it took.
        slowest: the longest that a single input took, in seconds, and its number.
    """

    counts: Counter[tuple[str, str]] = field(default_factory=Counter)
    failures: list[Failure] = field(default_factory=list)
    failed: int = 0
    kinds: set[tuple[str, str]] = field(default_factory=set)
    memory_mb: list[float] = field(default_factory=list)
    seconds: float = 0.0
    slowest: tuple[float, int] = (0.0, 0)

    @property
    def growth_mb(self) -> float:
        """How much more memory the last quarter took than the part after the warm-up; medians, so no single peak."""
        count = len(self.memory_mb)
        warm = self.memory_mb[int(count * _WARM[0]) : int(count * _WARM[1])]
        last = self.memory_mb[count * 3 // 4 :]
        return statistics.median(last) - statistics.median(warm) if warm and last else 0.0

    @property
    def is_flat(self) -> bool:
        """Whether memory stayed where it was."""
        return self.growth_mb <= MOST_GROWTH_MB


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """No log: a million refusals are counted here, not told."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(before)


class Fuzzer:
    """Makes the inputs of one seed and feeds them to the product.

    Args:
        seed: any integer.
        parse: what takes WebSocket messages; a test hands in one that is broken.
    """

    def __init__(self, seed: int, parse: Callable[[bytes, Market], str] = hear) -> None:
        self._seed = seed
        self._parse = parse
        self._corpora = corpora(seed)
        self._fields = [fields for _, fields in self._corpora.entries]
        self._zips = [content for _, content in self._corpora.archives]
        self._rest = {market: Answers(market) for market in Market}

    def run(self, count: int, first: int = 0, tell: Callable[[int], object] = lambda _: None) -> Outcome:
        """Feed ``count`` inputs, from number ``first`` on; ``tell`` hears now and then how many are done."""
        outcome, process = Outcome(), psutil.Process()
        step = max(1, count // _SAMPLES)
        began = time.perf_counter()
        with _quiet():
            for number in range(first, first + count):
                self._feed(number, outcome)
                if (number - first + 1) % step == 0:
                    outcome.memory_mb.append(process.memory_info().rss / 2**20)
                    tell(number - first + 1)
        outcome.seconds = time.perf_counter() - began
        return outcome

    def _feed(self, number: int, outcome: Outcome) -> None:
        target, content, feed = self._case(number)
        began = time.perf_counter()
        try:
            outcome.counts[target, feed()] += 1
        except Exception as error:  # noqa: BLE001 # any of them is what is looked for
            outcome.failed += 1
            outcome.counts[target, f"UNNAMED: {type(error).__name__}"] += 1
            what = f"{type(error).__name__}: {error}"[:300]
            kind = (target, re.sub(r"\d+", "#", what))
            if len(outcome.failures) < _FAILURES_KEPT and kind not in outcome.kinds:
                outcome.kinds.add(kind)
                outcome.failures.append(
                    Failure(number, target, what, len(content), content[:_SHOWN_BYTES].hex()),
                )
        outcome.slowest = max(outcome.slowest, (time.perf_counter() - began, number))

    def _case(self, number: int) -> Case:
        """One input: what it is fed to, its bytes, and the call that feeds it."""
        rng = random.Random(f"{self._seed}:{number}")
        dice = rng.random()
        if dice < 0.5:
            return self._frame(rng)
        if dice < 0.75:
            return self._entry(rng)
        return self._answer(rng) if dice < 0.995 else self._archive(rng)

    def _frame(self, rng: random.Random) -> Case:
        frame = self._json(rng, self._corpora.frames)
        market = rng.choice(tuple(Market))
        return "frame", frame, lambda: self._parse(frame, market)

    def _entry(self, rng: random.Random) -> Case:
        market, fields = rng.choice(self._corpora.entries)
        if rng.random() > _UNTOUCHED:
            fields = mutated_fields(rng, fields, self._fields)
        return "entry", b"\n".join(b"%b=%b" % item for item in fields.items()), lambda: take(fields, market)

    def _answer(self, rng: random.Random) -> Case:
        question, status, interval = rng.choice(_QUESTIONS), rng.choice(_STATUSES), rng.choice(tuple(Interval))
        answered = question if rng.random() < _ANSWERED else rng.choice(_QUESTIONS)
        body, rest = self._json(rng, self._corpora.bodies[answered]), self._rest[rng.choice(tuple(Market))]
        return "answer", body, lambda: rest.ask(question, status, body, interval)

    def _archive(self, rng: random.Random) -> Case:
        file, content = rng.choice(self._corpora.archives)
        if rng.random() > _UNTOUCHED:
            content = mutated_zip(rng, content, self._zips)
        return "archive", content, lambda: read(file, content)

    @staticmethod
    def _json(rng: random.Random, inputs: Sequence[bytes]) -> bytes:
        content = rng.choice(inputs)
        return content if rng.random() < _UNTOUCHED else mutated_json(rng, content, inputs)
