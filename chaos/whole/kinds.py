"""What happens where everything breaks at random, and how often each kind does beside the others."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from redis.exceptions import RedisError

from chaos.brokers.server import Server
from chaos.brokers.single import Single
from chaos.whole.pipeline import Pipeline
from chaos.whole.shape import CLAIM_SECONDS
from chaos.whole.strikes import (
    Strike,
    ask_exchange,
    ask_to_end,
    ban_rest,
    broker_of,
    delist_symbol,
    fill_disk,
    kill,
    list_symbol,
    primaries_of,
    producers_of,
    single,
    stop,
    until_healed,
    writers_of,
)
from shared.broker.keys import Keys
from shared.market import Market

if TYPE_CHECKING:
    from chaos.whole.faults import Faults

CUTS = "connections to the broker cut"
KILLS = ("producer killed", "writer killed", "broker killed", "primary killed")

_DOWN = (0.0, 2.5)


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of fault.

    Attributes:
        name: what is counted.
        weight: how often it happens, beside the others.
        strike: lets it happen.
    """

    name: str
    weight: float
    strike: Strike


def always(pipeline: Pipeline) -> Mapping[str, float]:
    """Faults of the exchange's own while the others happen; symbols come and go by strikes."""
    return {"all": 0.5, "listing": 0, "delisting": 0, "holes": pipeline.shape.holes}


def _storm(faults: "Faults") -> bool:
    usual = always(faults.pipeline)
    faults.pipeline.ask_exchange("PATCH", "faults", {**usual, "all": 2.0})
    faults.later(faults.rng.uniform(2, 5), lambda: faults.pipeline.ask_exchange("PATCH", "faults", usual))
    return True


def _cut(faults: "Faults") -> bool:
    """Counted by the broker: it knows whether there was a connection."""
    faults.pipeline.broker.cut(faults.rng)
    return False


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
    broker = single(faults)
    if faults.any_of(broker.parts) is None or not broker.begin_standby():
        return False
    faults.later(faults.rng.uniform(0, 4), broker.fail_over)
    return True


LOSSES: Sequence[Kind] = (
    Kind("broker flushed", 0.1, _flush),
    Kind("stream deleted", 0.1, _delete_stream),
)
"""The broker loses what it had answered for."""

_EVERYWHERE: Sequence[Kind] = (
    Kind("producer killed", 1.2, kill(producers_of, _DOWN)),
    Kind("writer killed", 1.2, kill(writers_of, _DOWN)),
    Kind(CUTS, 3.4, _cut),
    Kind("producer stopped", 0.25, stop(producers_of, (2.5, 5))),
    Kind("writer stopped beyond the claim time", 0.25, stop(writers_of, (1.25 * CLAIM_SECONDS, 2.5 * CLAIM_SECONDS))),
    Kind("producer asked to end", 0.2, ask_to_end(producers_of)),
    Kind("writer asked to end", 0.2, ask_to_end(writers_of)),
    Kind("broker asked to end", 0.1, ask_to_end(broker_of)),
    Kind("disk full", 0.4, fill_disk((1, 4))),
    Kind("every connection to the exchange lost", 0.15, ask_exchange("POST", "drop", lambda _: {})),
    Kind("exchange shut down and back", 0.1, ask_exchange("POST", "shutdown", lambda _: {})),
    Kind("REST banned", 0.2, ban_rest((418, 429), (1, 4))),
    Kind("storm of faults at the exchange", 0.15, _storm),
    Kind("symbol listed", 0.2, list_symbol),
    Kind("symbol delisted", 0.1, delist_symbol(20)),
    *LOSSES,
)

_SINGLE: Sequence[Kind] = (
    Kind("broker killed", 1.0, kill(broker_of, _DOWN)),
    Kind("broker hung", 0.2, stop(broker_of, (2, 4))),
    Kind("broker out of reach", 0.3, until_healed(lambda proxy: proxy.refuse(), (0.3, 3))),
    Kind("broker a black hole", 0.25, until_healed(lambda proxy: proxy.freeze(), (0.4, 4))),
    Kind("broker slow to answer", 0.2, until_healed(lambda proxy: proxy.delay(0.2), (0.4, 4))),
    Kind("broker on a thin line", 0.15, until_healed(lambda proxy: proxy.throttle(5000), (0.4, 4))),
    Kind("fail-over to a replica that lags", 0.15, _fail_over),
)

_SEVERAL: Sequence[Kind] = (
    Kind("broker killed", 0.5, kill(broker_of, _DOWN)),
    Kind("primary killed", 0.5, kill(primaries_of, _DOWN)),
    Kind("broker hung", 0.2, stop(broker_of, (2, 4))),
    Kind("primary hung", 0.2, stop(primaries_of, (2, 4))),
)


def kinds_of(pipeline: Pipeline) -> Sequence[Kind]:
    """What may happen to a pipeline, by its broker."""
    return (*_EVERYWHERE, *(_SINGLE if isinstance(pipeline.broker, Single) else _SEVERAL))
