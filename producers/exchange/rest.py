"""REST: klines, the exchange's time and its list of symbols, within the weight budget.

One ``RestClient`` a process. Every call waits for its weight, and every answer's weight, 429 and 418 go back to the
budget that all processes of the host share. Whatever goes wrong is one of two errors: ``RestUnavailableError`` says
that the same call may succeed later (no connection, a time-out, a server's fault, a ban), ``RestRefusedError`` that the
exchange will not answer this very question (an unknown symbol). Nothing here retries.

Source of the format: Binance's REST documentation, "Kline/Candlestick Data" and "Exchange Information"; docs/binance.md
names what bites.
"""

import asyncio
import logging
import time
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Any
from urllib.parse import urlsplit

import httpx
import orjson

from producers.exchange.addresses import Addresses
from producers.exchange.page import Answer, OddRow, Page, klines_weight, next_open_ms, odd_reason
from producers.exchange.proxy import proxy_for
from producers.exchange.symbols import Listing, parse_listings
from producers.exchange.weight import WeightBudget
from shared.candle import MAX_TIME_MS, REST, Candle, Series, checked_candle, checked_time
from shared.errors import MalformedCandleError, PoolClosedError, RestRefusedError, RestUnavailableError
from shared.interval import Interval
from shared.market import Market
from shared.process.once import is_worth_a_line
from shared.settings.sections import ExchangeSettings
from shared.text import counted, printable, quoted

log = logging.getLogger(__name__)

_OK, _TOO_MANY, _TEAPOT, _SERVER_FAULT = 200, 429, 418, 500
_DEFAULT_RETRY_SECONDS = 60.0
_INFO_WEIGHT = {Market.SPOT: 20, Market.USDT_FUTURES: 1, Market.COIN_FUTURES: 1}
_ROW_COLUMNS = 11
_MAX_BYTES = {"time": 2**16, "klines": 2**22, "exchangeInfo": 2**26}  # true ones: 15 MB at most
_MAX_DIGITS = 9


@dataclass(slots=True)
class RestCounters:
    """What a process asked over REST since it started."""

    requests: int = 0
    weight: int = 0
    failures: int = 0
    rows_refused: int = 0


