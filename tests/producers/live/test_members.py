"""Whose each series is: every one has its owners, a change moves no more than its share, nobody lets go too early."""

from collections import Counter
from typing import Any

import pytest

from producers.live.members import Division, Member
from shared.candle import Series
from shared.interval import Interval
from shared.market import Market

SERIES = [Series(Market.SPOT, f"S{number}USDT", Interval.M1) for number in range(600)]
TEAM = "1/1 abc"


def member(name: str, host: str = "", **more: Any) -> Member:
    return Member(name, host or name, 1, TEAM)._replace(**more)


def divisions(members: list[Member], redundancy: int = 1) -> list[Division]:
    """As each of them sees it."""
    return [Division(me, [other for other in members if other is not me], redundancy) for me in members]


@pytest.mark.parametrize("redundancy", [1, 2, 3])
@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_every_series_has_as_many_owners_as_there_should_be_and_all_see_the_same(count: int, redundancy: int) -> None:
    members = [member(f"host-{number}") for number in range(count)]
    seen = divisions(members, redundancy)
    assert len({division.digest for division in seen}) == 1
    for series in SERIES:
        owners = {division.owners(series) for division in seen}
        assert len(owners) == 1
        (names,) = owners
        assert len(set(names)) == len(names) == min(redundancy, count)
        assert [division.me.name in names for division in seen] == [division.is_mine(series) for division in seen]


def test_the_work_is_divided_evenly() -> None:
    division = divisions([member(f"host-{number}") for number in range(3)])[0]
    shares = Counter(division.owners(series)[0] for series in SERIES)
    assert max(shares.values()) - min(shares.values()) < 60


def test_one_that_comes_or_goes_moves_its_own_share_and_nothing_else() -> None:
    members = [member(f"host-{number}") for number in range(4)]
    with_it, without_it = divisions(members)[0], divisions(members[:-1])[0]
    for series in SERIES:
        before, after = without_it.owners(series), with_it.owners(series)
        assert after in (before, ("host-3",))


def test_copies_are_on_different_hosts_as_far_as_there_are() -> None:
    members = [member("a", "one"), member("b", "one"), member("c", "two"), member("d", "two")]
    hosts = {one.name: one.host for one in members}
    two, three = divisions(members, 2)[0], divisions(members, 3)[0]
    for series in SERIES:
        assert {hosts[name] for name in two.owners(series)} == {"one", "two"}
        assert len(set(three.owners(series))) == 3


def test_a_series_is_left_when_all_its_owners_deliver_their_share_of_the_very_members_that_one_sees() -> None:
    members = [member("a"), member("b"), member("c")]
    digest = divisions(members)[0].digest
    for settled in (set[str](), {"b"}, {"b", "c"}):
        said = [one._replace(settled=digest if one.name in settled else "of others") for one in members]
        division = divisions(said)[0]
        for series in SERIES:
            assert division.may_leave(series) == (division.owners(series)[0] in settled)
    later = [one._replace(settled=digest) for one in members[:2]]
    assert not any(divisions(later)[0].may_leave(series) for series in SERIES), "of another set of members"


def test_one_in_a_new_life_is_another_member() -> None:
    before, after = (divisions([member("a"), member("b", life=life)])[0] for life in (1, 2))
    assert before.digest != after.digest


def test_one_that_does_not_hear_has_no_share_and_leaves_nothing_unless_nobody_hears() -> None:
    members = [member("a"), member("b"), member("c", hears=False)]
    hearing, _, deaf = divisions(members)
    assert {name for series in SERIES for name in hearing.owners(series)} == {"a", "b"}
    assert hearing.digest == deaf.digest
    assert deaf.is_out
    assert not any(deaf.is_mine(series) or deaf.may_leave(series) for series in SERIES)
    nobody = divisions([one._replace(hears=False) for one in members])[0]
    assert {name for series in SERIES for name in nobody.owners(series)} == {"a", "b", "c"}


def test_those_who_record_something_else_share_nothing() -> None:
    division = Division(member("a"), [member("b", team="1/1 other settings")])
    assert all(division.is_mine(series) for series in SERIES)
    assert not division.is_shared


def test_what_a_member_says_is_read_as_it_was_said_and_anything_else_is_nobody() -> None:
    one = member("host-7", life=5, settled="abc", hears=False)
    assert Member.decode(one.encode(17)) == (one, 17)
    for wrong in (b"", b"{}", b"[1]", b"7", b'{"at_ms": "x"}'):
        assert Member.decode(wrong) is None
