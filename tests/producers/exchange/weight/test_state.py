"""The file that holds it: damaged, of another uptime, unusable."""

import asyncio
import fcntl
import logging
import os
import random
from collections.abc import Callable
from pathlib import Path

import orjson
import pytest

from producers.exchange.weight import WeightBudget
from shared.errors import PoolClosedError
from tests.support.weight import LIMIT, Clock, run, spent_at_once, waits


def state_file(tmp_path: Path) -> Path:
    (found,) = (tmp_path / "weight").iterdir()
    return found


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x00" * 256,
        b"{",
        b"[]",
        b"null",
        b'"text"',
        b'{"boot": 1, "more": 2}',
        b'{"level": "much"}',
        b'{"at": null}',
        b" " * 5000,
    ],
)
def test_a_damaged_file_is_begun_anew(budget: Callable[..., WeightBudget], tmp_path: Path, content: bytes) -> None:
    assert waits(budget(), 10) == 0
    state_file(tmp_path).write_bytes(content)
    assert waits(budget(), 10) == 0
    assert run(budget().report()).closed_seconds == 0
    assert orjson.loads(state_file(tmp_path).read_bytes())["level"] == 10


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("level", None),
        ("level", "7"),
        ("level", 1e300),
        ("level", -1e300),
        ("at", 1e300),
        ("at", "now"),
        ("used", None),
        ("used_at", 1e300),
        ("used_at", "now"),
        ("closed_until", 1e300),
        ("closed_until", []),
        ("status", None),
        ("status", "418"),
        ("boot", None),
    ],
)
def test_a_state_that_cannot_be_is_not_believed(
    budget: Callable[..., WeightBudget], tmp_path: Path, name: str, value: object
) -> None:
    assert waits(budget(), 10) == 0
    path = state_file(tmp_path)
    path.write_bytes(orjson.dumps(orjson.loads(path.read_bytes()) | {"used": LIMIT} | {name: value}))
    assert waits(budget(), 10) == 0
    assert orjson.loads(path.read_bytes())["level"] == 10
    assert run(budget().report()).used == 0


def test_the_state_of_another_uptime_is_not_believed_even_if_it_was_closed(
    budget: Callable[..., WeightBudget], tmp_path: Path, clock: Clock
) -> None:
    run(budget().close(3600, 418))
    path = state_file(tmp_path)
    path.write_bytes(orjson.dumps(orjson.loads(path.read_bytes()) | {"boot": "another"}))
    assert waits(budget(), 1) == 0
    run(budget().close(3600, 418))
    clock.now = 3.0  # a clock that began again
    assert waits(budget(), 1) == 0


def test_a_shorter_state_leaves_nothing_of_a_longer_one_behind(
    budget: Callable[..., WeightBudget], tmp_path: Path, clock: Clock
) -> None:
    rng = random.Random(5)
    one, path = budget(), tmp_path / "weight" / "weight-futures.json"
    for _ in range(50):
        clock.now += rng.choice([1.0, rng.random()])
        run(one.used(rng.choice([0, 10**6])))
        run(one.close(rng.random(), 418))
        assert orjson.loads(path.read_bytes())["boot"]
        assert path.stat().st_size == 256


def test_without_a_usable_folder_a_process_keeps_to_its_share_alone(
    budget: Callable[..., WeightBudget], tmp_path: Path, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "weight").write_text("in the way")
    one, other = budget(), budget()
    with caplog.at_level(logging.WARNING):
        assert spent_at_once(one) > 0
    assert caplog.text.count("weight is not shared with other processes") == 1
    assert spent_at_once(other) > 0
    run(one.close(60, 418))
    with pytest.raises(PoolClosedError):
        waits(one, 1)
    clock.now += 61
    assert waits(one, 1) == 0


def test_a_disk_that_is_full_stops_no_process(
    budget: Callable[..., WeightBudget], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "weight").mkdir()
    (tmp_path / "weight" / "weight-futures.json").symlink_to("/dev/full")
    one = budget()
    with caplog.at_level(logging.WARNING):
        assert spent_at_once(one) == pytest.approx(LIMIT * 0.5 / 6, abs=10)
    assert caplog.text.count("weight is not shared with other processes") == 1


def test_a_process_that_was_stopped_with_the_lock_in_hand_stops_nobody_else(
    budget: Callable[..., WeightBudget], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("producers.exchange.weight._LOCK_PAUSE_SECONDS", 0.001)
    assert waits(budget(), 10) == 0
    fd = os.open(state_file(tmp_path), os.O_RDWR)
    fcntl.flock(fd, fcntl.LOCK_EX)
    assert waits(budget(), 10) == 0
    os.close(fd)


async def test_many_requests_at_once_in_one_process_are_all_counted(
    budget: Callable[..., WeightBudget], tmp_path: Path
) -> None:
    one, other = budget(), budget()
    await asyncio.gather(*(each.acquire(1) for each in (one, other) for _ in range(40)))
    assert orjson.loads(state_file(tmp_path).read_bytes())["level"] == pytest.approx(80)


def test_the_file_is_its_users_alone(budget: Callable[..., WeightBudget], tmp_path: Path) -> None:
    waits(budget(), 1)
    assert state_file(tmp_path).stat().st_mode & 0o777 == 0o600
    assert state_file(tmp_path).parent.stat().st_mode & 0o777 == 0o700
