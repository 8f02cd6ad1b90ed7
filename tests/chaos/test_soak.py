"""A soak in small; its schedule, its judgement of growth, and its report."""

import time
from pathlib import Path

import psutil
import pytest

from chaos.logbook import Logbook
from chaos.soak.bounds import JUDGED_HOURS, growth
from chaos.soak.command import judged
from chaos.soak.disturbances import Disturbances
from chaos.soak.kinds import ordinary_week
from chaos.soak.lateness import cumulative
from chaos.soak.plan import WEEK_HOURS, Plan, symbol_names
from chaos.soak.report import report
from chaos.soak.run import run
from chaos.soak.schedule import draw
from chaos.soak.spread import Spread
from chaos.soak.usage import WARM_UP_SECONDS, Usage, usages
from chaos.soak.watch import Sample
from shared.market import Market

KINDS = ordinary_week()
WEEK_SECONDS = 3600 * WEEK_HOURS
A_WEEK = sum(kind.per_week for kind in KINDS)


def counts(seconds: float, seed: int, densest_seconds: float = 60.0) -> dict[str, int]:
    planned = draw(KINDS, seconds, seed, densest_seconds)
    return {kind.name: sum(one.kind is kind for one in planned) for kind in KINDS}


@pytest.mark.timeout(400)
def test_a_soak_that_is_ended_early_compares_what_has_run_and_leaves_no_process(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    ends_at = time.monotonic() + 12
    plan = Plan(hours=60 / 3600, seed=1, symbols=3, speed=60, densest_seconds=2)
    soaked = run(folder, plan, lambda: time.monotonic() > ends_at)
    found, troubles = judged(soaked, folder)
    assert troubles == []
    assert soaked.outcome.count("compared") > 20
    happened, drawn = soaked.outcome.survived.total(), soaked.planned.total()
    assert 1 <= happened <= drawn <= happened + 1, "one may have been under way when it was ended"
    assert soaked.to_broker.entries >= 20
    assert {usage.process for usage in found} == {*Market, "broker", "writer", "exchange", "soak"}
    assert soaked.log_bytes["writer"] > 0
    text = report(soaked, found, troubles)
    assert "ended early" in text
    assert "| missing | 0 |" in text
    assert str(tmp_path) not in text
    assert [process for process in psutil.process_iter(["cwd"]) if process.info["cwd"] == str(folder)] == []


# the schedule


def test_the_same_seed_is_the_same_schedule_and_another_one_is_another() -> None:
    assert draw(KINDS, 7200, 1, 60) == draw(KINDS, 7200, 1, 60)
    assert draw(KINDS, 7200, 1, 60) != draw(KINDS, 7200, 2, 60)


@pytest.mark.parametrize("hours", [2, 24, 168])
def test_a_run_has_the_faults_of_one_week_and_of_every_kind_one_at_least(hours: float) -> None:
    totals = []
    for seed in range(30):
        found = counts(3600 * hours, seed)
        assert min(found.values()) >= 1
        totals.append(sum(found.values()))
    mean = sum(totals) / len(totals)
    never_drawn = sum(2.72**-kind.per_week for kind in KINDS)
    assert mean == pytest.approx(A_WEEK + never_drawn, rel=0.06)


def test_two_weeks_have_the_faults_of_two_and_a_short_run_none_denser_than_allowed() -> None:
    assert sum(sum(counts(2 * WEEK_SECONDS, seed).values()) for seed in range(30)) / 30 == pytest.approx(
        2 * A_WEEK, rel=0.06
    )
    assert sum(sum(counts(600, seed).values()) for seed in range(50)) / 50 == pytest.approx(10, rel=0.2)


def test_faults_come_as_a_poisson_process_comes_in_order_and_within_the_run() -> None:
    """The number of one kind varies as much as it is large, and no fault waits for the one before."""
    numbers = [counts(WEEK_SECONDS, seed)["connections to the broker cut"] for seed in range(300)]
    mean = sum(numbers) / len(numbers)
    variance = sum((number - mean) ** 2 for number in numbers) / len(numbers)
    assert mean == pytest.approx(28, rel=0.05)
    assert variance == pytest.approx(28, rel=0.25)
    times = [planned.at_seconds for planned in draw(KINDS, WEEK_SECONDS, 1, 60)]
    assert times == sorted(times)
    assert 0 < times[0] < times[-1] < WEEK_SECONDS


def test_symbols_are_spread_over_the_markets_and_each_has_one() -> None:
    assert {market: len(names) for market, names in symbol_names(40).items()} == {
        Market.SPOT: 16,
        Market.USDT_FUTURES: 16,
        Market.COIN_FUTURES: 8,
    }
    assert [len(names) for names in symbol_names(3).values()] == [1, 1, 1]


# growth


def lives(slope: float, starts: list[float], hours: float, process: str = "spot") -> list[Sample]:
    """Samples a minute of lives that begin at different hours, each at 40 MB and 10 more while it is cold."""
    found = []
    for pid, (begin, end) in enumerate(zip(starts, [*starts[1:], hours], strict=True), start=100):
        for minute in range(int(60 * (end - begin))):
            age = 60.0 * minute
            cold = 0 if age >= WARM_UP_SECONDS else -10
            memory = 40 + slope * minute / 60 + cold
            at = 3600 * begin + age
            found.append(Sample(at, process, pid, age, memory, memory + 20, 13, 3, age / 20))
    return found


def test_the_slope_of_memory_is_that_of_all_lives_and_not_of_restarts_or_of_their_first_minutes() -> None:
    (found,) = usages(lives(2.0, [0, 1, 5], 9), 9 * 3600)
    assert found.lives == 3
    assert found.memory.per_hour == pytest.approx(2.0)
    assert found.memory.hours == pytest.approx(9 - 3 * (WARM_UP_SECONDS + 60) / 3600)
    assert found.cpu_share(9 * 3600) == pytest.approx(0.05, rel=0.01)
    assert (found.first_fds, found.last_fds, found.max_threads) == (13, 13, 3)


def test_memory_that_grows_is_a_trouble_once_it_was_watched_for_long_enough() -> None:
    short, long = JUDGED_HOURS, JUDGED_HOURS + 1
    assert growth(usages(lives(2.0, [0], short), 3600 * short), 3600 * short, 3000) == []
    (line,) = growth(usages(lives(2.0, [0], long), 3600 * long), 3600 * long, 3000)
    assert line == "spot: memory grows by 2.00 MB an hour; allowed is 1.00"
    assert growth(usages(lives(0.9, [0], long), 3600 * long), 3600 * long, 3000) == []
    of_broker = usages(lives(2.0, [0], long, "broker"), 3600 * long)
    assert growth(of_broker, 3600 * long, 3000) == [], "it keeps 3000 entries more each hour"
    assert growth(usages(lives(9.0, [0], long, "exchange"), 3600 * long), 3600 * long, 3000) == []


def test_file_descriptors_that_are_never_closed_are_a_trouble_and_a_moment_s_are_not() -> None:
    def usage(last_fds: int) -> Usage:
        return Usage("writer", first_fds=6, last_fds=last_fds, max_fds=90)

    assert growth([usage(14)], 7200, 3000) == []
    assert growth([usage(15)], 7200, 3000) == ["writer: 6 file descriptors became 15; allowed are 8 more"]


# lateness


def test_a_spread_tells_each_value_to_one_percent_and_the_greatest_exactly() -> None:
    spread = Spread()
    assert spread.quantile(0.5) is None
    for value in range(1, 1001):
        spread.add(value / 100)
    assert spread.quantile(0.5) == pytest.approx(5.0, rel=0.011)
    assert spread.quantile(0.99) == pytest.approx(9.9, rel=0.011)
    assert (spread.count, spread.greatest, spread.quantile(1)) == (1000, 10.0, 10.0)


def test_what_closed_while_something_was_broken_or_soon_afterwards_is_told_apart() -> None:
    disturbances = Disturbances(echo_seconds=30)
    for now, is_broken in ((100, False), (110, True), (120, True), (130, False), (140, False)):
        disturbances.note(now, is_broken=is_broken)
    assert not disturbances.met(90, 109)
    assert disturbances.met(90, 110)
    assert disturbances.met(125, 126)
    assert disturbances.met(159, 500)
    assert not disturbances.met(161, 500)


def test_a_writer_s_steps_are_added_over_the_markets() -> None:
    name = "candlewick_close_to_disk_seconds"
    lines = [f'{name}_bucket{{le="{le}",market="{market}"}} 3.0' for le in ("0.5", "+Inf") for market in Market]
    text = "\n".join([f"# TYPE {name} histogram", *lines, f'{name}_count{{market="spot"}} 3.0'])
    assert cumulative(text) == {0.5: 9, float("inf"): 9}


# the log


def test_a_log_counts_what_each_process_says_and_keeps_no_more_than_its_last_parts(tmp_path: Path) -> None:
    with Logbook(tmp_path / "log", max_bytes=10_000) as logbook:
        for number in range(1000):
            logbook.say(f"line {number}")
    kept = (tmp_path / "log.1").read_text() + (tmp_path / "log").read_text()
    assert kept.endswith("line 999\n")
    assert len(kept) < 30_000
    assert sum(logbook.volume.values()) == logbook.volume["chaos"] > 40_000
