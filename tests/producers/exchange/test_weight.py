"""REST weight that all processes of a host share, against a clock of the test's own."""

import asyncio
import fcntl
import logging
import os
import random
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, TypeVar

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from producers.exchange.weight import PoolClosedError, WeightBudget, WeightReport, pool
from shared.market import Market
from shared.settings.model import ExchangeSettings

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


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def budget(tmp_path: Path, clock: Clock) -> Callable[..., WeightBudget]:
    """Another process of the same host, with each call."""

    def make(market: Market = USDT, *, patient: bool = False, **settings: Any) -> WeightBudget:
        values = {"weight_folder": str(tmp_path / "weight"), "weight_share": 0.5} | settings
        return WeightBudget(market, ExchangeSettings(**values), patient=patient, clock=clock)

    return make


def waits(budget: WeightBudget, weight: int) -> float:
    """Seconds until a request may be tried again; 0 when it was charged. What ``acquire`` sleeps on."""
    return run(budget._try(weight))


def spent_at_once(budget: WeightBudget, weight: int = 10) -> int:
    """How much weight it lets go without any wait."""
    spent = 0
    while waits(budget, weight) == 0:
        spent += weight
    return spent


def state_file(tmp_path: Path) -> Path:
    (found,) = (tmp_path / "weight").iterdir()
    return found


def test_both_futures_markets_are_one_pool_and_spot_is_another(budget: Callable[..., WeightBudget]) -> None:
    assert [pool(market) for market in (SPOT, USDT, COIN)] == ["spot", "futures", "futures"]
    assert spent_at_once(budget(USDT)) > 0
    assert waits(budget(COIN), 10) > 0
    assert waits(budget(SPOT), 10) == 0


def test_a_simulated_exchange_has_pools_of_its_own(budget: Callable[..., WeightBudget]) -> None:
    simulators = [{"simulator": f"http://127.0.0.1:{port}"} for port in (1, 2)]
    spent_at_once(budget(**simulators[0]))
    assert waits(budget(**simulators[0]), 10) > 0
    assert waits(budget(**simulators[1]), 10) == 0
    assert waits(budget(), 10) == 0


def test_two_processes_share_what_one_would_have_alone(budget: Callable[..., WeightBudget]) -> None:
    one, other = budget(), budget()
    spent = 0
    while waits(one, 10) == 0 and waits(other, 10) == 0:
        spent += 20
    assert spent == pytest.approx(LIMIT * 0.5 / 6, abs=20)


def test_what_is_charged_leaks_away_at_the_pace_of_our_share(budget: Callable[..., WeightBudget], clock: Clock) -> None:
    one = budget()
    first = spent_at_once(one)
    clock.now += 1
    assert spent_at_once(one, 1) == pytest.approx(LIMIT * 0.5 / 60, abs=1)
    clock.now += 3600
    assert spent_at_once(one) == first


def test_a_wait_is_as_long_as_it_has_to_be_and_no_longer(budget: Callable[..., WeightBudget], clock: Clock) -> None:
    one = budget()
    spent_at_once(one)
    seconds = waits(one, 10)
    clock.now += seconds * 0.9
    assert waits(one, 10) > 0
    clock.now += seconds * 0.1 + 0.001
    assert waits(one, 10) == 0


@pytest.mark.parametrize("patient", [False, True])
def test_the_heaviest_request_goes_through_however_small_the_share(
    budget: Callable[..., WeightBudget], clock: Clock, *, patient: bool
) -> None:
    one = budget(weight_share=0.0001, patient=patient)
    for _ in range(3):
        clock.now += 86_400
        assert waits(one, 40) == 0


def test_patient_work_leaves_half_of_the_bucket_to_others(budget: Callable[..., WeightBudget]) -> None:
    whole = LIMIT * 0.5 / 6
    assert spent_at_once(budget(patient=True)) == pytest.approx(whole / 2, abs=10)
    assert spent_at_once(budget()) == pytest.approx(whole / 2, abs=10)
    assert waits(budget(patient=True), 1) > 0


