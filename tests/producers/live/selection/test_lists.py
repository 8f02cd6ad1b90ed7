"""The exchange's list of symbols, as it is read."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from producers.exchange.symbols import Listing, parse_listings
from producers.live.selection import resolve
from shared.market import Market
from tests.support.selection import USDT, group, symbols


@pytest.mark.parametrize(
    ("market", "listed", "recorded", "dated"),
    [(Market.SPOT, 1695, 1262, 0), (USDT, 122, 121, 2), (Market.COIN_FUTURES, 36, 36, 18)],
)
def test_real_bodies_are_read_whole(real_data: Path, market: Market, listed: int, recorded: int, dated: int) -> None:
    body = json.loads(gzip.decompress((real_data / "exchange_info" / f"{market}.json.gz").read_bytes()))
    found = parse_listings(market, body)
    assert found is not None
    assert len({one.symbol for one in found}) == len(found) == listed
    assert sum(listing.is_recorded for listing in found) == recorded
    assert sum(listing.dated for listing in found) == dated
    everything = group("*", market=market, contracts=["dated", "perpetual"])
    assert len(symbols([everything], (), found, market)) == recorded


def test_perpetual_contracts_of_any_kind_are_not_dated() -> None:
    kinds = ["PERPETUAL", "TRADIFI_PERPETUAL", "CURRENT_QUARTER", "NEXT_QUARTER", "", None]
    body = {"symbols": [{"symbol": f"S{at}", "status": "TRADING", "contractType": k} for at, k in enumerate(kinds)]}
    found = parse_listings(USDT, body)
    assert found is not None
    assert [listing.dated for listing in found] == [False, False, True, True, False, False]


def test_coin_margined_futures_tell_their_status_under_another_name() -> None:
    body = {"symbols": [{"symbol": "BTCUSD_PERP", "contractStatus": "DELIVERING", "status": "TRADING"}]}
    assert parse_listings(Market.COIN_FUTURES, body) == [Listing("BTCUSD_PERP", "DELIVERING")]


@pytest.mark.parametrize("body", [None, [], "symbols", 5, {}, {"symbols": None}, {"symbols": {}}, {"code": -1003}])
def test_a_body_without_symbols_is_none_and_not_an_empty_list(body: object) -> None:
    assert parse_listings(USDT, body) is None


@pytest.mark.parametrize(
    "odd",
    [
        None,
        5,
        "BTCUSDT",
        [],
        {},
        {"symbol": None},
        {"symbol": ["A"]},
        {"symbol": ""},
        {"symbol": "a/b"},
        {"symbol": ".."},
        {"symbol": "X" * 61},
        {"symbol": "btc"},
        {"symbol": "A B"},
    ],
)
def test_a_symbol_that_no_folder_could_be_named_after_is_left_out_and_the_others_are_kept(odd: object) -> None:
    body = {"symbols": [odd, {"symbol": "BTCUSDT", "status": "TRADING"}]}
    assert parse_listings(USDT, body) == [Listing("BTCUSDT", "TRADING")]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


FIELDS = st.sampled_from(["symbol", "status", "contractStatus", "contractType", "onboardDate"])


@given(st.sampled_from(Market), st.lists(st.dictionaries(FIELDS, JSON | st.just("BTCUSDT"), max_size=5) | JSON))
def test_whatever_is_in_a_body_it_is_read_without_an_error(market: Market, entries: list[Any]) -> None:
    found = parse_listings(market, {"symbols": entries})
    assert found is not None
    resolve(market, [group("*", market=market)], [], found)
