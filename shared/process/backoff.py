"""How long to wait before the next try."""

import random
from collections.abc import Iterator


def backoff(first_seconds: float = 0.5, max_seconds: float = 30.0, rng: random.Random | None = None) -> Iterator[float]:
    """Endless delays in seconds: doubling from ``first_seconds`` up to ``max_seconds``, each with full jitter.

    Full jitter (a uniform draw between nothing and the bound) spreads many clients best; see "Exponential Backoff
    And Jitter", AWS Architecture Blog, 2015. A tenth of the bound is kept as a floor, so that no retry is a spin.
    """
    rng = rng or random.Random()
    bound = first_seconds
    while True:
        yield rng.uniform(bound / 10, bound)
        bound = min(bound * 2, max_seconds)
