"""The control endpoint: what a test or an operator asks of the exchange while it runs.

Nothing here is Binance's, and no fault touches it. A mistake is answered 400 with ``{"error": …}``, one line that names
what is allowed.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import orjson
from aiohttp import web

from shared.errors import CandlewickError
from shared.market import Market
from simulator.faults.model import MEANS
from simulator.market.listings import ListingChange
from simulator.server.exchange import Exchange
from simulator.server.mishaps import Mishaps
from simulator.server.weights import Weights

_Handler = Callable[[web.Request], Awaitable[object]]
_BAN_STATUSES = (429, 418)


class Control:
    """Handlers of the control endpoint.

    Args:
        exchange: what is shown and changed.
        mishaps: what may be asked to happen at once.
    """

    def __init__(self, exchange: Exchange, mishaps: Mishaps) -> None:
        self._exchange = exchange
        self._mishaps = mishaps

    def routes(self) -> list[web.RouteDef]:
        """Routes below ``/control``."""
        return [
            web.get("/control", _answered(self._state)),
            web.patch("/control/faults", _answered(self._faults)),
            web.post("/control/mishap", _answered(self._mishap)),
            web.post("/control/drop", _answered(self._drop)),
            web.post("/control/shutdown", _answered(self._shutdown)),
            web.post("/control/symbols", _answered(self._symbols)),
            web.post("/control/rest", _answered(self._rest)),
        ]

    async def _state(self, _: web.Request) -> object:
        exchange = self._exchange
        return {
            "time_ms": exchange.clock.now_ms(),
            "speed": exchange.options.speed,
            "connections": len(exchange.connections),
            "accepted": exchange.accepted,
            "closed": exchange.feed.closed,
            "faults": exchange.dice.faults.model_dump(),
            "injected": dict(exchange.dice.injected),
            "weights": {name: _shown(pool) for name, pool in exchange.pools.items()},
            "symbols": self._counts(),
        }

    def _counts(self) -> Mapping[str, int]:
        return {market.value: len(self._exchange.listings.trading(market)) for market in Market}

    async def _faults(self, request: web.Request) -> object:
        return self._exchange.change_faults(await _body(request)).model_dump()

    async def _mishap(self, request: web.Request) -> object:
        body = await _body(request, "name")
        return {"happened": self._mishaps.happen(_one_of(body, "name", MEANS))}

    async def _drop(self, _: web.Request) -> object:
        return {"connections": self._exchange.drop_connections()}

    async def _shutdown(self, _: web.Request) -> object:
        return {"connections": await self._exchange.shut_connections_down()}

    async def _symbols(self, request: web.Request) -> object:
        body = await _body(request, "market", "list", "delist")
        market = Market(_one_of(body, "market", [market.value for market in Market]))
        now_ms = self._exchange.clock.now_ms()
        changes = [
            ListingChange(market, symbol, now_ms, listed)
            for name, listed in (("list", True), ("delist", False))
            for symbol in _texts(body, name)
        ]
        self._exchange.change_listings(changes)
        return {"symbols": self._counts()}

    async def _rest(self, request: web.Request) -> object:
        body = await _body(request, "pool", "status", "seconds")
        pool = self._exchange.pools[_one_of(body, "pool", list(self._exchange.pools))]
        status, seconds = _one_of(body, "status", _BAN_STATUSES), body.get("seconds")
        if not isinstance(seconds, int | float) or isinstance(seconds, bool) or seconds < 0:
            raise CandlewickError(f"seconds is {seconds!r}: allowed is a number, 0 or more")
        pool.close(int(status), seconds, told=False)
        return _shown(pool)


def _shown(pool: Weights) -> Mapping[str, Any]:
    return {
        "used": pool.used,
        "requests": pool.requests,
        "klines": pool.klines,
        "weight": pool.total,
        "calls_while_banned": pool.calls_while_banned,
        "calls_on_the_wire": pool.calls_on_the_wire,
        "closed_seconds": pool.closed_seconds,
    }


def _answered(handler: _Handler) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    async def handle(request: web.Request) -> web.StreamResponse:
        try:
            status, value = 200, await handler(request)
        except CandlewickError as error:
            status, value = 400, {"error": str(error)}
        return web.Response(body=orjson.dumps(value), status=status, content_type="application/json")

    return handle


async def _body(request: web.Request, *names: str) -> Mapping[str, Any]:
    """The request's JSON object, with these names alone if any are given."""
    try:
        body = orjson.loads(await request.read())
    except orjson.JSONDecodeError as error:
        raise CandlewickError(f"the body is not JSON: {error}") from None
    if not isinstance(body, dict):
        raise CandlewickError("the body is not a JSON object")
    for name in body:
        if names and name not in names:
            raise CandlewickError(f"{name!r} is not known: {', '.join(names)}")
    return body


def _one_of(body: Mapping[str, Any], name: str, allowed: Any) -> Any:
    if body.get(name) not in allowed:
        raise CandlewickError(f"{name} is {body.get(name)!r}: allowed is {', '.join(map(str, allowed))}")
    return body[name]


def _texts(body: Mapping[str, Any], name: str) -> list[str]:
    value = body.get(name) or []
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise CandlewickError(f"{name} is {value!r}: allowed is a list of symbols")
    return value
