"""Which symbols the exchange lists, since when and until when, and exchangeInfo's body that says so.

A symbol's life is one or more spells of trading. It has no kline before the one that contains a spell's beginning, and
none that opens at or after its end; between two spells there is nothing. A delisted symbol stays in exchangeInfo with
another status, and REST still serves its past. A well-formed symbol that was never listed trades all the time.
"""

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import orjson

from shared.candle import Series, checked_symbol
from shared.errors import CandlewickError, MalformedCandleError
from shared.interval import utc
from shared.market import Market
from simulator.market.clock import Clock
from simulator.market.frames import delisted_status, exchange_info, status_field, symbol_info
from simulator.market.klines import Kline, KlineSource

FIRST_ONBOARD_MS = 1_500_000_000_000
"""``onboardDate`` of what is listed from the start: 2017-07-14."""


class ListingChange(NamedTuple):
    """A symbol is listed, or delisted, at a time of the exchange.

    Attributes:
        shown_ms: from when on exchangeInfo shows it, with a status in which it is not traded; None: not before.
        refused_to_ms: REST refuses its klines until then.
        date_ms: what ``onboardDate`` says; None: the truth, 0: nothing.
    """

    market: Market
    symbol: str
    time_ms: int
    listed: bool
    shown_ms: int | None = None
    refused_to_ms: int = 0
    date_ms: int | None = None


class Spell(NamedTuple):
    """Trading from a time until another; None: since ever, for ever."""

    since_ms: int | None
    until_ms: int | None

    def contains(self, series: Series, open_time_ms: int) -> bool:
        """Whether a kline that opens then belongs to it."""
        return (self.since_ms is None or series.interval.floor(self.since_ms) <= open_time_ms) and (
            self.until_ms is None or open_time_ms < self.until_ms
        )


_ALWAYS = (Spell(None, None),)


class _Shown(NamedTuple):
    until_ms: float
    trading: Sequence[str]
    rest_of_body: bytes


class Listings:
    """The symbols of the three markets.

    Args:
        clock: the exchange's time.
        symbols: those listed from the start.
        recorded: exchangeInfo bodies to go by instead, of some markets; see ``simulator.market.recorded_info``.
    """

    def __init__(
        self,
        clock: Clock,
        symbols: Mapping[Market, Sequence[str]],
        recorded: Mapping[Market, Mapping[str, Any]],
    ) -> None:
        self._clock = clock
        self._bodies: dict[Market, Mapping[str, Any]] = {}
        self._infos: dict[Market, dict[str, Mapping[str, Any]]] = {}
        self._spells: dict[tuple[Market, str], tuple[Spell, ...]] = {}
        self._shown: dict[Market, _Shown] = {}
        self._changes: dict[tuple[Market, str], ListingChange] = {}  # the last listing of each symbol
        for market in Market:
            body = recorded.get(market)
            infos = body["symbols"] if body else [symbol_info(market, symbol) for symbol in symbols[market]]
            self._bodies[market] = body or exchange_info(market)
            self._infos[market] = {info["symbol"]: info for info in infos}
            for info in infos:
                self._end_what_does_not_trade(market, info)

    def _end_what_does_not_trade(self, market: Market, info: Mapping[str, Any]) -> None:
        status = info.get(status_field(market))
        if status != "TRADING":
            until_ms = 0 if status == "PENDING_TRADING" else self._clock.now_ms()
            self._spells[market, info["symbol"]] = (Spell(None, until_ms),)

    def spells(self, market: Market, symbol: str) -> Sequence[Spell]:
        """When a symbol trades, ascending."""
        return self._spells.get((market, symbol), _ALWAYS)

    def trading(self, market: Market) -> Sequence[str]:
        """The symbols that trade now."""
        return self._show(market).trading

    def body(self, market: Market) -> bytes:
        """An exchangeInfo answer of now, as JSON. All but its time is made once for each change."""
        return b'{"serverTime":%d,%b' % (self._clock.now_ms(), self._show(market).rest_of_body)

    def change(self, change: ListingChange) -> None:
        """List or delist a symbol, now or later.

        Raises:
            CandlewickError: when it cannot be a symbol, is listed already, or is not listed.
        """
        self.check(change)
        market, symbol, time_ms, listed, *_ = change
        known = symbol in self._infos[market]
        spells = self.spells(market, symbol)
        if listed:
            status = {status_field(market): "TRADING"}
            self._infos[market][symbol] = {**self._infos[market].get(symbol, symbol_info(market, symbol)), **status}
            spells = (*spells, Spell(time_ms, None)) if known else (Spell(time_ms, None),)
            self._changes[market, symbol] = change
        else:
            spells = (*spells[:-1], spells[-1]._replace(until_ms=time_ms))
        self._spells[market, symbol] = tuple(spells)
        self._shown.pop(market, None)

    def check(self, change: ListingChange) -> None:
        """Raise the CandlewickError of ``change``, if it has one."""
        market, symbol, time_ms, listed, *_ = change
        try:
            checked_symbol(symbol)
        except MalformedCandleError as error:
            raise CandlewickError(str(error)) from None
        last = self.spells(market, symbol)[-1] if symbol in self._infos[market] else Spell(None, -1)
        if listed and (last.until_ms is None or last.until_ms > time_ms):
            raise CandlewickError(f"{symbol} cannot be listed at {utc(time_ms)}: {market} lists it already")
        if not listed and (last.until_ms is not None or (last.since_ms or 0) >= time_ms):
            raise CandlewickError(f"{symbol} cannot be delisted at {utc(time_ms)}: {market} does not list it")

    def refuses(self, series: Series) -> bool:
        """Whether REST refuses a series' klines now, though its symbol may be traded."""
        change = self._changes.get((series.market, series.symbol))
        return change is not None and self._clock.now_ms() < change.refused_to_ms

    def _show(self, market: Market) -> _Shown:
        shown, now = self._shown.get(market), self._clock.now_ms()
        if shown is None or now >= shown.until_ms:
            symbols = list(self._symbols(market, now))
            body = {**self._bodies[market], "symbols": symbols}
            body.pop("serverTime", None)
            status = status_field(market)
            trading = tuple(info["symbol"] for info in symbols if info[status] == "TRADING")
            shown = _Shown(self._next_change(market, now), trading, orjson.dumps(body)[1:])
            self._shown[market] = shown
        return shown

    def _symbols(self, market: Market, now: int) -> Iterator[Mapping[str, Any]]:
        for symbol, info in self._infos[market].items():
            change = self._changes.get((market, symbol))
            begun = [spell for spell in self.spells(market, symbol) if spell.since_ms is None or spell.since_ms <= now]
            if begun:
                yield _as_shown(market, info, begun[-1], now) | _date(market, change)
            elif change is not None and change.shown_ms is not None and change.shown_ms <= now:
                yield {**info, status_field(market): "PENDING_TRADING"} | _date(market, change)

    def _next_change(self, market: Market, now: int) -> float:
        spells = itertools.chain(*(spells for (whose, _), spells in self._spells.items() if whose is market))
        shown = (change.shown_ms for (whose, _), change in self._changes.items() if whose is market)
        times = itertools.chain(*spells, shown)
        return min((time_ms for time_ms in times if time_ms is not None and time_ms > now), default=math.inf)


