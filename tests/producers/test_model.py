"""Whatever a broker loses, and whoever dies: what the exchange has had since recording began comes to disk.

Up to three producers, made of their real parts, and a writer share a broker in memory (tests/support/broker_world.py).
They divide the series among themselves, once or twice, publish, look, save, resume, repair, read, flush and acknowledge
in any order, lose the exchange, die and start again; meanwhile the broker is emptied, its stream or group deleted, or a
replica that is behind takes over, between any two commands. Then no fault happens any more, and everything has to come
to disk by itself.

To search for longer: ``pytest tests/producers/test_model.py --model-steps=1000000 --model-seed=1``.
"""

import asyncio
import contextlib
import logging
import random
import time

import pytest

from tests.support.broker_world import World
from tests.support.producer_life import Clock

_STEPS_AN_EPISODE = 80


def test_whatever_a_broker_loses_comes_to_disk(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL)
    steps, seed = request.config.getoption("--model-steps"), request.config.getoption("--model-seed")
    clock, done, episode = Clock(), 0, 0
    monkeypatch.setattr(time, "monotonic", clock)
    monkeypatch.setattr(asyncio, "timeout", contextlib.nullcontext)  # there is no loop, and nothing waits
    while done < steps:
        world = World(random.Random(f"{seed} {episode}"), clock)
        for _ in range(_STEPS_AN_EPISODE):
            world.step()
        world.settle()
        assert not world.missing(), f"episode {episode}, after:\n" + "\n".join(world.log)
        holders = set(world.holders().values())
        assert holders == {min(world.redundancy, len(world.lives))}, f"episode {episode}: each series has its owners"
        done, episode = done + world.steps, episode + 1
