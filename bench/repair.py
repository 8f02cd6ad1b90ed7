"""What repair questions of the exchange: requests and their weight for a day, reckoned with the parts that decide it.

A day of exchange time runs through ``GapTracker`` minute by minute: closing frames come or do not, questions are put
and answered. Nothing is sent, so the figures are the same everywhere. Counted are the questions for candles and, once
for each round of them, the question for the exchange's time. The floor is the least that would do: one light request
for each unbroken run of candles that did not come. The old way questions for each missing candle when it is missed.
"""

import random
from collections.abc import Iterable

from bench.result import Result
from producers.exchange.page import Answer, klines_weight
from producers.gaps.tracker import GapTracker
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
    tracker = GapTracker(_GRACE_MS, _QUIET_MS)
    for chosen in series:
        tracker.expect(chosen, _DAY)
        tracker.resume(chosen)
    requests = weight = runs = 0
    losing = dict.fromkeys(series, False)
    for open_ms in range(_DAY, _DAY + DAY_MS, MINUTE_MS):
        for chosen in series:
            is_lost = dice.random() < lost
            runs += is_lost and not losing[chosen]
            losing[chosen] = is_lost
            if not is_lost:
                tracker.mark_received(_candle(chosen, open_ms, trades))
        now_ms = open_ms + MINUTE_MS + _GRACE_MS + 1000
        questions = tracker.questions(now_ms)
        requests += len(questions) + bool(questions)
        weight += sum(klines_weight(market, question.page.limit) for question in questions)
        weight += _TIME_WEIGHT * bool(questions)
        for question in questions:
            end_ms = min(question.page.from_ms + question.page.limit * MINUTE_MS, now_ms - _GRACE_MS)
            times = range(question.page.from_ms, end_ms, MINUTE_MS)
            answer = [_candle(question.series, time_ms, trades) for time_ms in times]
            taken = [candle for candle in answer if tracker.is_wanted(candle)]
            _hold(tracker, taken)
            tracker.take_answer(question, Answer(answer, answer[-1].end_time_ms), taken, now_ms)
    return requests, weight, runs


def _hold(tracker: GapTracker, candles: Iterable[Candle]) -> None:
    for candle in candles:
        tracker.mark_received(candle)


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
