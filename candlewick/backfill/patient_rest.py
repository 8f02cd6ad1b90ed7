"""History over REST: asked again until it is clear that the exchange cannot be asked.

One ``PatientRest`` a run, shared by all its series: they wait for a trouble together. After some tries every further
question fails at once with the same reason. Half of the weight budget is left to whoever records.
"""

from collections.abc import Awaitable, Callable
from typing import TypeVar

from candlewick.backfill.retry import Patience
from producers.exchange.page import Answer, Page
from producers.exchange.rest import RestClient
from producers.exchange.weight_by_address import weight_budget
from shared.candle import Series
from shared.errors import RestUnavailableError
from shared.interval import DAY_MS, Interval
from shared.market import Market
from shared.settings.model import Settings

_LONGEST_CLOSED_SECONDS = 300.0  # a ban that lasts longer is not waited for
_COIN_DAYS = 199  # the exchange allows 200 a request

_T = TypeVar("_T")


class PatientRest:
    """One market's REST, for a backfill. What ends after ``closed_before_ms`` may still be open."""

    def __init__(self, market: Market, settings: Settings) -> None:
        self.closed_before_ms = 0
        self._budget = weight_budget(market, settings, patient=True)
        self._rest = RestClient(market, settings.exchange, self._budget)
        self._grace_ms = int(settings.repair.grace_seconds * 1000)
        self._patience = Patience(RestUnavailableError)

    @property
    def trouble(self) -> str | None:
        """Why nothing is asked any more; None while it is."""
        return self._patience.trouble

    async def close(self) -> None:
        """Close its connections."""
        await self._rest.close()

    def set_time(self, now_ms: int) -> None:
        """Candles that ended before this time and its grace are closed."""
        self.closed_before_ms = now_ms - self._grace_ms

    async def time_ms(self) -> int:
        """The exchange's time. RestUnavailableError when it cannot be asked, here as everywhere below."""
        return await self._ask(self._rest.server_time_ms)

    async def klines(self, series: Series, page: Page) -> Answer:
        """The closed candles of one page. RestRefusedError when the exchange refuses the question."""
        return await self._ask(lambda: self._rest.klines(series, page, self.closed_before_ms))

    async def first_open_ms(self, series: Series, from_ms: int, to_ms: int) -> int | None:
        """A time before which the exchange has nothing of a series between two times; None when it does not tell.

        For COIN-M, which cannot be asked for the first kline of all, it is the first between these times.
        """
        if series.market is not Market.COIN_FUTURES:
            return await self._ask(lambda: self._rest.first_open_ms(series))
        day_ms = await self.next_day_ms(series, from_ms, to_ms)
        length = series.interval.typical_ms
        if day_ms >= to_ms or DAY_MS // length > series.market.facts.klines_limit:
            return min(day_ms, to_ms)
        if length >= DAY_MS:  # it opened on this day or before, and may be open still
            answer = await self.klines(series, Page(day_ms - length, day_ms + 1, 2, day_ms + 1))
            return answer.candles[0].open_time_ms if answer.candles else None
        end_ms = day_ms - day_ms % DAY_MS + DAY_MS
        answer = await self.klines(series, Page(day_ms, end_ms, DAY_MS // length, end_ms))
        return answer.candles[0].open_time_ms if answer.candles else day_ms

    async def next_day_ms(self, series: Series, from_ms: int, to_ms: int) -> int:
        """Where the first day with a kline between two times begins, for COIN-M, where empty pages are many.

        ``to_ms`` when there is none. Today may be such a day.
        """
        days = Series(series.market, series.symbol, Interval.D1)
        today_ms = self.closed_before_ms - self.closed_before_ms % DAY_MS
        at = from_ms - from_ms % DAY_MS
        while at < min(to_ms, today_ms):
            end_ms = at + _COIN_DAYS * DAY_MS
            answer = await self.klines(days, Page(at, end_ms, _COIN_DAYS, end_ms))
            if answer.candles:
                return max(answer.candles[0].open_time_ms, from_ms)
            at = end_ms
        return max(from_ms, min(to_ms, today_ms))

    async def _ask(self, call: Callable[[], Awaitable[_T]]) -> _T:
        """Ask, and again after a while when there is no answer, but not when the exchange is closed for long."""

        async def ask() -> _T:
            report = await self._budget.report()
            if self.trouble is None and report.closed_seconds > _LONGEST_CLOSED_SECONDS:
                seconds = f"{report.closed_seconds:g}"
                self._patience.give_up(f"the exchange has answered {report.status}: closed for {seconds} s more")
            return await call()

        return await self._patience.call(ask)
