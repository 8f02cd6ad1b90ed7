"""A weight budget on a clock of the test's."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from producers.exchange.weight import WeightBudget
from shared.market import Market

USDT, COIN, SPOT = Market.USDT_FUTURES, Market.COIN_FUTURES, Market.SPOT


LIMIT = USDT.facts.weight_per_minute


Result = TypeVar("Result")


class Clock:
    """Monotonic seconds of a host that has been up for a while."""

    def __init__(self, now: float = 5000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


def run(coroutine: Coroutine[Any, Any, Result]) -> Result:
    return asyncio.run(coroutine)


def waits(budget: WeightBudget, weight: int) -> float:
    """Seconds until a request may be tried again; 0 when it was charged. What ``acquire`` sleeps on."""
    return run(budget._try(weight))


def spent_at_once(budget: WeightBudget, weight: int = 10) -> int:
    """How much weight it lets go without any wait."""
    spent = 0
    while waits(budget, weight) == 0:
        spent += weight
    return spent
