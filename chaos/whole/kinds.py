"""The kinds of faults, how often each happens beside the others, and how each is mended."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from redis.exceptions import RedisError

from chaos.brokers.server import Server
from chaos.brokers.single import Single
from chaos.processes import Part
from chaos.proxy import Proxy
from chaos.whole.pipeline import BY_PATTERN, CLAIM_SECONDS, HOLES, INTERVALS, Pipeline
from shared.broker.keys import Keys
from shared.candle import Series
from shared.interval import Interval
from shared.market import Market

if TYPE_CHECKING:
    from chaos.whole.faults import Faults

ALWAYS = {"all": 0.5, "listing": 0, "delisting": 0, "holes": HOLES}
"""Faults of the exchange's own while the others happen; symbols come and go by ``list`` and ``delist`` below."""

CUTS = "connections to the broker cut"
KILLS = ("producer killed", "writer killed", "broker killed", "primary killed")

_STORM = ALWAYS | {"all": 2.0}
_MAX_DOWN_SECONDS = 2.5
_MAX_LISTED = 6
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


def _kill(parts: Callable[[Pipeline], Sequence[Part]]) -> Callable[["Faults"], bool]:
    def strike(faults: "Faults") -> bool:
        part = faults.any_of(parts(faults.pipeline))
        if part is None:
            return False
        part.kill(time.monotonic() + faults.rng.uniform(0, _MAX_DOWN_SECONDS))
        return True

    return strike


def _stop(parts: Callable[[Pipeline], Sequence[Part]], max_seconds: float) -> Callable[["Faults"], bool]:
    def strike(faults: "Faults") -> bool:
        part = faults.any_of(parts(faults.pipeline))
        if part is None:
            return False
        part.stop()
        faults.later(faults.rng.uniform(0.5, 1) * max_seconds, part.wake)
        return True

    return strike


def _ask_to_end(parts: Callable[[Pipeline], Sequence[Part]]) -> Callable[["Faults"], bool]:
    def strike(faults: "Faults") -> bool:
        part = faults.any_of(parts(faults.pipeline))
        if part is None:
            return False
        part.ask_to_end()
        return True

    return strike


def _cut(faults: "Faults") -> bool:
    """Counted by the broker: it knows whether there was a connection."""
    faults.pipeline.broker.cut(faults.rng)
    return False


def _until_healed(act: Callable[[Proxy], None], max_seconds: float) -> Callable[["Faults"], bool]:
    def strike(faults: "Faults") -> bool:
        proxy = _single(faults).proxy
        act(proxy)
        faults.later(faults.rng.uniform(0.1, 1) * max_seconds, proxy.heal)
        return True

    return strike


def _fill_disk(faults: "Faults") -> bool:
    """Writers' files may not grow any more, or only a little."""
    writers = [part for part in faults.pipeline.writers if part.runs]
    size = faults.rng.choice((0, 2000))
    for writer in writers:
        writer.limit_files(size)
        faults.later(faults.rng.uniform(1, 4), partial(writer.limit_files, None))
    return bool(writers)


def _exchange(method: str, path: str, body: Callable[["Faults"], dict[str, object]]) -> Callable[["Faults"], bool]:
    def strike(faults: "Faults") -> bool:
        faults.pipeline.ask_exchange(method, path, body(faults))
        return True

    return strike


def _storm(faults: "Faults") -> bool:
    faults.pipeline.ask_exchange("PATCH", "faults", _STORM)
    faults.later(faults.rng.uniform(2, 5), lambda: faults.pipeline.ask_exchange("PATCH", "faults", ALWAYS))
    return True


def _list(faults: "Faults") -> bool:
    number = len(faults.listed)
    if number > _MAX_LISTED:
        return False
    market = faults.rng.choice(BY_PATTERN)
    symbol = f"CHAOS{number}USDT"
    faults.pipeline.ask_exchange("POST", "symbols", {"market": market.value, "list": [symbol]})
    faults.listed[market, symbol] = time.monotonic()
    faults.pipeline.expected += [Series(market, symbol, Interval(name)) for name in INTERVALS[market]]
    return True


