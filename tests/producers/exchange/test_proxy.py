"""One proxy for WebSocket and REST, from the setting or the environment; a wrong one is one line without password."""

import importlib.util
from collections.abc import Callable
from typing import Any

import pytest

from producers.exchange.proxy import proxy_for
from producers.exchange.rest import RestClient
from producers.exchange.weight import WeightBudget
from producers.live.connections import CandleListener
from shared.candle import Candle, Series
from shared.errors import RestUnavailableError, SettingsError
from shared.interval import Interval
from shared.market import Market
from shared.settings.load import load_settings
from shared.settings.sections import ExchangeSettings
from tests.support.commands import Run
from tests.support.forward_proxy import ForwardProxy
from tests.support.publishing import until

ADDRESS = "https://api.binance.com"
SECRET = "correct-horse"


@pytest.fixture(autouse=True)
def _no_proxies_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


def exchange(**values: Any) -> ExchangeSettings:
    return load_settings(flags={"exchange": values}).exchange


def through(proxy: str, simulator: str, **more: Any) -> ExchangeSettings:
    """The simulated exchange as if it were the real one: by its addresses."""
    return exchange(
        proxy=proxy,
        spot_rest=f"{simulator}/spot",
        spot_websocket=f"ws{simulator.removeprefix('http')}/spot",
        rest_timeout_seconds=5,
        **more,
    )


@pytest.mark.parametrize("kind", ["http", "socks5", "socks5h"])
async def test_websocket_and_rest_go_through_the_proxy(kind: str, simulator: Callable[..., str]) -> None:
    address = simulator("--speed", 60)
    port = int(address.rpartition(":")[2])
    login = "user:" + SECRET if kind == "http" else ""
    async with ForwardProxy(login).running() as proxy:
        settings = through(f"{kind}://{login}{'@' if login else ''}127.0.0.1:{proxy.port}", address)
        rest = RestClient(Market.SPOT, settings, WeightBudget(Market.SPOT, settings))
        assert await rest.server_time_ms() > 0
        got: list[Candle] = []
        async with CandleListener(Market.SPOT, settings, got.append) as listener:
            await listener.add_series([Series(Market.SPOT, "BTCUSDT", Interval.M1)])
            await until(lambda: listener.connections == (1, 1))
        await rest.close()
        ways = {"GET", "CONNECT"} if kind == "http" else {"socks5"}
        assert {way for way, _ in proxy.seen} == ways
        assert {to for _, to in proxy.seen} == {port}


async def test_a_proxy_that_refuses_is_told_without_its_password(simulator: Callable[..., str]) -> None:
    async with ForwardProxy("user:right").running() as proxy:
        settings = through(f"http://user:{SECRET}@127.0.0.1:{proxy.port}", simulator())
        rest = RestClient(Market.SPOT, settings, WeightBudget(Market.SPOT, settings))
        with pytest.raises(RestUnavailableError, match="407") as refused:
            await rest.server_time_ms()
        assert SECRET not in str(refused.value)
        await rest.close()


def test_the_setting_goes_before_the_environment_and_direct_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://from-outside:3128")
    assert proxy_for(exchange(), ADDRESS) == "http://from-outside:3128"
    assert proxy_for(exchange(proxy="http://mine:8080"), ADDRESS) == "http://mine:8080"
    assert proxy_for(exchange(proxy="direct"), ADDRESS) is None
    assert proxy_for(exchange(simulator="http://127.0.0.1:1"), "http://127.0.0.1:1/spot") is None


@pytest.mark.parametrize(
    ("variables", "address", "expected"),
    [
        ({"HTTPS_PROXY": "http://a:1"}, "wss://stream.binance.com:9443", "http://a:1"),
        ({"https_proxy": "http://a:1"}, ADDRESS, "http://a:1"),
        ({"HTTP_PROXY": "http://a:1"}, ADDRESS, None),
        ({"HTTP_PROXY": "http://a:1"}, "ws://stream.binance.com", "http://a:1"),
        ({"ALL_PROXY": "socks5://a:1"}, ADDRESS, "socks5://a:1"),
        ({"ALL_PROXY": "socks5://a:1", "HTTPS_PROXY": "b:2"}, ADDRESS, "http://b:2"),
        ({"HTTPS_PROXY": "http://a:1", "NO_PROXY": ".binance.com"}, ADDRESS, None),
        ({"HTTPS_PROXY": "http://a:1", "NO_PROXY": "*"}, "wss://stream.binance.com:9443", None),
        ({"HTTPS_PROXY": "http://a:1", "NO_PROXY": "example.com"}, ADDRESS, "http://a:1"),
    ],
)
def test_the_usual_variables_of_the_environment_decide_without_the_setting(
    variables: dict[str, str], address: str, expected: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert proxy_for(exchange(), address) == expected


def test_a_proxy_that_cannot_be_used_is_one_line_and_its_password_is_not_shown(candlewick: Run) -> None:
    for variables, word in (
        ({"CANDLEWICK_EXCHANGE_PROXY": f"ftp://user:{SECRET}@host:1"}, "exchange.proxy: an address begins with http"),
        ({"CANDLEWICK_EXCHANGE_PROXY": f"user:{SECRET}@host"}, "exchange.proxy: an address begins with http"),
        ({"HTTPS_PROXY": f"gopher://user:{SECRET}@host:70"}, "the proxy in HTTPS_PROXY cannot be used: an address"),
        ({"ALL_PROXY": f"http://user:{SECRET}@:99999"}, "the proxy in ALL_PROXY cannot be used: an address names"),
    ):
        done = candlewick("up", "--seconds", 1, **variables)
        assert done.returncode == 2
        assert word in done.stderr.replace("\n", " ")
        assert len(done.stderr.splitlines()) == 1
        assert SECRET not in done.stderr + done.stdout
    shown = candlewick("settings", CANDLEWICK_EXCHANGE_PROXY=f"http://user:{SECRET}@host:1").stdout
    assert "CANDLEWICK_EXCHANGE_PROXY=http://***@host:1" in shown


def test_socks_without_its_extra_says_so_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("producers.exchange.proxy.find_spec", lambda name: importlib.util.find_spec(f"no_{name}"))
    with pytest.raises(SettingsError, match=r"candlewick\[socks\]"):
        proxy_for(exchange(proxy="socks5://a:1"), ADDRESS)
