"""What repair asks of the exchange: requests and their weight for a day, reckoned with the parts that decide it.

A day of exchange time runs through ``Completeness`` minute by minute: closing frames come or do not, questions are put
and answered. Nothing is sent, so the figures are the same everywhere. Counted are the questions for candles and, once
for each round of them, the question for the exchange's time. The floor is the least that would do: one light request
for each unbroken run of candles that did not come. The old way asks for each missing candle when it is missed.
"""

import random
from collections.abc import Iterable

from bench.result import Result
from producers.exchange.page import Answer, klines_weight
from producers.gaps.tracker import Completeness
from shared.candle import Candle, Series
from shared.interval import DAY_MS, MINUTE_MS, Interval
from shared.market import Market

_DAY = 19_904 * DAY_MS  # 2024-06-30
_GRACE_MS, _QUIET_MS = 5_000, 600_000
_LOST = 0.01
_SERIES, _QUIET_SERIES = 600, 1500
_TIME_WEIGHT = 1


def run() -> list[Result]:
    """A day with one percent of all closes missing, and a day of series that never close on the WebSocket."""
    results = []
    for market in (Market.SPOT, Market.USDT_FUTURES):
        requests, weight, runs = _day(market, _SERIES, _LOST, trades=1)
        name = f"repair of 1 % lost closes, {_SERIES} {market} series"
        results += [
            Result(name, "requests a day", requests, runs),
            Result(name, "weight a minute", weight / 1440, runs * klines_weight(market, 1) / 1440),
        ]
        requests, weight, _ = _day(market, _QUIET_SERIES, 1.0, trades=0)
        name = f"repair of {_QUIET_SERIES:,} quiet {market} series"
        results.append(Result(name, "weight a minute", weight / 1440, old=_QUIET_SERIES * klines_weight(market, 1)))
    return results


def _day(market: Market, count: int, lost: float, trades: int) -> tuple[int, int, int]:
    """Requests, their weight, and runs of lost candles of a day of one-minute series."""
    dice = random.Random(1)
    series = [Series(market, f"S{number}USDT", Interval.M1) for number in range(count)]
    completeness = Completeness(_GRACE_MS, _QUIET_MS)
    for one in series:
        completeness.begin(one, _DAY)
        completeness.resolve(one)
    requests = weight = runs = 0
    losing = dict.fromkeys(series, False)
    for open_ms in range(_DAY, _DAY + DAY_MS, MINUTE_MS):
        for one in series:
            is_lost = dice.random() < lost
            runs += is_lost and not losing[one]
            losing[one] = is_lost
            if not is_lost:
                completeness.held(_candle(one, open_ms, trades))
        now_ms = open_ms + MINUTE_MS + _GRACE_MS + 1000
        asks = completeness.asks(now_ms)
        requests += len(asks) + bool(asks)
        weight += sum(klines_weight(market, ask.page.limit) for ask in asks) + _TIME_WEIGHT * bool(asks)
        for ask in asks:
            end_ms = min(ask.page.from_ms + ask.page.limit * MINUTE_MS, now_ms - _GRACE_MS)
            answer = [_candle(ask.series, time_ms, trades) for time_ms in range(ask.page.from_ms, end_ms, MINUTE_MS)]
            taken = [candle for candle in answer if completeness.is_missing(candle)]
            _hold(completeness, taken)
            completeness.answered(ask, Answer(answer, answer[-1].end_time_ms), taken, now_ms)
    return requests, weight, runs


def _hold(completeness: Completeness, candles: Iterable[Candle]) -> None:
    for candle in candles:
        completeness.held(candle)


def _candle(series: Series, open_ms: int, trades: int) -> Candle:
    return Candle(
        series,
        open_ms,
        "1",
        "1",
        "1",
        "1",
        "1",
        "1",
        trades,
        "1",
        "1",
        "rest",
        open_ms + MINUTE_MS,
        open_ms + MINUTE_MS,
    )
