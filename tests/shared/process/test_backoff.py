"""Pauses between tries."""

import random
from itertools import islice

from shared.process.backoff import backoff


def test_pauses_grow_to_the_bound_with_jitter_and_are_never_a_spin() -> None:
    bounds = [0.5, 1, 2, 4, 8, 8, 8]
    pauses = list(islice(backoff(0.5, 8, random.Random(7)), len(bounds)))
    assert all(bound / 10 <= pause <= bound for pause, bound in zip(pauses, bounds, strict=True))
    assert len(set(pauses)) == len(pauses)
