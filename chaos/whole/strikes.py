"""How faults happen to a pipeline, and how each is mended: that is planned when it happens.

A strike lets one happen, and returns False when there was nothing that it could happen to. Spans are the shortest and
the longest duration, in seconds; where between them, the seed decides.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

from chaos.brokers.single import Single
from chaos.processes import Part
from chaos.proxy import Proxy
from chaos.whole.pipeline import Pipeline
from shared.candle import Series
from shared.interval import Interval

if TYPE_CHECKING:
    from chaos.whole.faults import Faults

Strike = Callable[["Faults"], bool]
Parts = Callable[[Pipeline], Sequence[Part]]
Span = tuple[float, float]

_MAX_LISTED = 6


def kill(parts: Parts, down: Span) -> Strike:
    """SIGKILL one of these; it is started again after so long."""

    def strike(faults: "Faults") -> bool:
        part = faults.any_of(parts(faults.pipeline))
        if part is None:
            return False
        part.kill(time.monotonic() + faults.rng.uniform(*down))
        return True

    return strike


def stop(parts: Parts, span: Span) -> Strike:
    """SIGSTOP one of these for so long."""

    def strike(faults: "Faults") -> bool:
        part = faults.any_of(parts(faults.pipeline))
        if part is None:
            return False
        part.stop()
        faults.later(faults.rng.uniform(*span), part.wake)
        return True

    return strike


def ask_to_end(parts: Parts) -> Strike:
    """SIGTERM one of these; it is started again when it has ended."""

    def strike(faults: "Faults") -> bool:
        part = faults.any_of(parts(faults.pipeline))
        if part is None:
            return False
        part.ask_to_end()
        return True

    return strike


def until_healed(act: Callable[[Proxy], None], span: Span) -> Strike:
    """Give the proxy in front of a single broker an order, and heal it after so long."""

    def strike(faults: "Faults") -> bool:
        proxy = single(faults).proxy
        act(proxy)
        faults.later(faults.rng.uniform(*span), proxy.heal)
        return True

    return strike


def fill_disk(span: Span) -> Strike:
    """Writers' files may not grow any more, or only a little."""

    def strike(faults: "Faults") -> bool:
        writers = [part for part in faults.pipeline.writers if part.runs]
        size = faults.rng.choice((0, 2000))
        for writer in writers:
            writer.limit_files(size)
            faults.later(faults.rng.uniform(*span), partial(writer.limit_files, None))
        return bool(writers)

    return strike


def ask_exchange(method: str, path: str, body: Callable[["Faults"], Mapping[str, object]]) -> Strike:
    """Ask the exchange's control endpoint for something."""

    def strike(faults: "Faults") -> bool:
        faults.pipeline.ask_exchange(method, path, body(faults))
        return True

    return strike


def ban_rest(statuses: Sequence[int], span: Span) -> Strike:
    """One of the exchange's pools of weight is closed for so long."""
    return ask_exchange(
        "POST",
        "rest",
        lambda faults: {
            "pool": faults.rng.choice(("spot", "futures")),
            "status": faults.rng.choice(statuses),
            "seconds": faults.rng.uniform(*span),
        },
    )


def list_symbol(faults: "Faults") -> bool:
    """A new symbol of a market that is recorded by pattern."""
    pipeline, number = faults.pipeline, len(faults.listed)
    if number > _MAX_LISTED:
        return False
    market = faults.rng.choice(pipeline.shape.by_pattern)
    symbol = f"CHAOS{number}USDT"
    pipeline.ask_exchange("POST", "symbols", {"market": market.value, "list": [symbol]})
    faults.listed[market, symbol] = time.monotonic()
    pipeline.expected += [Series(market, symbol, Interval(name)) for name in pipeline.shape.intervals[market]]
    return True


def delist_symbol(least_life_seconds: float) -> Strike:
    """One that has lived for long enough to be noticed whatever else happened."""

    def strike(faults: "Faults") -> bool:
        now = time.monotonic()
        old = [name for name, since in faults.listed.items() if now - since > least_life_seconds]
        if not old:
            return False
        market, symbol = faults.rng.choice(old)
        faults.listed[market, symbol] = float("inf")
        faults.pipeline.ask_exchange("POST", "symbols", {"market": market.value, "delist": [symbol]})
        return True

    return strike


def single(faults: "Faults") -> Single:
    """The broker of a pipeline that has a single one."""
    assert isinstance(faults.pipeline.broker, Single)  # noqa: S101 # kinds that ask for it are drawn for no other
    return faults.pipeline.broker


def producers_of(pipeline: Pipeline) -> Sequence[Part]:
    """The producers."""
    return pipeline.producers


def writers_of(pipeline: Pipeline) -> Sequence[Part]:
    """The writers."""
    return pipeline.writers


def broker_of(pipeline: Pipeline) -> Sequence[Part]:
    """All processes of the broker."""
    return pipeline.broker.parts


def primaries_of(pipeline: Pipeline) -> Sequence[Part]:
    """The broker's servers that take writes now."""
    return pipeline.broker.primaries
