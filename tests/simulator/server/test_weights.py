"""A pool of request weight: when it closes, and which calls are counted against whom."""

from simulator.server.weights import Weights


class Clock:
    def __init__(self) -> None:
        self.seconds = 6000.0  # the beginning of a minute

    def __call__(self) -> float:
        return self.seconds


def test_a_minute_s_weight_is_used_up_and_comes_back_with_the_next_minute() -> None:
    clock = Clock()
    weights = Weights(10, clock)
    assert [weights.charge(5) for _ in range(2)] == [None, None]
    clock.seconds += 20.5
    assert weights.charge(5) == (429, 40), "whole seconds, and enough of them"
    assert weights.closed_seconds == 39.5
    clock.seconds += 39.5
    assert weights.closed_seconds == 0
    assert weights.charge(5) is None
    assert (weights.used, weights.total, weights.requests) == (5, 20, 4)


def test_who_goes_on_after_429_is_banned() -> None:
    clock = Clock()
    weights = Weights(0, clock)
    assert [weights.charge(1) for _ in range(12)] == [(429, 60)] * 10 + [(418, 120)] * 2
    clock.seconds += 60
    assert weights.charge(1) == (418, 60), "the next minute does not help"


def test_a_call_that_was_on_the_wire_is_not_held_against_its_caller() -> None:
    clock = Clock()
    weights = Weights(10, clock)
    assert weights.close(418, 5) == (418, 5)
    clock.seconds += 0.999
    assert weights.charge(1) == (418, 5)
    clock.seconds += 0.001
    assert weights.charge(1) == (418, 4)
    assert (weights.calls_on_the_wire, weights.calls_while_banned) == (1, 1)
    clock.seconds += 4
    assert weights.charge(1) is None
    assert (weights.calls_on_the_wire, weights.calls_while_banned) == (1, 1)
    assert weights.total == 1, "refused calls are not charged"


def test_calls_during_a_natural_429_count_too() -> None:
    clock = Clock()
    weights = Weights(0, clock)
    weights.charge(1)
    clock.seconds += 1
    weights.charge(1)
    assert weights.calls_while_banned == 1


def test_a_fault_s_429_never_becomes_418() -> None:
    weights = Weights(10, Clock())
    weights.close(429, 3)
    assert {weights.charge(1) for _ in range(50)} == {(429, 3)}