def _date(market: Market, change: ListingChange | None) -> dict[str, Any]:
    """What ``onboardDate`` says of a symbol, where that is not the truth."""
    is_told = market is not Market.SPOT and change is not None and change.date_ms is not None
    return {"onboardDate": change.date_ms or None} if is_told and change is not None else {}


def _as_shown(market: Market, info: Mapping[str, Any], spell: Spell, now: int) -> dict[str, Any]:
    changes: dict[str, Any] = {}
    if market is not Market.SPOT and (spell.since_ms is not None or "onboardDate" not in info):
        changes["onboardDate"] = FIRST_ONBOARD_MS if spell.since_ms is None else spell.since_ms
    status = status_field(market)
    if spell.until_ms is not None and spell.until_ms <= now and info[status] == "TRADING":
        changes[status] = delisted_status(market)
    return {**info, **changes}


class ListedSource:
    """A source of klines that keeps to the listings."""

    def __init__(self, inner: KlineSource, listings: Listings) -> None:
        self._inner = inner
        self._listings = listings

    @property
    def end_ms(self) -> int | None:  # noqa: D102 # as KlineSource says
        return self._inner.end_ms

    def symbols(self, market: Market) -> Sequence[str]:  # noqa: D102
        return self._listings.trading(market)

    def has(self, series: Series) -> bool:  # noqa: D102
        return self._inner.has(series)

    def kline(self, series: Series, open_time_ms: int) -> Kline | None:  # noqa: D102
        spells = self._listings.spells(series.market, series.symbol)
        if spells is _ALWAYS or any(spell.contains(series, open_time_ms) for spell in spells):
            return self._inner.kline(series, open_time_ms)
        return None

    def next_open(self, series: Series, from_ms: int) -> int | None:  # noqa: D102
        for start_ms, until_ms in self._bounds(series):
            open_ms = self._inner.next_open(series, max(from_ms, start_ms))
            if open_ms is not None and open_ms < until_ms:
                return open_ms
        return None

    def opens(self, series: Series, start_ms: int, end_ms: int) -> Sequence[int]:  # noqa: D102
        parts = [
            self._inner.opens(series, max(start_ms, first_ms), min(end_ms, until_ms - 1))
            for first_ms, until_ms in self._bounds(series)
        ]
        return parts[0] if len(parts) == 1 else _Joined(parts)

    def _bounds(self, series: Series) -> Iterator[tuple[int, int]]:
        """Where klines of each spell open: from a time on, before another."""
        earliest = 0
        for spell in self._listings.spells(series.market, series.symbol):
            if spell.since_ms is not None:
                earliest = max(earliest, series.interval.floor(spell.since_ms))
            yield earliest, _NEVER_MS if spell.until_ms is None else spell.until_ms
            earliest = max(earliest, spell.until_ms or 0)


_NEVER_MS = 10**15


class _Joined(Sequence[int]):
    """Sequences one after another, never held as a whole."""

    def __init__(self, parts: Sequence[Sequence[int]]) -> None:
        self._parts = parts

    def __len__(self) -> int:
        return sum(map(len, self._parts))

    def __iter__(self) -> Iterator[int]:
        return itertools.chain.from_iterable(self._parts)

    def __reversed__(self) -> Iterator[int]:
        return itertools.chain.from_iterable(map(reversed, reversed(self._parts)))

    def __getitem__(self, index: Any) -> Any:
        index = index + len(self) if index < 0 else index
        for part in self._parts:
            if 0 <= index < len(part):
                return part[index]
            index -= len(part)
        raise IndexError("no such open time")
