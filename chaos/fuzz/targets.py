"""What is fuzzed, and which outcomes have a name.

Each target takes one hostile input to the outcome that the product promises for it. A candle, a note, a page or a list
of symbols is looked at once more with checks that owe nothing to the product's own: where its folder would be, whether
every number is finite, whether it comes back unchanged from the entry it is written as. Whatever is none of the
promised outcomes raises ``UnnamedOutcomeError``, or whatever the product raised.
"""

import math
import os.path
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any

import httpx

from candlewick.backfill.archive_format import ArchiveFile, read_archive
from chaos.fuzz.corpora import NOW_MS, fields_of
from consumer.storage.layout import partition_name, partition_span, period_of, series_folder
from producers.exchange.frames import (
    Control,
    Malformed,
    NotKline,
    OpenKline,
    Shutdown,
    is_open_kline,
    parse_frame,
    parse_pieces,
    peek_channel,
    peek_event_time_ms,
)
from producers.exchange.page import next_page
from producers.exchange.rest import RestClient, content_of
from producers.exchange.weight import WeightBudget
from shared.broker.entry import decode_entry, encode_entry
from shared.candle import MAX_TIME_MS, Candle, Series
from shared.errors import ArchiveError, MalformedCandleError, RestRefusedError, RestUnavailableError
from shared.interval import DAY_MS, Interval
from shared.market import Market
from shared.series_fact import SeriesFact
from shared.settings.sections import ExchangeSettings

_MOST_REASON = 1000  # characters: a reason goes to the log and into the dead letters
_ROOT = "/data/candles"
_REASONS = (
    *("not JSON", "not a JSON object", "holds no event", "neither an event nor an answer", "holds no kline"),
    *("neither true nor false", "is not known", "is not text", "is not allowed", "is not a time", "is not on the grid"),
    *("are not plain decimals", "is not a count", "is missing", "is not UTF-8", "is not a word", "is not one"),
    *("is not a line of up to", "is not a whole number"),
    *("that can be read", "no kline", "does not belong", "unpacks to more", "files, not one", "its compression"),
    *("answers", "is no list", "no serverTime", "no symbols", "(code "),
)


class UnnamedOutcomeError(Exception):
    """The product took what it must not take; the text says what is wrong with it."""


def hear(frame: bytes, market: Market) -> str:  # noqa: PLR0911 # one name for each outcome
    """A WebSocket message as ``producers.exchange.connection`` takes it; the name of its outcome."""
    if is_open_kline(frame):
        peek_channel(frame)
        peek_event_time_ms(frame)
        return "open kline, unread"
    outcome = parse_frame(frame, market, NOW_MS)
    match outcome:
        case Candle():
            check_item(outcome)
            check_same(outcome, parse_pieces(frame, market, NOW_MS))
            return "candle"
        case Malformed(reason=reason, excerpt=excerpt):
            if len(excerpt) > 200:
                raise UnnamedOutcomeError(f"an excerpt of {len(excerpt)} bytes")
            return f"malformed: {reason_class(reason)}"
        case Control(error=None):
            return "control, accepted"
        case Control(error=str(error)):
            reason_class(error)  # it goes to the log too
            return "control, refused"
        case OpenKline():
            return "open kline, decoded"
        case Shutdown():
            return "shutdown"
        case NotKline():
            return "not a kline"
    raise UnnamedOutcomeError(f"parse_frame returned {outcome!r:.200}")


def check_same(whole: Candle, pieces: object) -> None:
    """Whether a frame that was decoded at once is the same candle piece by piece.

    Raises:
        UnnamedOutcomeError: when it is not.
    """
    if not isinstance(pieces, Candle) or encode_entry(pieces) != encode_entry(whole):
        raise UnnamedOutcomeError(f"decoded at once it is {whole!r:.300}, and piece by piece {pieces!r:.300}")


def take(fields: Mapping[bytes, bytes], market: Market) -> str:
    """A stream entry as ``consumer.group.reader`` takes it; the name of its outcome."""
    try:
        item = decode_entry(market, fields)
    except MalformedCandleError as error:
        return f"dead letter: {reason_class(str(error))}"
    check_item(item)
    return "fact" if isinstance(item, SeriesFact) else "candle"


def read(file: ArchiveFile, content: bytes) -> str:
    """An archive file as a backfill takes it; the name of its outcome."""
    try:
        rows = read_archive(file, content).rows
    except ArchiveError as error:
        return f"refused: {reason_class(str(error))}"
    times = rows.times.tolist()
    if times != sorted(set(times)) or any(time % 60_000 for time in times):
        raise UnnamedOutcomeError("its rows are not ascending, unique and on the grid")
    if not all(file.begin_ms <= time < file.end_ms for time in times):
        raise UnnamedOutcomeError("a row is outside its day")
    if not all(math.isfinite(value) and value >= 0 for column in rows.values.tolist() for value in column):
        raise UnnamedOutcomeError("a value is not finite, or negative")
    return "rows"


