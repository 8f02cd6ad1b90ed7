"""The exchange's REST answers: klines, exchangeInfo, time, ping, each with its weight.

The rules are those of docs/binance.md: the last row of a klines answer is normally open and nothing marks it;
COIN-M allows 200 days a request and returns the rows nearest ``endTime``; every answer says how much weight was used
this minute; too much of it is 429 and, if it goes on, 418.
"""

import time
from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple

from aiohttp import web

from shared.candle import Series
from shared.interval import DAY_MS, Interval
from shared.market import Market
from simulator.clock import Clock
from simulator.frames import exchange_info, rest_row
from simulator.klines import KlineSource, so_far

_COIN_MOST_MS = 200 * DAY_MS
_SPOT_KLINES_WEIGHT = 2
_SPOT_INFO_WEIGHT = 20
_WARNINGS_BEFORE_BAN = 10
_BAN_SECONDS = 120


class _Refused(Exception):  # noqa: N818 # an answer, not a fault
    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code


class Weights:
    """Request weight used in the current minute of real time, of one pool and IP."""

    def __init__(self, limit: int) -> None:
        self.used = 0
        self.calls_while_banned = 0
        self._limit = limit
        self._minute = 0
        self._warnings = 0
        self._banned_until = 0.0

    def charge(self, weight: int) -> tuple[int, int] | None:
        """Charge a request; when it is refused, the HTTP status and the seconds to stay away."""
        now = time.monotonic()
        if now < self._banned_until:
            self.calls_while_banned += 1
            return 418, int(self._banned_until - now) + 1
        minute = int(now // 60)
        if minute != self._minute:
            self._minute, self.used, self._warnings = minute, 0, 0
        self.used += weight
        if self.used <= self._limit:
            return None
        self._warnings += 1
        if self._warnings > _WARNINGS_BEFORE_BAN:
            self._banned_until = now + _BAN_SECONDS
            return 418, _BAN_SECONDS
        return 429, 60 - int(now % 60)


class _Query(NamedTuple):
    series: Series
    start_ms: int | None
    end_ms: int
    limit: int


class Rest:
    """REST handlers of one market.

    Args:
        market: which.
        source: where klines come from.
        clock: the exchange's time.
        weights: the pool that its requests are charged to.
    """

    def __init__(self, market: Market, source: KlineSource, clock: Clock, weights: Weights) -> None:
        self._market = market
        self._source = source
        self._clock = clock
        self._weights = weights

    def routes(self, prefix: str) -> list[web.RouteDef]:
        """Routes below the market's path."""
        base = prefix + self._market.facts.rest_prefix
        return [
            web.get(f"{base}/klines", self._charged(self._klines, self._klines_weight)),
            web.get(f"{base}/exchangeInfo", self._charged(self._info, self._info_weight)),
            web.get(f"{base}/time", self._charged(self._time, lambda _: 1)),
            web.get(f"{base}/ping", self._charged(self._ping, lambda _: 1)),
        ]

    def _charged(
        self, handler: Callable[[web.Request], object], weight: Callable[[web.Request], int]
    ) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        async def charged(request: web.Request) -> web.StreamResponse:
            refused = self._weights.charge(weight(request))
            headers = {"X-MBX-USED-WEIGHT-1M": str(self._weights.used)}
            if refused is not None:
                status, seconds = refused
                body = {"code": -1003, "msg": "Too many requests; current limit of IP is exceeded."}
                return web.json_response(body, status=status, headers=headers | {"Retry-After": str(seconds)})
            try:
                return web.json_response(handler(request), headers=headers)
            except _Refused as error:
                return web.json_response({"code": error.code, "msg": str(error)}, status=400, headers=headers)

        return charged

    def _klines_weight(self, request: web.Request) -> int:
        if self._market is Market.SPOT:
            return _SPOT_KLINES_WEIGHT
        limit = request.query.get("limit", "500")
        rows = int(limit) if limit.isdigit() else 500
        return 1 if rows < 100 else 2 if rows < 500 else 5 if rows <= 1000 else 10  # noqa: PLR2004 # Binance's steps

    def _info_weight(self, _: web.Request) -> int:
        return _SPOT_INFO_WEIGHT if self._market is Market.SPOT else 1

    def _ping(self, _: web.Request) -> object:
        return {}

    def _time(self, _: web.Request) -> object:
        return {"serverTime": self._clock.now_ms()}

    def _info(self, _: web.Request) -> object:
        symbols = list(self._source.symbols(self._market))
        return exchange_info(self._market, symbols, self._clock.now_ms(), self._market.facts.weight_per_minute)

    def _klines(self, request: web.Request) -> object:
        query = self._query(request)
        now = self._clock.now_ms()
        start = query.start_ms
        if start is None:
            start = max(0, min(query.end_ms, now) - (query.limit + 1) * query.series.interval.typical_ms * 2)
        opens = self._source.opens(query.series, start, min(query.end_ms, now))
        from_end = query.start_ms is None or self._market is Market.COIN_FUTURES
        chosen = opens[-query.limit :] if from_end else opens[: query.limit]
        return self._rows(query.series, chosen, now)

    def _rows(self, series: Series, opens: Sequence[int], now: int) -> list[list[int | str]]:
        rows = []
        for open_ms in opens:
            kline = self._source.kline(series, open_ms)
            if kline is not None:
                end = series.interval.end(open_ms)
                rows.append(rest_row(kline if now >= end else so_far(kline, now, end)))
        return rows

    def _query(self, request: web.Request) -> _Query:
        symbol, interval = request.query.get("symbol"), request.query.get("interval")
        if not symbol or not interval:
            raise _Refused(
                -1102,
                "Mandatory parameter 'symbol' or 'interval' was not sent, was empty/null, or malformed.",
            )
        try:
            series = Series(self._market, symbol, Interval(interval))
        except ValueError:
            raise _Refused(-1120, "Invalid interval.") from None
        if not self._source.has(series):
            raise _Refused(-1121, "Invalid symbol.")
        start, end = self._time_of(request, "startTime"), self._time_of(request, "endTime")
        if (
            self._market is Market.COIN_FUTURES
            and start is not None
            and end is not None
            and end - start > _COIN_MOST_MS
        ):
            raise _Refused(-4088, "Maximum time interval is 200 days.")
        if self._market is Market.COIN_FUTURES and start is not None and end is None:
            end = start + _COIN_MOST_MS
        limit = request.query.get("limit", "500")
        if not limit.isdigit() or not int(limit):
            raise _Refused(-1130, "Data sent for parameter 'limit' is not valid.")
        return _Query(
            series,
            start,
            self._clock.now_ms() if end is None else end,
            min(int(limit), self._market.facts.klines_limit),
        )

    def _time_of(self, request: web.Request, name: str) -> int | None:
        text = request.query.get(name)
        if text is None:
            return None
        if not text.isdigit():
            raise _Refused(-1100, f"Illegal characters found in parameter '{name}'; legal range is '^[0-9]{{1,20}}$'.")
        return int(text)
