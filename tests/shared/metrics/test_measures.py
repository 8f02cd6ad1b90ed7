"""Values in buckets, as Prometheus counts them."""

from hypothesis import given
from hypothesis import strategies as st

from shared.metrics.measures import CLOSE_TO_BROKER_SECONDS, Buckets, quantile


@given(st.lists(st.floats(-1, 100)))
def test_each_bound_has_all_that_is_at_most_it(values: list[float]) -> None:
    buckets = Buckets(CLOSE_TO_BROKER_SECONDS)
    for value in values:
        buckets.observe(value)
    bounds = [*CLOSE_TO_BROKER_SECONDS, float("inf")]
    assert [count for _, count in buckets.cumulative()] == [sum(value <= bound for value in values) for bound in bounds]
    assert buckets.sum == sum(max(value, 0.0) for value in values)


def test_bounds_are_named_as_prometheus_reads_them() -> None:
    assert [name for name, _ in Buckets((0.5, 10.0)).cumulative()] == ["0.5", "10.0", "+Inf"]


def test_a_quantile_lies_in_its_bucket_and_beyond_every_bound_at_the_highest() -> None:
    assert quantile((1.0, 2.0, 4.0), (0, 0, 0, 0), 0.5) is None
    assert quantile((1.0, 2.0, 4.0), (0, 4, 0, 0), 0.5) == 1.5
    assert quantile((1.0, 2.0, 4.0), (2, 0, 2, 0), 0.75) == 3.0
    assert quantile((1.0, 2.0, 4.0), (1, 0, 0, 9), 0.99) == 4.0
