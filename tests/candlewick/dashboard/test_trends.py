"""The last hour's plots, from what processes count since they began; and a day's letter."""

from typing import Any

import pytest

from candlewick.dashboard.strip import letter, strip_of
from candlewick.dashboard.trends import Trends
from shared.coverage import Tally
from shared.interval import DAY_MS, Interval
from shared.metrics.measures import CLOSE_TO_BROKER_SECONDS, CLOSE_TO_DISK_SECONDS, Buckets
from shared.spans import Spans


def found(to_broker: dict[str, Buckets], to_disk: Buckets | None = None) -> dict[str, Any]:
    producers = [{"process": name, "close_to_broker": buckets.counts} for name, buckets in to_broker.items()]
    writers = [{"process": "w", "close_to_disk": {"spot": to_disk.counts}}] if to_disk else []
    return {"markets": {"spot": {"producers": producers}}, "writers": writers}


def test_a_point_is_what_was_counted_within_a_minute() -> None:
    trends, buckets = Trends(), Buckets(CLOSE_TO_BROKER_SECONDS)
    trends.note(found({"a": buckets}), 0)
    for at in range(10, 130, 10):
        buckets.observe(0.08 if at <= 60 else 0.3)
        assert trends.note(found({"a": buckets}), at)
        assert not trends.note(found({"a": buckets}), at + 5)
    points = trends.plots()["spot"]["broker"]
    assert [point[0] for point in points] == list(range(0, 130, 10))
    assert points[0][1:] == [None, None]
    assert 0.05 < points[6][1] < points[6][2] <= 0.1
    assert 0.25 < points[-1][1] <= 0.5


def test_a_process_that_begins_again_or_is_new_counts_from_nothing() -> None:
    trends, old, other = Trends(), Buckets(CLOSE_TO_BROKER_SECONDS), Buckets(CLOSE_TO_BROKER_SECONDS)
    for _ in range(1000):
        old.observe(50.0)
    trends.note(found({"a": old}), 0)
    fresh = Buckets(CLOSE_TO_BROKER_SECONDS)
    fresh.observe(0.02)
    other.observe(0.02)
    trends.note(found({"a": fresh, "b": other}), 10)
    assert trends.plots()["spot"]["broker"][-1][2] <= 0.025


def test_what_was_counted_before_anybody_looked_is_no_point_of_this_hour() -> None:
    trends, old = Trends(), Buckets(CLOSE_TO_DISK_SECONDS)
    old.observe(800.0)
    trends.note(found({}, old), 0)
    trends.note(found({}, old), 10)
    assert [point[1] for point in trends.plots()["spot"]["disk"]] == [None, None]


def test_an_hour_is_kept_and_no_more() -> None:
    trends, buckets = Trends(), Buckets(CLOSE_TO_BROKER_SECONDS)
    for at in range(0, 20_000, 10):
        buckets.observe(0.02)
        trends.note(found({"a": buckets}), at)
    points = trends.plots()["spot"]["broker"]
    assert points[0][0] >= 19_990 - 3_660
    assert len(points) <= 367


def test_what_a_process_of_another_version_counts_is_left_out() -> None:
    trends, buckets = Trends(), Buckets(CLOSE_TO_BROKER_SECONDS)
    odd: list[Any] = [None, [], [1, 2], "many"]
    for at in range(0, 50, 10):
        buckets.observe(0.02)
        state = found({"new": buckets})
        state["markets"]["spot"]["producers"] += [{"process": f"old-{at}", "close_to_broker": odd[at // 10 % 4]}]
        state["writers"] = [{"process": "w", "close_to_disk": odd[at // 10 % 2]}]
        trends.note(state, at)
    plots = trends.plots()["spot"]
    assert list(plots) == ["broker"]
    assert plots["broker"][-1][1] <= 0.025


@pytest.mark.parametrize(
    ("tally", "fetched", "expected"),
    [
        (Tally(), False, "."),
        (Tally(5, present=5), False, "r"),
        (Tally(5, present=5), True, "f"),
        (Tally(5, present=3, due=2), False, "r"),
        (Tally(5, due=5), False, "."),
        (Tally(5, present=4, absent=1), True, "a"),
        (Tally(5, present=3, absent=1, missing=1), True, "m"),
        (Tally(5, missing=5), False, "M"),
    ],
)
def test_a_day_is_the_worst_that_holds_of_it(tally: Tally, fetched: bool, expected: str) -> None:
    assert letter(tally, is_fetched=fetched) == expected


def test_days_before_the_strip_and_behind_it_are_left_out() -> None:
    days = [
        ("1970-01-01", Tally(1, present=1)),
        ("1970-01-03", Tally(1, present=1)),
        ("1970-01-09", Tally(1, missing=1)),
    ]
    fetched = Spans([(2 * DAY_MS, 2 * DAY_MS + 5)])
    assert strip_of(days, fetched, DAY_MS, 3) == ".f."


def test_a_candle_of_several_days_fills_them_all() -> None:
    days = [("2024-06-30", Tally(1, present=1)), ("2024-07-03", Tally(1, missing=1))]
    assert strip_of(days, Spans(), 19_903 * DAY_MS, 8, Interval.D3) == ".rrrMMM."