def _delist(faults: "Faults") -> bool:
    """One that has lived for long enough to be noticed whatever else happened."""
    now = time.monotonic()
    old = [name for name, since in faults.listed.items() if now - since > _LEAST_LIFE_SECONDS]
    if not old:
        return False
    market, symbol = faults.rng.choice(old)
    faults.listed[market, symbol] = float("inf")
    faults.pipeline.ask_exchange("POST", "symbols", {"market": market.value, "delist": [symbol]})
    return True


def _single(faults: "Faults") -> Single:
    assert isinstance(faults.pipeline.broker, Single)  # noqa: S101 # its kinds are drawn for no other
    return faults.pipeline.broker


def _flush(faults: "Faults") -> bool:
    """The broker forgets everything; a cluster, what one of its nodes has."""
    part = faults.any_of(faults.pipeline.broker.primaries)
    if not isinstance(part, Server):
        return False
    try:
        with part.client() as client:
            client.flushall()
    except (RedisError, OSError):
        return False
    return True


def _delete_stream(faults: "Faults") -> bool:
    """One market's stream goes, and with it its group; what else the broker holds of the market stays."""
    keys = Keys(faults.pipeline.settings.broker.prefix)
    try:
        with faults.pipeline.client() as client:
            client.delete(keys.candles(faults.rng.choice(tuple(Market))))
    except (RedisError, OSError):
        return False
    return True


def _fail_over(faults: "Faults") -> bool:
    """A replica begins to follow, and is promoted soon, however far it has come."""
    broker = _single(faults)
    if faults.any_of(broker.parts) is None or not broker.begin_standby():
        return False
    faults.later(faults.rng.uniform(0, 4), broker.fail_over)
    return True


def _producers(pipeline: Pipeline) -> Sequence[Part]:
    return pipeline.producers


def _writers(pipeline: Pipeline) -> Sequence[Part]:
    return pipeline.writers


def _broker(pipeline: Pipeline) -> Sequence[Part]:
    return pipeline.broker.parts


def _primaries(pipeline: Pipeline) -> Sequence[Part]:
    return pipeline.broker.primaries


LOSSES: Sequence[Kind] = (
    Kind("broker flushed", 0.1, _flush),
    Kind("stream deleted", 0.1, _delete_stream),
)
"""The broker loses what it had answered for."""

_EVERYWHERE: Sequence[Kind] = (
    Kind("producer killed", 1.2, _kill(_producers)),
    Kind("writer killed", 1.2, _kill(_writers)),
    Kind(CUTS, 3.4, _cut),
    Kind("producer stopped", 0.25, _stop(_producers, 5.0)),
    Kind("writer stopped beyond the claim time", 0.25, _stop(_writers, 2.5 * CLAIM_SECONDS)),
    Kind("producer asked to end", 0.2, _ask_to_end(_producers)),
    Kind("writer asked to end", 0.2, _ask_to_end(_writers)),
    Kind("broker asked to end", 0.1, _ask_to_end(_broker)),
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
    *LOSSES,
)

_SINGLE: Sequence[Kind] = (
    Kind("broker killed", 1.0, _kill(_broker)),
    Kind("broker hung", 0.2, _stop(_broker, 4.0)),
    Kind("broker out of reach", 0.3, _until_healed(lambda proxy: proxy.refuse(), 3)),
    Kind("broker a black hole", 0.25, _until_healed(lambda proxy: proxy.freeze(), 4)),
    Kind("broker slow to answer", 0.2, _until_healed(lambda proxy: proxy.delay(0.2), 4)),
    Kind("broker on a thin line", 0.15, _until_healed(lambda proxy: proxy.throttle(5000), 4)),
    Kind("fail-over to a replica that lags", 0.15, _fail_over),
)

_SEVERAL: Sequence[Kind] = (
    Kind("broker killed", 0.5, _kill(_broker)),
    Kind("primary killed", 0.5, _kill(_primaries)),
    Kind("broker hung", 0.2, _stop(_broker, 4.0)),
    Kind("primary hung", 0.2, _stop(_primaries, 4.0)),
)


def kinds_of(pipeline: Pipeline) -> Sequence[Kind]:
    """What may happen to a pipeline, by its broker."""
    return (*_EVERYWHERE, *(_SINGLE if isinstance(pipeline.broker, Single) else _SEVERAL))
