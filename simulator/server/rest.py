"""The exchange's REST answers: klines, exchangeInfo, time, ping, each with its weight.

The rules are those of docs/binance.md: the last row of a klines answer is normally open and nothing marks it;
COIN-M allows 200 days a request and returns the rows nearest ``endTime``; no row stands for a hole.
"""

import itertools
from collections.abc import Iterable
from typing import NamedTuple

from aiohttp import web

from shared.candle import Series
from shared.interval import DAY_MS, Interval
from shared.market import Market
from simulator.market.clock import Clock
from simulator.market.frames import rest_row
from simulator.market.klines import Kline, KlineSource, so_far
from simulator.market.listings import Listings
from simulator.server.gate import Gate, RefusedError

_COIN_MOST_MS = 200 * DAY_MS
_SPOT_KLINES_WEIGHT = 2
_SPOT_INFO_WEIGHT = 20


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
        listings: which symbols there are.
        gate: what every call passes.
    """

    def __init__(self, market: Market, source: KlineSource, clock: Clock, listings: Listings, gate: Gate) -> None:
        self._market = market
        self._source = source
        self._clock = clock
        self._listings = listings
        self._gate = gate

    def routes(self, prefix: str) -> list[web.RouteDef]:
        """Routes below the market's path."""
        base = prefix + self._market.facts.rest_prefix
        return [
            web.get(f"{base}/klines", self._gate.guarded(self._klines, self._klines_weight)),
            web.get(f"{base}/exchangeInfo", self._gate.guarded(self._info, self._info_weight)),
            web.get(f"{base}/time", self._gate.guarded(self._time, lambda _: 1)),
            web.get(f"{base}/ping", self._gate.guarded(self._ping, lambda _: 1)),
        ]

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
        return self._listings.body(self._market)

    def _klines(self, request: web.Request) -> object:
        query = self._query(request)
        now = self._clock.now_ms()
        opens = self._source.opens(query.series, query.start_ms or 0, min(query.end_ms, now))
        is_backward = query.start_ms is None or self._market is Market.COIN_FUTURES
        rows = self._rows(query, reversed(opens), now)[::-1] if is_backward else self._rows(query, opens, now)
        return rows if is_backward else self._gate.with_odd_row(rows, query.limit)

    def _rows(self, query: _Query, opens: Iterable[int], now: int) -> list[list[int | str]]:
        """As many rows as were asked for, holes left out."""
        klines = filter(None, (self._source.kline(query.series, open_ms) for open_ms in opens))
        return [self._row(query.series, kline, now) for kline in itertools.islice(klines, query.limit)]

    def _row(self, series: Series, kline: Kline, now: int) -> list[int | str]:
        end_ms = series.interval.end(kline.open_time_ms)
        return rest_row(kline if now >= end_ms else so_far(kline, now, end_ms))

    def _query(self, request: web.Request) -> _Query:
        symbol, interval = request.query.get("symbol"), request.query.get("interval")
        if not symbol or not interval:
            raise RefusedError(
                -1102,
                "Mandatory parameter 'symbol' or 'interval' was not sent, was empty/null, or malformed.",
            )
        try:
            series = Series(self._market, symbol, Interval(interval))
        except ValueError:
            raise RefusedError(-1120, "Invalid interval.") from None
        if not self._source.has(series):
            raise RefusedError(-1121, "Invalid symbol.")
        if self._gate.refuses_listings and self._listings.refuses(series):
            raise RefusedError(-1122, "Invalid symbol status.")
        start, end = self._time_of(request, "startTime"), self._time_of(request, "endTime")
        if (
            self._market is Market.COIN_FUTURES
            and start is not None
            and end is not None
            and end - start > _COIN_MOST_MS
        ):
            raise RefusedError(-4088, "Maximum time interval is 200 days.")
        if self._market is Market.COIN_FUTURES and start is not None and end is None:
            end = start + _COIN_MOST_MS
        limit = request.query.get("limit", "500")
        if not limit.isdigit() or not int(limit):
            raise RefusedError(-1130, "Data sent for parameter 'limit' is not valid.")
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
            raise RefusedError(
                -1100, f"Illegal characters found in parameter '{name}'; legal range is '^[0-9]{{1,20}}$'."
            )
        return int(text)
