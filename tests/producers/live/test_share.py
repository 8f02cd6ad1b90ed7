"""Which series are whose."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from producers.live.share import Share
from shared.candle import Series
from shared.errors import SettingsError
from shared.interval import Interval
from shared.market import Market

SERIES = [Series(Market.SPOT, f"S{number}USDT", Interval.M1) for number in range(600)]


@given(st.integers(1, 12))
def test_shares_are_disjoint_and_together_are_all(parts: int) -> None:
    taken = [series for part in range(1, parts + 1) for series in SERIES if series in Share(part, parts)]
    assert sorted(taken) == sorted(SERIES)


def test_shares_are_of_similar_size_and_the_same_everywhere() -> None:
    assert [sum(series in Share(part, 3) for series in SERIES) for part in (1, 2, 3)] == [190, 207, 203]


@pytest.mark.parametrize("text", ["", "1", "0/3", "4/3", "1/0", "a/b", "-1/3", "1/3/5", "٣/٣"])
def test_anything_else_is_refused_with_the_form_that_is_allowed(text: str) -> None:
    with pytest.raises(SettingsError, match="is not of the form PART/PARTS"):
        Share.parse(text)


def test_its_text_leads_back() -> None:
    assert str(Share.parse("2/3")) == "2/3"
