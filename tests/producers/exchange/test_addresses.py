"""Addresses that give way to each other."""

from producers.exchange.addresses import Addresses


class Hand:
    """A clock that a test sets."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_one_that_gave_way_is_tried_again_after_a_day_and_told_until_then() -> None:
    clock = Hand()
    addresses = Addresses("spot REST", ["https://a", "https://b", "https://c"], clock)
    assert addresses.given_way == []
    addresses.give_way("https://a", "451")
    addresses.give_way("https://a", "said by another who shares the list")
    assert addresses.current == "https://b"
    assert addresses.given_way == ["spot REST: https://b is used, https://a gave way"]
    clock.now = 24 * 3600 - 1.0
    assert addresses.current == "https://b"
    clock.now += 1
    assert addresses.current == "https://a"
    assert addresses.given_way == []


def test_behind_the_last_comes_the_first_and_one_alone_stays() -> None:
    addresses = Addresses("spot REST", ["https://a", "https://b"])
    addresses.give_way("https://a", "gone")
    addresses.give_way("https://b", "gone")
    assert addresses.current == "https://a"
    alone = Addresses("spot REST", ["https://a"])
    alone.give_way("https://a", "gone")
    assert alone.current == "https://a"
