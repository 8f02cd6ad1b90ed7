"""The exchange, as this host reaches it: each address of each market that is recorded, over REST and WebSocket."""

import asyncio
import re
import time
from collections.abc import Sequence

from candlewick.checks.finding import Finding, Level, bad, doubtful, well
from producers.exchange.channels import channel
from producers.exchange.connection import Connection, Counters
from producers.exchange.event_time import EventTime
from producers.exchange.proxy import proxy_for
from producers.exchange.rest import RestClient
from producers.exchange.weight_by_address import weight_budget
from shared.candle import Series
from shared.errors import CandlewickError, SettingsError
from shared.interval import Interval
from shared.market import Market
from shared.process.tasks import Tasks
from shared.settings.model import Settings
from shared.settings.types import without_secrets

_PATIENCE_SECONDS = 10.0
_SKEW_SECONDS = 2.0
_BUSY = {Market.SPOT: "BTCUSDT", Market.USDT_FUTURES: "BTCUSDT", Market.COIN_FUTURES: "BTCUSD_PERP"}
_REFUSED = re.compile(r"\b(451|403)\b")
_GEO = "the exchange refuses this country or address: another network or exchange.proxy; `make demo` does without"
_REACH = "look at name service, firewall and proxy; other addresses: exchange.MARKET_rest and exchange.MARKET_websocket"


def check_exchange(settings: Settings) -> list[Finding]:
    """Every market's addresses, all at once; ten seconds at most."""
    return asyncio.run(_check(settings))


async def _check(settings: Settings) -> list[Finding]:
    markets = [market for market in Market if settings.groups(market)]
    skews: list[float] = []
    found = await asyncio.gather(*(_market(settings, market, skews) for market in markets))
    return [*(finding for findings in found for finding in findings), *_clock(skews)]


async def _market(settings: Settings, market: Market, skews: list[float]) -> list[Finding]:
    exchange = settings.exchange
    rest, sockets = await asyncio.gather(
        asyncio.gather(*(_rest(settings, market, one, skews) for one in exchange.rest(market))),
        asyncio.gather(*(_socket(settings, market, one) for one in exchange.websocket(market))),
    )
    return [*_judged(f"{market} REST", rest), *_judged(f"{market} WebSocket", sockets)]


def _judged(subject: str, found: Sequence[Finding]) -> list[Finding]:
    """Findings of one kind's addresses; where another address serves, one that does not is only doubtful."""
    named = [finding._replace(subject=subject) for finding in found]
    if all(finding.level is not Level.WELL for finding in named):
        return named
    return [one._replace(level=Level.DOUBTFUL) if one.level is Level.BAD else one for one in named]


async def _rest(settings: Settings, market: Market, address: str, skews: list[float]) -> Finding:
    exchange = settings.exchange
    if not exchange.simulator:
        exchange = exchange.model_copy(update={f"{market}_rest": address})
    client = None
    try:
        client = RestClient(market, exchange, weight_budget(market, settings))
        async with asyncio.timeout(_PATIENCE_SECONDS):
            began = time.time()
            server_seconds = await client.server_time_ms() / 1000
        took = time.time() - began
    except SettingsError as error:
        return bad("", str(error), 'correct it, or exchange.proxy = "direct"')
    except (CandlewickError, TimeoutError) as error:
        text = f"{address}: {str(error).removeprefix(f'{address}{market.facts.rest_prefix}: ') or 'no answer in 10 s'}"
        return bad("", text, _GEO if _REFUSED.search(text) else _REACH)
    finally:
        if client is not None:
            await client.close()
    if not exchange.simulator:  # whose time may be any
        skews.append(began + took / 2 - server_seconds)
    return well("", f"{address} answers in {took * 1000:.0f} ms{_through(settings, address)}")


async def _socket(settings: Settings, market: Market, base: str) -> Finding:
    named = settings.series(market)
    series = named[0] if named else Series(market, _BUSY[market], Interval.M1)
    connection = Connection(market, base, settings.exchange, lambda _: None, Counters(), EventTime())
    began = time.monotonic()
    try:
        async with Tasks() as tasks:
            try:
                async with asyncio.timeout(_PATIENCE_SECONDS):
                    await connection.open(tasks)
                    await connection.subscribe([channel(series)])
                    await asyncio.shield(connection.delivered)
            finally:
                await connection.close()
    except TimeoutError:
        if connection.subscribed:
            text = f"{base} acknowledged {channel(series)} and sent nothing in {_PATIENCE_SECONDS:g} s"
            return doubtful("", text, "a quiet symbol may send nothing; else the address is one that the exchange left")
        return bad("", f"{base}: no answer in {_PATIENCE_SECONDS:g} s", _REACH)
    except CandlewickError as error:
        text = f"{base}: {error}"
        return bad("", text, _GEO if _REFUSED.search(text) else _REACH)
    took = time.monotonic() - began
    return well("", f"{base} delivers {channel(series)} after {took:.1f} s{_through(settings, base)}")


def _through(settings: Settings, address: str) -> str:
    proxy = proxy_for(settings.exchange, address)
    return f", through {without_secrets(proxy)}" if proxy else ""


def _clock(skews: Sequence[float]) -> list[Finding]:
    if not skews:
        return []
    skew = min(skews, key=abs)
    text = f"this host's is {abs(skew):.1f} s {'ahead of' if skew > 0 else 'behind'} the exchange's"
    if abs(skew) > _SKEW_SECONDS:
        remedy = "set it, by NTP best: candles do not depend on it, the times in log and status do"
        return [doubtful("clock", text, remedy)]
    return [well("clock", text)]
