"""What every REST call passes before and after it is answered: its pool of weight, and the faults of calls.

A call that the pool refuses is answered nothing else. A fault of a call is decided next; half of an answer and an HTML
page in its place, with status 200, are decided last.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Any

import orjson
from aiohttp import web

from simulator.faults.dice import FaultDice
from simulator.server.weights import Refusal, Weights

_HTML = b"<html><head><title>Please wait</title></head><body><h1>One moment</h1></body></html>"
_SERVER_ERRORS = (500, 502, 503)
_NO_ANSWER_SECONDS = 30.0
_LOOK_SECONDS = 0.05

ODD_MS = 14_789
"""How far a row opens off the grid that a fault puts into an answer, as in February 2018."""


def refused(dice: FaultDice) -> web.Response:
    """What somebody is answered whom the exchange does not serve."""
    body = {"code": 0, "msg": "Service unavailable from a restricted location."}
    return _json(body, {}, dice.random.choice((451, 403)))


class RefusedError(Exception):
    """A question that the exchange answers with an error: code and text."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code


class Gate:
    """The way of one market's calls.

    Args:
        weights: the pool that calls are charged to.
        dice: which calls go wrong.
    """

    def __init__(self, weights: Weights, dice: FaultDice) -> None:
        self._weights = weights
        self._dice = dice

    def guarded(
        self, answer: Callable[[web.Request], object], weight: Callable[[web.Request], int]
    ) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        """A handler of aiohttp's; ``answer`` gives bytes of JSON or what becomes JSON, or raises RefusedError."""

        async def handle(request: web.Request) -> web.StreamResponse:
            self._weights.klines += request.path.endswith("/klines")
            refusal = self._weights.charge(weight(request)) or self._closed_by_fault()
            headers = {"X-MBX-USED-WEIGHT-1M": str(self._weights.used)}
            if refusal is not None:
                body = {"code": -1003, "msg": "Too many requests; current limit of IP is exceeded."}
                headers["Retry-After"] = str(refusal.seconds)
                return _json(body, headers, refusal.status)
            spoilt = await self._spoilt(request, headers)
            if spoilt is not None:
                return spoilt
            try:
                return self._spoken(_json(answer(request), headers), headers)
            except RefusedError as error:
                return _json({"code": error.code, "msg": str(error)}, headers, 400)

        return handle

    def _closed_by_fault(self) -> Refusal | None:
        for name, status in (("rest_418", 418), ("rest_429", 429)):
            if self._dice.hits(name):
                return self._weights.close(status, self._dice.faults.rest_ban_seconds)
        return None

    async def _spoilt(self, request: web.Request, headers: dict[str, str]) -> web.Response | None:
        dice = self._dice
        if dice.hits("rest_timeout"):
            await _let_wait(request)
            return web.Response(status=504)
        if dice.hits("rest_slow"):
            await asyncio.sleep(dice.up_to(dice.faults.rest_slow_seconds))
        if dice.hits("rest_refused"):
            return refused(dice)
        if dice.hits("rest_5xx"):
            return web.Response(status=dice.random.choice(_SERVER_ERRORS), text="Service unavailable", headers=headers)
        return None

    @property
    def refuses_listings(self) -> bool:
        """Whether the fault is on that has klines of new symbols refused."""
        return bool(self._dice.faults.listing_refused)

    def with_odd_row(self, rows: list[Any], limit: int) -> list[Any]:
        """Rows of an answer, and by a fault among them one that opens off the grid."""
        if not rows or not self._dice.hits("rest_odd_row"):
            return rows
        at = self._dice.random.randrange(len(rows))
        odd = [rows[at][0] + ODD_MS, *rows[at][1:]]
        return [*rows[: at + 1], odd, *rows[at + 1 :]][:limit]

    def _spoken(self, response: web.Response, headers: dict[str, str]) -> web.Response:
        """The answer, or what a fault makes of it."""
        if not self._dice.hits("rest_garbage"):
            return response
        if self._dice.random.random() < 0.5:  # noqa: PLR2004 # a coin
            return web.Response(body=_HTML, headers=headers, content_type="text/html")
        assert isinstance(response.body, bytes)  # noqa: S101 # as we made it
        response.body = response.body[: self._dice.random.randrange(len(response.body))]
        return response


async def _let_wait(request: web.Request) -> None:
    """Give no answer until the client has gone or the time is up, then cut the connection."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_NO_ANSWER_SECONDS):
            while request.transport is not None:  # noqa: ASYNC110 # aiohttp has no event for it
                await asyncio.sleep(_LOOK_SECONDS)
    if request.transport is not None:
        request.transport.abort()


def _json(value: object, headers: dict[str, str], status: int = 200) -> web.Response:
    body = value if isinstance(value, bytes) else orjson.dumps(value)
    return web.Response(body=body, status=status, headers=headers, content_type="application/json")
