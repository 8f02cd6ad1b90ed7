"""Whose candles they are, by name, and what happens where two exchanges meet."""

import pytest

from shared.errors import SourceError
from shared.market import Market
from shared.settings.sections import ExchangeSettings
from shared.source import merged, shown, source_of

HERE, SPOT = "the store in data", Market.SPOT


@pytest.mark.parametrize("market", list(Market))
def test_the_default_addresses_are_all_binance_s(market: Market) -> None:
    assert ExchangeSettings().source(market) == "binance"


@pytest.mark.parametrize(
    ("addresses", "source"),
    [
        (["https://api.binance.com", "wss://data-stream.binance.vision"], "binance"),
        (["https://api.binance.com", "http://127.0.0.1:8900", "ws://127.0.0.1:8900"], "127.0.0.1:8900"),
        (["https://testnet.binance.vision"], "testnet.binance.vision"),
        (["wss://stream.testnet.binance.vision:9443"], "stream.testnet.binance.vision:9443"),
        (["https://demo-fapi.binance.com"], "demo-fapi.binance.com"),
        (["https://api.binance.us"], "api.binance.us"),
        (["https://user:secret@proxy.example.org:8443", "https://other.example.org"], "proxy.example.org:8443"),
        (["https://binance.com.example.org"], "binance.com.example.org"),
        (["https://notbinance.com"], "notbinance.com"),
    ],
)
def test_a_source_is_named_by_who_serves_it(addresses: list[str], source: str) -> None:
    assert source_of(addresses) == source


def test_a_simulated_exchange_is_called_that() -> None:
    assert ExchangeSettings(simulator="http://127.0.0.1:8900").source(SPOT) == "simulated http://127.0.0.1:8900"


def test_two_exchanges_mix_only_where_somebody_means_it() -> None:
    assert merged([], ["binance"], HERE, SPOT, mix=False) == ("binance",)
    assert merged(["binance"], [], HERE, SPOT, mix=False) == ("binance",)
    assert merged(["binance"], ["binance"], HERE, SPOT, mix=False) == ("binance",)
    with pytest.raises(SourceError) as caught:
        merged(["simulated http://x"], ["binance"], HERE, SPOT, mix=False)
    assert str(caught.value) == (
        "the store in data has candles of spot from simulated http://x, and these are from binance: "
        "record into a folder of their own with --data, with its own broker, or mean it with --mix-sources"
    )
    both = merged(["simulated http://x"], ["binance"], HERE, SPOT, mix=True)
    assert both == ("simulated http://x", "binance")
    assert merged(both, ["binance"], HERE, SPOT, mix=False) == both, "it was meant once"
    with pytest.raises(SourceError, match="these are from simulated http://x:"):
        merged(["binance"], both, HERE, SPOT, mix=False)


def test_people_are_told_whatever_is_not_binance_s() -> None:
    assert shown([]) == shown(["binance"]) == ""
    assert shown(["simulated http://x"]) == "simulated http://x"
    assert shown(["simulated http://x", "binance"]) == "simulated http://x and binance"
