"""One budget for all processes of a host."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from producers.exchange.weight import WeightBudget, WeightReport, pool
from shared.errors import PoolClosedError
from shared.settings.sections import ExchangeSettings
from tests.support.weight import COIN, LIMIT, SPOT, USDT, Clock, run, spent_at_once, waits


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
    spender, other = budget(), budget()
    spent = 0
    while waits(spender, 10) == 0 and waits(other, 10) == 0:
        spent += 20
    assert spent == pytest.approx(LIMIT * 0.5 / 6, abs=20)


def test_what_is_charged_leaks_away_at_the_pace_of_our_share(budget: Callable[..., WeightBudget], clock: Clock) -> None:
    spender = budget()
    first = spent_at_once(spender)
    clock.now += 1
    assert spent_at_once(spender, 1) == pytest.approx(LIMIT * 0.5 / 60, abs=1)
    clock.now += 3600
    assert spent_at_once(spender) == first


def test_a_wait_is_as_long_as_it_has_to_be_and_no_longer(budget: Callable[..., WeightBudget], clock: Clock) -> None:
    spender = budget()
    spent_at_once(spender)
    seconds = waits(spender, 10)
    clock.now += seconds * 0.9
    assert waits(spender, 10) > 0
    clock.now += seconds * 0.1 + 0.001
    assert waits(spender, 10) == 0


@pytest.mark.parametrize("patient", [False, True])
def test_the_heaviest_request_goes_through_however_small_the_share(
    budget: Callable[..., WeightBudget], clock: Clock, *, patient: bool
) -> None:
    spender = budget(weight_share=0.0001, patient=patient)
    for _ in range(3):
        clock.now += 86_400
        assert waits(spender, 40) == 0


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
    spender = budget(patient=True)
    await spender.close(60, 429)
    before = clock.now
    await spender.acquire(1)
    assert clock.now - before == pytest.approx(60)
    assert max(slept) <= 5


@pytest.mark.parametrize("status", [429, 418])
def test_a_refusal_closes_the_pool_for_all_processes_until_it_is_over(
    budget: Callable[..., WeightBudget], clock: Clock, status: int
) -> None:
    spender, other = budget(USDT), budget(COIN)
    assert waits(other, 1) == 0
    run(spender.close(120, status))
    for each in (spender, other, budget()):
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
    spender, other = budget(), budget()
    run(spender.used(int(LIMIT * 0.79)))
    assert waits(other, 1) == 0
    run(spender.used(int(LIMIT * 0.8)))
    assert waits(other, 1) == 10
    assert run(other.report()).used == LIMIT * 0.8
    clock.now += 10
    assert waits(other, 1) == 0
    run(other.used(3))
    assert waits(spender, 1) == 0
    clock.now += 60
    assert run(spender.report()).used == 0