class RestClient:
    """One market's REST calls, over connections that are kept until ``close``.

    SettingsError says that the proxy to one of its addresses cannot be used.
    """

    def __init__(self, market: Market, settings: ExchangeSettings, budget: WeightBudget) -> None:
        self.market = market
        self.budget = budget
        self.counters = RestCounters()
        self._odd_answers = 0
        self._timeout_seconds = settings.rest_timeout_seconds
        self._addresses = Addresses(f"{market} REST", settings.rest(market))
        limits = httpx.Limits(max_connections=16)
        routes = {
            f"all://{urlsplit(address).netloc}": httpx.AsyncHTTPTransport(proxy=proxy, limits=limits)
            for address in settings.rest(market)
            if (proxy := proxy_for(settings, address)) is not None
        }
        self._client = httpx.AsyncClient(
            timeout=settings.rest_timeout_seconds,
            trust_env=False,
            mounts=routes,
            headers={"Accept-Encoding": "gzip"},  # what ``_fetch`` unpacks
            limits=limits,
        )

    @property
    def given_way(self) -> list[str]:
        """A line while another address than the first is asked."""
        return self._addresses.given_way

    async def close(self) -> None:
        """Close its connections, and the budget's."""
        await self._client.aclose()
        await self.budget.release()

    async def server_time_ms(self) -> int:
        """The exchange's time. It was not earlier than this when the answer came in."""
        answer = await self._get("time", {}, weight=1)
        found = answer.get("serverTime") if isinstance(answer, dict) else None
        if type(found) is not int or not 0 < found < MAX_TIME_MS:
            raise RestUnavailableError("the answer to /time holds no serverTime")
        return found

    async def listings(self) -> Sequence[Listing]:
        """Every symbol that the exchange lists, with its status."""
        answer = await self._get("exchangeInfo", {}, weight=_INFO_WEIGHT[self.market])
        found = parse_listings(self.market, answer)
        if found is None:
            raise RestUnavailableError("the answer to /exchangeInfo holds no symbols")
        return found

    async def klines(self, series: Series, page: Page, closed_before_ms: int) -> Answer:
        """The closed candles of one page.

        ``closed_before_ms`` is the exchange's time, or earlier. A row that ends after it may still be open, and nothing
        in it would tell, so it is left out.
        """
        question: dict[str, str | int] = {"symbol": series.symbol, "interval": str(series.interval)}
        question |= {"startTime": page.from_ms, "limit": page.limit}
        if page.end_ms is not None:
            question["endTime"] = page.end_ms - 1
        rows = await self._get("klines", question, klines_weight(series.market, page.limit))
        if not isinstance(rows, list):
            raise RestUnavailableError("the answer to /klines is no list")
        found = [self._candle(series, row, closed_before_ms) for row in rows]
        candles = [row for row in found if isinstance(row, Candle)]
        candles.sort(key=attrgetter("open_time_ms"))
        odd = sorted(row for row in found if isinstance(row, OddRow))
        self._tell_odd(series, odd, found.count(None))
        times = [candle.open_time_ms for candle in candles] + [row.open_time_ms for row in odd]
        covered_to = page.covers_to_ms
        if page.end_ms is None and len(rows) >= page.limit:
            behind_ms = candles[-1].end_time_ms if candles else page.from_ms
            covered_to = _reach(series.interval, behind_ms, odd)
            if covered_to == page.from_ms:  # rows of which not even a time is known: passed, one candle at a time
                covered_to = next_open_ms(series.interval, page.from_ms)
        is_other = min(times, default=page.from_ms) < page.from_ms  # an answer to another question
        return Answer(
            [candle for candle in candles if candle.end_time_ms <= closed_before_ms],
            min(covered_to, closed_before_ms),
            is_other or None in found,
            odd,
        )

    async def first_open_ms(self, series: Series) -> int | None:
        """Open time of the very first kline of a series; None where there is none, or no way to ask for it (COIN-M)."""
        if self.market is Market.COIN_FUTURES:
            return None
        question: dict[str, str | int] = {"symbol": series.symbol, "interval": str(series.interval)}
        question |= {"startTime": 0, "limit": 1}
        rows = await self._get("klines", question, klines_weight(self.market, 1))
        try:
            return checked_time("first open time", rows[0][0])
        except (TypeError, IndexError, KeyError, MalformedCandleError):
            return None

    def _candle(self, series: Series, row: Any, closed_before_ms: int) -> Candle | OddRow | None:
        """The candle of a row; an odd row where it is none; None where not even its time can be told."""
        try:
            return candle_of_row(series, row, closed_before_ms)
        except MalformedCandleError as error:
            reason = str(error)
        try:
            return OddRow(checked_time("open time", row[0] if isinstance(row, list) and row else None), reason)
        except MalformedCandleError:
            return None

    def _tell_odd(self, series: Series, odd: Sequence[OddRow], unknown: int) -> None:
        """Count what is no candle of an answer, and say so: a line an answer, of the first answers and a few later."""
        if not odd and not unknown:
            return
        self.counters.rows_refused += len(odd) + unknown
        self._odd_answers += 1
        if is_worth_a_line(self._odd_answers):
            reasons = [odd_reason(odd)] if odd else []
            reasons += [f"{counted(unknown, 'row has', 'rows have')} not even an open time"] if unknown else []
            log.warning("%s: %s", series, "; ".join(reasons))

    async def _get(self, path: str, question: dict[str, str | int], weight: int) -> Any:
        await self.budget.acquire(weight)
        self.counters.requests += 1
        self.counters.weight += weight
        try:
            return await self._ask(path, question)
        except RestUnavailableError:
            self.counters.failures += 1
            raise

    async def _ask(self, path: str, question: dict[str, str | int]) -> Any:
        """Ask the address in use; where that does not serve, the next question goes to another."""
        address = self._addresses.current
        try:
            return await self._ask_at(address + self.market.facts.rest_prefix, path, question)
        except PoolClosedError:
            raise
        except RestUnavailableError as error:
            self._addresses.give_way(address, error)
            raise

    async def _ask_at(self, base: str, path: str, question: dict[str, str | int]) -> Any:
        try:
            async with asyncio.timeout(2 * self._timeout_seconds):  # httpx counts each read by itself
                answer = await self._fetch(f"{base}/{path}", question, _MAX_BYTES[path])
        except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
            raise RestUnavailableError(f"{base}: {str(error) or type(error).__name__}") from None
        used = _count(answer.headers.get("X-MBX-USED-WEIGHT-1M", ""))
        if used is not None:
            await self.budget.used(used)
        if (status := answer.status_code) in (_TOO_MANY, _TEAPOT):
            seconds = _retry_after(answer.headers.get("Retry-After", ""))
            await self.budget.close(seconds, status)
            raise PoolClosedError(seconds, status)
        return content_of(base, answer)

    async def _fetch(self, address: str, question: dict[str, str | int], max_bytes: int) -> httpx.Response:
        """An answer and its body, unpacked piece by piece, never beyond its bound; else httpx.HTTPError."""
        async with self._client.stream("GET", address, params=question) as answer:
            try:
                body = await _body(answer, max_bytes)
            except httpx.HTTPError:
                if answer.status_code == _OK:
                    raise
                body = b""  # what it says by its status and headers counts all the same
        headers = [pair for pair in answer.headers.raw if pair[0].lower() != b"content-encoding"]
        return httpx.Response(answer.status_code, headers=headers, content=body)


