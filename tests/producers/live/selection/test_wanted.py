"""Which series the settings, changes and the list make wanted."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from producers.exchange.symbols import Listing
from producers.live.selection import Change, matches, needs_listings, resolve
from shared.candle import Series
from shared.errors import SettingsError
from shared.interval import Interval
from shared.market import Market
from shared.settings.sections import RecordGroup
from tests.support.selection import LISTED, USDT, group, symbols


def add(symbol: str, *intervals: Interval) -> Change:
    return Change(symbol, record=True, intervals=intervals)


def remove(symbol: str) -> Change:
    return Change(symbol, record=False)


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("*USDT", {"BTCUSDT", "ETHUSDT", "币安人生USDT"}),
        ("BTC*", {"BTCUSDT", "BTCUSDC", "BTCUSDT_240927"}),
        ("???USDT", {"BTCUSDT", "ETHUSDT"}),
        ("?????USDT", set()),
        ("*", {"BTCUSDT", "ETHUSDT", "BTCUSDC", "BTCUSDT_240927", "币安人生USDT"}),
        ("btc*c", {"BTCUSDC"}),
        ("*_*", {"BTCUSDT_240927"}),
        ("LUNA*", set()),
        ("BTCUSDT", {"BTCUSDT"}),
    ],
)
def test_a_pattern_takes_what_is_listed_and_traded(pattern: str, found: set[str]) -> None:
    assert symbols([group(pattern)]) == found


EXCEPT: dict[str, Any] = {"except": ["ETHUSDT", "*USDC", "*_*"]}  # a word of Python's


def test_exceptions_are_names_or_patterns_under_the_key_except_and_hold_for_patterns_only() -> None:
    assert symbols([group("*", **EXCEPT)]) == {"BTCUSDT", "币安人生USDT"}
    assert symbols([group("ETHUSDT", "*USDC", **EXCEPT)]) == {"ETHUSDT"}
    with pytest.raises(SettingsError, match="exclude"):
        group("*", exclude=["ETHUSDT"])


def test_an_exception_of_one_group_does_not_hold_for_another() -> None:
    assert symbols([group("*", **EXCEPT), group("ETHUSD?")]) == {"BTCUSDT", "币安人生USDT", "ETHUSDT"}


@pytest.mark.parametrize(
    ("contracts", "found"),
    [
        (["perpetual"], {"BTCUSDT", "BTCUSDC"}),
        (["dated"], {"BTCUSDT_240927"}),
        (["perpetual", "dated"], {"BTCUSDT", "BTCUSDC", "BTCUSDT_240927"}),
    ],
)
def test_patterns_take_the_contracts_that_a_group_names(contracts: list[str], found: set[str]) -> None:
    assert symbols([group("BTC*", contracts=contracts)]) == found


def test_a_name_is_taken_whatever_its_contract_and_spot_knows_no_contracts() -> None:
    assert symbols([group("BTCUSDT_240927", contracts=["perpetual"])]) == {"BTCUSDT_240927"}
    spot = [Listing("BTCUSDT", "TRADING")]
    assert symbols([group("*", market=Market.SPOT, contracts=["dated"])], (), spot, Market.SPOT) == {"BTCUSDT"}


@given(st.text("AB_", min_size=1, max_size=8), st.text("AB*?_", min_size=1, max_size=5))
def test_a_star_is_any_characters_and_a_question_mark_is_one(symbol: str, pattern: str) -> None:
    def fits(text: str, rest: str) -> bool:
        if not rest:
            return not text
        if rest[0] == "*":
            return fits(text, rest[1:]) or (bool(text) and fits(text[1:], rest))
        return bool(text) and rest[0] in ("?", text[0]) and fits(text[1:], rest[1:])

    assert matches(symbol, [pattern]) == fits(symbol, pattern)


def test_nothing_in_a_pattern_but_star_and_question_mark_means_anything() -> None:
    assert not matches("A", ["[A]"])
    assert matches("[A]", ["[A]"])
    assert not matches("AB", ["A."])
    assert not matches("BTCUSDT", [])


@pytest.mark.parametrize(
    ("status", "recorded"),
    [
        ("TRADING", True),
        ("HALT", True),
        ("END_OF_DAY", True),
        ("CANCEL_ONLY", True),
        ("PRE_SETTLE", True),
        ("PRE_DELIVERING", True),
        ("BREAK", False),
        ("PENDING_TRADING", False),
        ("SETTLING", False),
        ("DELIVERING", False),
        ("DELIVERED", False),
        ("CLOSE", False),
    ],
)
def test_a_symbol_is_recorded_while_its_status_says_that_it_may_trade(status: str, *, recorded: bool) -> None:
    listed = [Listing("BTCUSDT", status)]
    for wish in ([group("BTCUSDT")], []), ([group("B*")], []), ([group("X")], [add("BTCUSDT")]):
        assert ("BTCUSDT" in symbols(*wish, listed)) == recorded


def test_a_name_that_is_not_listed_is_recorded_all_the_same() -> None:
    assert symbols([group("NEWUSDT")]) == {"NEWUSDT"}


def test_while_the_list_is_not_known_names_count_and_patterns_match_nothing() -> None:
    groups, changes = [group("BTCUSDT", "*USDC")], [add("ETHUSDT"), add("*")]
    assert symbols(groups, changes, None) == {"BTCUSDT", "ETHUSDT"}


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ([], {"BTCUSDT", "ETHUSDT"}),
        ([add("BTCUSDC")], {"BTCUSDT", "ETHUSDT", "BTCUSDC"}),
        ([add("BTC*")], {"BTCUSDT", "ETHUSDT", "BTCUSDC", "BTCUSDT_240927"}),
        ([remove("BTCUSDT")], {"ETHUSDT"}),
        ([remove("*")], set()),
        ([remove("NOBODY")], {"BTCUSDT", "ETHUSDT"}),
        ([remove("*"), add("BTCUSDT")], {"BTCUSDT"}),
        ([remove("BTC*"), add("BTCUSDC")], {"BTCUSDC", "ETHUSDT"}),
        ([add("BTC*"), remove("BTCUSDC")], {"BTCUSDT", "ETHUSDT", "BTCUSDT_240927"}),
        ([add("BTC*"), remove("*USDC")], {"BTCUSDT", "ETHUSDT", "BTCUSDT_240927"}),
        ([add("*"), remove("*")], set()),
    ],
)
def test_a_change_that_names_a_symbol_goes_before_one_whose_pattern_fits_whatever_their_order(
    changes: list[Change], found: set[str]
) -> None:
    groups = [group("BTCUSDT", "ETHUSDT")]
    assert symbols(groups, changes) == symbols(groups, changes[::-1]) == found


def test_what_a_change_adds_has_its_own_intervals_or_those_of_the_markets_groups() -> None:
    groups = [group("BTCUSDT", intervals=["1m", "1h"]), group("ETHUSDT", intervals=["1h", "1d"])]
    found = resolve(USDT, groups, [add("XRPUSDT"), add("BNBUSDT", Interval.M3)], LISTED)
    assert {series.interval for series in found if series.symbol == "XRPUSDT"} == {
        Interval.M1,
        Interval.H1,
        Interval.D1,
    }
    assert {series.interval for series in found if series.symbol == "BNBUSDT"} == {Interval.M3}
    assert found[Series(USDT, "XRPUSDT", Interval.M1)] is None


def test_a_series_belongs_to_the_first_group_that_names_it() -> None:
    first, second = group("BTC*", history="7d"), group("BTCUSDT", intervals=["1m", "1h"], history="1d")
    found = resolve(USDT, [first, second], [add("BTCUSDT")], LISTED)
    assert found[Series(USDT, "BTCUSDT", Interval.M1)] is first
    assert found[Series(USDT, "BTCUSDT", Interval.H1)] is second


@pytest.mark.parametrize(
    ("groups", "changes", "needed"),
    [
        ([], [], False),
        ([group("BTCUSDT")], [], False),
        ([group("BTCUSDT", "E*")], [], True),
        ([group("BTCUSDT")], [add("ETHUSDT"), remove("*")], False),
        ([group("BTCUSDT")], [add("*USDC")], True),
    ],
)
def test_the_list_is_needed_when_a_pattern_records_something(
    groups: list[RecordGroup], changes: list[Change], *, needed: bool
) -> None:
    assert needs_listings(groups, changes) == needed
