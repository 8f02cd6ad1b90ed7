"""The faults of an ordinary week: what happens, how often, and for how long. One table, to be read and argued about.

Rates are those of one host on a fair line to an exchange that keeps its word, rounded up: connections break a few times
a day, the exchange has a bad minute once a day, processes are deployed or killed some times a week, and once a week
something happens that wakes somebody up.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from chaos.soak.strikes import (
    cut_line,
    exchange_faults,
    freeze_host,
    lasting,
    lose_power,
    mishap,
    on_exchange,
    stall_exchange,
)
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
    producers_of,
    until_healed,
    writers_of,
)

_EARLY = 0.85


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of fault.

    Attributes:
        name: for people.
        per_week: how often it happens in an ordinary week, in the mean.
        strike: lets it happen.
        until: it happens no later than at this part of a run, so that its effect is seen before the end.
    """

    name: str
    per_week: float
    strike: Strike
    until: float = 0.98


def ordinary_week(speed: float = 1.0) -> Sequence[Kind]:
    """All kinds. Durations below are in seconds of the exchange, and so much shorter where that is faster."""

    def span(least: float, most: float) -> tuple[float, float]:
        return least / speed, most / speed

    silent_seconds, listed_seconds = 90 / speed, 600 / speed
    return (
        # the exchange
        Kind("a connection to the exchange lost", 21, on_exchange(mishap("drop"))),
        Kind("a connection closed by the exchange", 7, on_exchange(mishap("close"))),
        Kind(
            "all connections shut down by the exchange", 1, on_exchange(ask_exchange("POST", "shutdown", lambda _: {}))
        ),
        Kind("a connection falls silent", 2, on_exchange(lasting(mishap("silent_connection"), silent_seconds))),
        Kind("a channel falls silent", 2, on_exchange(lasting(mishap("silent_channel"), silent_seconds))),
        Kind("the exchange stalls", 7, stall_exchange(span(40, 60))),
        Kind("closing frames lost and late", 7, exchange_faults({"no_close": 0.1, "late_close": 0.2}, span(40, 80))),
        Kind("REST fails", 7, exchange_faults({"rest_5xx": 1.0}, span(30, 60))),
        Kind("REST banned", 3, on_exchange(ban_rest((429,), span(30, 120)))),
        Kind("event times wrong", 2, exchange_faults({"wrong_time": 0.2}, span(40, 80))),
        Kind("symbol listed", 3, on_exchange(list_symbol), _EARLY),
        Kind("symbol delisted", 1, on_exchange(delist_symbol(listed_seconds)), _EARLY),
        # the way to the broker, and the broker
        Kind("connections to the broker cut", 28, cut_line),
        Kind("broker out of reach", 3, until_healed(lambda proxy: proxy.refuse(), span(10, 60))),
        Kind("broker a black hole", 3, until_healed(lambda proxy: proxy.freeze(), span(5, 30))),
        Kind("broker slow to answer", 3, until_healed(lambda proxy: proxy.delay(0.2), span(30, 60))),
        Kind("broker restarted", 1, ask_to_end(broker_of)),
        Kind("broker killed", 1, kill(broker_of, span(2, 20))),
        # processes and hosts
        Kind("producer restarted", 3, ask_to_end(producers_of)),
        Kind("writer restarted", 2, ask_to_end(writers_of)),
        Kind("producer killed", 2, kill(producers_of, span(1, 10))),
        Kind("writer killed", 2, kill(writers_of, span(1, 10))),
        Kind("host frozen", 3, freeze_host(span(5, 20))),
        Kind("host without power", 1, lose_power(span(5, 30))),
        Kind("disk full", 1, fill_disk(span(40, 60))),
    )