def candle_of_row(series: Series, row: Any, event_time_ms: int) -> Candle:
    """A candle from the twelve columns of a REST row, times in ms; MalformedCandleError names the wrong value."""
    if not isinstance(row, list) or len(row) < _ROW_COLUMNS:
        raise MalformedCandleError(f"a row of REST has {_ROW_COLUMNS} columns or more, and this is {quoted(row)}")
    decimals = (*row[1:6], row[7], row[9], row[10])
    now_ms = time.time_ns() // 1_000_000
    return checked_candle(
        series, row[0], decimals, row[8], source=REST, event_time_ms=event_time_ms, receive_time_ms=now_ms
    )


def content_of(base: str, answer: httpx.Response) -> Any:
    """What an answer holds; RestUnavailableError or RestRefusedError where it holds none."""
    status = answer.status_code
    try:
        content = orjson.loads(answer.content)
    except orjson.JSONDecodeError:
        raise RestUnavailableError(f"{base} answers {status} and no JSON") from None
    if status == _OK:
        return content
    said = content if isinstance(content, dict) else {}
    code, text = said.get("code"), printable(said.get("msg", ""))
    if type(code) is int and code and status < _SERVER_FAULT and status != httpx.codes.FORBIDDEN:
        raise RestRefusedError(f"{text} (code {code})", code)
    raise RestUnavailableError(f"{base} answers {status} {text}".strip())


def _reach(interval: Interval, from_ms: int, odd: Sequence[OddRow]) -> int:
    """How far a full page speaks, whose last candle ends at a time: one candle for each odd row behind it at most.

    The time of an odd row may be as wrong as all else in it.
    """
    behind = [row.open_time_ms for row in odd if row.open_time_ms >= from_ms]
    reach = from_ms
    for _ in behind:
        reach = next_open_ms(interval, reach)
    return min(reach, next_open_ms(interval, behind[-1])) if behind else reach


async def _body(answer: httpx.Response, max_bytes: int) -> bytes:
    """The body of an answer that is still to be read, unpacked; httpx.DecodingError beyond so many bytes."""
    packed = answer.headers.get("Content-Encoding", "identity").lower()
    if packed not in ("identity", "gzip"):
        raise httpx.DecodingError(f"a body packed as {packed!r:.40}")
    unpack = zlib.decompressobj(wbits=31) if packed == "gzip" else None
    body = bytearray()
    async for piece in answer.aiter_raw():
        try:
            body += unpack.decompress(piece, max_bytes + 1 - len(body)) if unpack else piece
        except zlib.error as error:
            raise httpx.DecodingError(f"a body that is no gzip: {error}") from None
        if len(body) > max_bytes:
            raise httpx.DecodingError(f"a body of more than {max_bytes:,} bytes")
    return bytes(body)


def _count(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and len(text) <= _MAX_DIGITS else None


def _retry_after(text: str) -> float:
    return float(text[:_MAX_DIGITS]) if text.isascii() and text.isdigit() else _DEFAULT_RETRY_SECONDS