USES = st.lists(
    st.tuples(st.integers(0, 2), st.sampled_from([1, 2, 5, 10, 20]), st.floats(0, 20), st.integers(0, 40)), max_size=25
)


@given(st.sampled_from([0.01, 0.1, 0.5, 0.9]), USES)
def test_no_minute_ever_exceeds_our_share_and_one_burst(
    tmp_path_factory: pytest.TempPathFactory, share: float, uses: list[tuple[int, int, float, int]]
) -> None:
    settings = ExchangeSettings(weight_folder=str(tmp_path_factory.mktemp("weight")), weight_share=share)
    clock = Clock()
    budgets = [WeightBudget(USDT, settings, patient=number == 2, clock=clock) for number in range(3)]
    sent: list[tuple[float, int]] = []

    async def use() -> None:
        for number, weight, pause, times in uses:
            clock.now += pause
            tries = [await budgets[number]._try(weight) for _ in range(times)]
            sent.extend((clock.now, weight) for seconds in tries if seconds == 0)

    run(use())
    most = share * LIMIT + max(share * LIMIT / 6, 50)
    for begin, _ in sent:
        assert sum(weight for when, weight in sent if begin <= when < begin + 60) <= most + 0.001


async def test_acquire_waits_for_room_and_never_longer_than_a_look_takes(
    budget: Callable[..., WeightBudget], clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process may learn more meanwhile, so nobody sleeps on a long wait in one piece."""
    slept = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)
        clock.now += seconds

    monkeypatch.setattr("producers.exchange.weight.asyncio.sleep", sleep)
    one = budget(patient=True)
    await one.close(60, 429)
    before = clock.now
    await one.acquire(1)
    assert clock.now - before == pytest.approx(60)
    assert max(slept) <= 5


# What the exchange says


@pytest.mark.parametrize("status", [429, 418])
def test_a_refusal_closes_the_pool_for_all_processes_until_it_is_over(
    budget: Callable[..., WeightBudget], clock: Clock, status: int
) -> None:
    one, other = budget(USDT), budget(COIN)
    assert waits(other, 1) == 0
    run(one.close(120, status))
    for each in (one, other, budget()):
        with pytest.raises(
            PoolClosedError, match=f"the exchange answers {status}: nothing is asked for 120 s"
        ) as error:
            waits(each, 1)
        assert (error.value.seconds, error.value.status) == (120, status)
        assert run(each.report()) == WeightReport(0, LIMIT, 120.0, status)
    assert waits(budget(patient=True), 1) == 120
    assert waits(budget(SPOT), 1) == 0
    clock.now += 119.9
    with pytest.raises(PoolClosedError):
        waits(other, 1)
    clock.now += 0.2
    assert waits(other, 1) == 0
    assert run(other.report()) == WeightReport(0, LIMIT, 0.0, 0)


def test_a_shorter_refusal_does_not_open_what_a_longer_one_has_closed(budget: Callable[..., WeightBudget]) -> None:
    run(budget().close(3600, 418))
    run(budget().close(5, 429))
    assert run(budget().report()).closed_seconds == 3600
    assert run(budget().report()).status == 418


@pytest.mark.parametrize(("asked", "closed"), [(0, 1), (-5, 1), (10**9, 4 * 86_400), (float("inf"), 4 * 86_400)])
def test_a_pool_is_closed_for_a_second_at_least_and_four_days_at_most(
    budget: Callable[..., WeightBudget], asked: float, closed: float
) -> None:
    run(budget().close(asked, 429))
    assert run(budget().report()).closed_seconds == closed


def test_when_the_exchange_counts_four_fifths_everyone_waits_and_looks_again(
    budget: Callable[..., WeightBudget], clock: Clock
) -> None:
    one, other = budget(), budget()
    run(one.used(int(LIMIT * 0.79)))
    assert waits(other, 1) == 0
    run(one.used(int(LIMIT * 0.8)))
    assert waits(other, 1) == 10
    assert run(other.report()).used == LIMIT * 0.8
    clock.now += 10
    assert waits(other, 1) == 0
    run(other.used(3))
    assert waits(one, 1) == 0
    clock.now += 60
    assert run(one.report()).used == 0


# The file


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
