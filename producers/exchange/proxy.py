"""Which proxy leads to the exchange: one rule for WebSocket, REST and the archive.

The setting ``exchange.proxy`` goes first. Without it the usual variables decide, in either case of their letters:
``HTTPS_PROXY`` for https and wss, ``HTTP_PROXY`` for http and ws, ``ALL_PROXY`` for both, but for hosts that
``NO_PROXY`` names. The simulator is always reached directly.
"""

import urllib.request
from importlib.util import find_spec
from urllib.parse import urlsplit

from shared.errors import SettingsError
from shared.market import Market
from shared.settings.sections import ExchangeSettings
from shared.settings.types import DIRECT, checked_proxy

_LIKE = {"wss": "https", "ws": "http"}
_SOCKS_PACKAGES = ("python_socks", "socksio")


def proxy_for(settings: ExchangeSettings, address: str) -> str | None:
    """The proxy that leads to an address of the exchange; None for none.

    SettingsError when the environment names one that is none, or a SOCKS proxy without the packages that it needs.
    """
    if settings.simulator or settings.proxy == DIRECT:
        return None
    return _usable(settings.proxy, "exchange.proxy") if settings.proxy else _from_environment(address)


def check_proxies(settings: ExchangeSettings, market: Market) -> None:
    """SettingsError when a proxy that leads to one of a market's addresses cannot be used."""
    for address in (*settings.websocket(market), *settings.rest(market)):
        proxy_for(settings, address)


def _from_environment(address: str) -> str | None:
    parts = urlsplit(address)
    host = parts.hostname or ""
    if urllib.request.proxy_bypass(f"{host}:{parts.port}" if parts.port else host):
        return None
    named = urllib.request.getproxies()
    scheme = _LIKE.get(parts.scheme, parts.scheme)
    for name in (scheme, "all"):
        if named.get(name):
            where = f"{name.upper()}_PROXY"
            try:
                text = named[name] if "://" in named[name] else f"http://{named[name]}"
                return _usable(checked_proxy(text), where)
            except ValueError as error:
                raise SettingsError(f"the proxy in {where} cannot be used: {error}") from None
    return None


def _usable(proxy: str, where: str) -> str:
    if proxy.startswith("socks") and not all(map(find_spec, _SOCKS_PACKAGES)):
        raise SettingsError(f"the proxy in {where} needs the extra `socks`: pip install 'candlewick[socks]'")
    return proxy