class Answers(RestClient):
    """The product's REST client with the network left out: ``ask`` hands it a body as if it had come in."""

    def __init__(self, market: Market) -> None:
        settings = ExchangeSettings(simulator="http://127.0.0.1:1")
        super().__init__(market, settings, WeightBudget(market, settings))
        self._answer = httpx.Response(200)
        self._page = {interval: _page(market, interval) for interval in Interval}

    async def _get(self, path: str, question: dict[str, str | int], weight: int) -> Any:  # noqa: ARG002
        return content_of("the exchange", self._answer)

    def ask(self, question: str, status: int, body: bytes, interval: Interval) -> str:
        """One of ``klines``, ``first``, ``time`` and ``info``; the name of its outcome."""
        self._answer = httpx.Response(status, content=body)
        series, page = self._page[interval]
        try:
            match question:
                case "klines":
                    return _check_page(series, _run(self.klines(series, page, NOW_MS + 40 * DAY_MS)))
                case "first":
                    return _check_time("first open time", _run(self.first_open_ms(series)))
                case "time":
                    return _check_time("time", _run(self.server_time_ms()))
                case _:
                    return _check_listings(_run(self.listings()))
        except RestUnavailableError as error:
            return f"unavailable: {reason_class(str(error))}"
        except RestRefusedError as error:
            return f"refused: {reason_class(str(error))}"


def _page(market: Market, interval: Interval) -> tuple[Series, Any]:
    series = Series(market, "BTCUSDT", interval)
    begin = interval.floor(NOW_MS)
    return series, next_page(series, begin, interval.end(interval.end(begin)))


def _run(answer: Any) -> Any:
    """What a coroutine returns that waits for nothing."""
    try:
        answer.send(None)
    except StopIteration as done:
        return done.value
    raise UnnamedOutcomeError("the call waits")


def _check_page(series: Series, answer: Any) -> str:
    for candle in answer.candles:
        check_item(candle)
        if candle.series != series:
            raise UnnamedOutcomeError(f"a candle of {candle.series} in an answer about {series}")
    if not answer.candles:
        return "page, empty"
    return "page, in doubt" if answer.is_doubtful else "page"


def _check_time(name: str, value: int | None) -> str:
    if value is not None and (type(value) is not int or not 0 <= value < MAX_TIME_MS):
        raise UnnamedOutcomeError(f"{name} {str(value)[:40]}, which is no time")
    return name if value is not None else f"{name}, none"


def _check_listings(listings: Sequence[Any]) -> str:
    for listing in listings:
        _check_symbol(listing.symbol)
    return "listings" if listings else "listings, empty"


def check_item(item: Candle | SeriesFact) -> None:
    """Whether a candle or note that came through is one, by checks of our own.

    Raises:
        UnnamedOutcomeError: saying what is wrong.
    """
    entry = encode_entry(item)
    again = decode_entry(item.series.market, fields_of(entry))
    if again != item or encode_entry(again) != entry:
        raise UnnamedOutcomeError(f"it does not come back from its entry: {entry!r:.300}")
    _check_symbol(item.series.symbol)
    if isinstance(item, SeriesFact):
        if not 0 <= item.from_ms <= item.to_ms < MAX_TIME_MS or not item.reason.isprintable():
            raise UnnamedOutcomeError(f"a note that is none: {item!r:.300}")
        return
    _check_candle(item)


def _check_candle(candle: Candle) -> None:
    interval = candle.series.interval
    grid = DAY_MS if interval is Interval.D3 else None
    if candle.open_time_ms % grid if grid else interval.floor(candle.open_time_ms) != candle.open_time_ms:
        raise UnnamedOutcomeError(f"open time {candle.open_time_ms} is off the grid of {interval}")
    name = partition_name(period_of(interval), candle.open_time_ms)
    span = partition_span(name)
    if span is None or not span[0] <= candle.open_time_ms < span[1]:
        raise UnnamedOutcomeError(f"open time {candle.open_time_ms} does not belong in {name}")
    prices = (candle.open, candle.high, candle.low, candle.close, candle.volume, candle.quote_volume)
    takers = (candle.taker_buy_base_asset_volume, candle.taker_buy_quote_asset_volume)
    for number in (*prices, *takers, str(candle.trade_num)):
        if not number.isascii() or not math.isfinite(float(number)) or float(number) < 0 or number[0] not in _DIGITS:
            raise UnnamedOutcomeError(f"number {number!r:.60}")


_DIGITS = frozenset("0123456789")


def _check_symbol(symbol: str) -> None:
    folder = series_folder(Series(Market.SPOT, symbol, Interval.M1))
    inside = os.path.normpath(f"{_ROOT}/{folder}") == f"{_ROOT}/{folder}" and folder.count("/") == 2
    fits = all(len(os.fsencode(part)) <= 250 for part in folder.split("/"))
    plain = all(unicodedata.category(letter)[0] in "LN" or letter in "_-" for letter in symbol)
    if not (inside and fits and plain and symbol):
        raise UnnamedOutcomeError(f"symbol {symbol!r:.100} cannot name a folder")


def reason_class(reason: str) -> str:
    """A reason without its variable parts.

    Raises:
        UnnamedOutcomeError: when it is too long for a log.
    """
    if len(reason) > _MOST_REASON:
        raise UnnamedOutcomeError(f"a reason of {len(reason)} characters: {reason:.100}")
    return next((name.strip(" (") for name in _REASONS if name in reason), "another reason")
