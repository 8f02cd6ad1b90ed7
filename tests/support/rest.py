"""A server that answers REST as a test says."""

import json
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

from producers.exchange.page import Page, next_page
from shared.candle import Series
from shared.interval import DAY_MS, Interval
from shared.market import Market
from tests.support.candles import JUNE_30, MINUTE

SPOT = Series(Market.SPOT, "BTCUSDT", Interval.M1)


COIN = Series(Market.COIN_FUTURES, "BTCUSD_PERP", Interval.M1)


LATE = JUNE_30 + DAY_MS


def minute(number: int) -> int:
    return JUNE_30 + number * MINUTE


def row(open_ms: int, **changes: Any) -> list[Any]:
    values: dict[str, Any] = {"open": open_ms, "o": "1.0", "h": "2.0", "l": "0.5", "c": "1.5", "v": "10", "T": 0}
    values |= {"q": "15.0", "n": 3, "V": "4", "Q": "6.0", "ignore": "0"}
    return list((values | {"T": open_ms + MINUTE - 1} | changes).values())


def page(series: Series, begin: int, end: int) -> Page:
    return next_page(series, minute(begin), minute(end))


class Server:
    """Answers with what it was told; remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, dict[str, str]]] = []
        self.address = ""
        self.answer: Callable[[web.Request], Awaitable[web.StreamResponse]] | web.Response | Any = []
        self.status, self.headers = 200, dict[str, str]()

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.asked.append((request.path, dict(request.query)))
        if callable(self.answer):
            found: web.StreamResponse = await self.answer(request)
            return found
        body = self.answer if isinstance(self.answer, bytes) else json.dumps(self.answer).encode()
        return web.Response(body=body, status=self.status, headers=self.headers, content_type="application/json")

    def will(self, answer: Any, status: int = 200, **headers: str) -> None:
        self.answer, self.status = answer, status
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}
