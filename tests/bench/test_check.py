"""What has become slower, and what only seems so."""

from pathlib import Path

import pytest

from bench import ratios
from bench.check import check
from bench.ratios import Cost, Costs, slower
from bench.result import Line, Percentiles, Result, Spread

KEPT = {"disk": {"flush, ms": 1.2, "one more, ms": 1.0}}


def never(name: str) -> Costs:
    raise AssertionError(f"{name} was measured again")


def test_a_line_has_costs_when_it_has_a_floor_and_is_steady() -> None:
    lines: list[Line] = [
        Result("flush", "ms", 12, 10),
        Result("flush", "µs CPU", 6, 4),
        Result("a figure without a floor", "MB", 12),
        Result("as the disk pleases", "ms", 12, 10, is_steady=False),
        Spread("a step", Percentiles(1, 2, 3)),
    ]
    costs = ratios.costs_of(lines)
    assert costs == {"flush, ms": Cost(12, 10), "flush, µs CPU": Cost(6, 4)}
    assert ratios.ratios_of(costs) == {"flush, ms": 1.2, "flush, µs CPU": 1.5}


def test_of_several_runs_the_least_of_ours_and_of_the_floor_count() -> None:
    found = ratios.least({"a": Cost(12, 10), "b": Cost(1, 1)}, {"a": Cost(9, 20)}, {"a": Cost(10, 8)})
    assert found == {"a": Cost(9, 8), "b": Cost(1, 1)}


def test_what_is_a_quarter_above_what_is_kept_is_slower_and_the_worst_comes_first() -> None:
    found = slower({"a": 1.0, "b": 2.0, "c": 1.0, "gone": 1.0}, {"a": 1.5, "b": 4.0, "c": 1.24, "new": 9.0})
    assert [one.name for one in found] == ["b", "a"]
    assert str(found[1]) == "a: 1.50 times its floor, was 1.00: 50 % slower"


def test_nothing_is_measured_again_while_all_is_as_it_was() -> None:
    verdict = check(KEPT, {"disk": {"flush, ms": Cost(14, 10), "one more, ms": Cost(1, 2)}}, never)
    assert not verdict.is_slower
    assert verdict.lines == ["none of 2 ratios is more than 25 % above what is kept"]


@pytest.mark.parametrize("second", [Cost(13, 10), Cost(20, 16)], ids=["ours was disturbed", "so was the floor"])
def test_noise_that_is_gone_in_another_run_is_not_told(second: Cost) -> None:
    runs = iter([{"flush, ms": Cost(19, 10)}, {"flush, ms": second}, {"flush, ms": Cost(14, 10)}])
    verdict = check(KEPT, {"disk": next(runs)}, lambda _: next(runs))
    assert not verdict.is_slower


def test_what_stays_slower_is_told_by_its_best_run() -> None:
    runs = iter([{"flush, ms": Cost(18, 10)}, {"flush, ms": Cost(19, 10)}])
    verdict = check(KEPT, {"disk": {"flush, ms": Cost(20, 10), "one more, ms": Cost(1, 1)}}, lambda _: next(runs))
    assert verdict.is_slower
    assert verdict.lines == ["flush, ms: 1.80 times its floor, was 1.20: 50 % slower"]


def test_lines_that_came_or_went_are_told_and_are_not_slower() -> None:
    verdict = check(KEPT, {"disk": {"one more, ms": Cost(1, 1), "two more, ms": Cost(1, 1)}}, never)
    assert not verdict.is_slower
    assert verdict.lines[:2] == ["not measured any more: flush, ms", "not kept yet: two more, ms"]


def test_what_is_written_is_read_and_what_was_not_measured_stays(tmp_path: Path) -> None:
    path = tmp_path / "ratios.json"
    assert ratios.read(path) == {}
    ratios.write(path, KEPT)
    ratios.write(path, {"frames": {"open, µs": 1.23456}})
    assert ratios.read(path) == KEPT | {"frames": {"open, µs": 1.23}}
