"""A question to the recording, checked: which series, which times, which columns, and how they are put together."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from candlewick.recording.resample import Target
from consumer.dataset.dataset import ALWAYS_MS
from consumer.dataset.series_filter import SeriesFilter
from shared.arguments import milliseconds, parse_interval, parse_market, parse_symbol, parse_time
from shared.errors import CandlewickError
from shared.interval import utc
from shared.settings.types import duration_ms, is_pattern
from shared.spans import Span

Time = datetime | date | str | None
Names = str | Sequence[str] | None

DROP, MARK, KEEP = "drop", "mark", "keep"
_INCOMPLETE = (DROP, MARK, KEEP)


@dataclass(frozen=True, slots=True)
class Selection(SeriesFilter):
    """Series as a user names them.

    Attributes:
        is_one: whether it names one series of one market, and no pattern.
    """

    is_one: bool = False

    @classmethod
    def of(cls, market: Names, symbols: Names, interval: str | None) -> "Selection":
        """From what a user gave. CandlewickError names what is not allowed."""
        markets = tuple(parse_market(name) for name in _names(market) if name != "*")
        given = tuple(symbol for name in _names(symbols) for symbol in name.split(",") if symbol)
        is_one = isinstance(symbols, str) and len(given) == 1 and not is_pattern(given[0]) and len(markets) == 1
        checked = tuple(dict.fromkeys(_pattern(name) for name in given if name != "*"))
        return cls(markets, checked, None if interval is None else parse_interval(interval), is_one)


def checked_span(start: Time, end: Time) -> Span:
    """A range of open times in ms, without end where none is given. CandlewickError when it ends before it begins."""
    start_ms, end_ms = milliseconds(parse_time(start, "start")), milliseconds(parse_time(end, "end"))
    if start_ms is not None and end_ms is not None and end_ms <= start_ms:
        raise CandlewickError(f"end {utc(end_ms).isoformat()} is not after start {utc(start_ms).isoformat()}")
    return Span(-ALWAYS_MS if start_ms is None else start_ms, ALWAYS_MS if end_ms is None else end_ms)


def checked_target(resample: str | None, offset: str | timedelta | None) -> Target | None:
    """What is made of candles. CandlewickError when an interval or an offset is not of the form that it should be."""
    if resample is None:
        if offset is not None:
            raise CandlewickError("an offset needs resample, such as resample='1h', offset='30min'")
        return None
    return Target(parse_interval(resample), _offset_ms(offset))


def checked_incomplete(incomplete: str) -> str:
    """What to do with incomplete candles. CandlewickError for any other word."""
    if incomplete not in _INCOMPLETE:
        raise CandlewickError(f"incomplete {incomplete!r} is not known: {', '.join(_INCOMPLETE)}")
    return incomplete


def checked_name(name: str) -> str:
    """A follower's name. CandlewickError for one that is not allowed."""
    if not re.fullmatch(r"[A-Za-z0-9_.-]{1,64}", name):
        raise CandlewickError(f"name {name!r:.80} is not of 1 to 64 letters, digits, '_', '.' and '-'")
    return name


def _offset_ms(offset: str | timedelta | None) -> int:
    if isinstance(offset, timedelta):
        return round(offset.total_seconds() * 1000)
    try:
        return duration_ms((offset or "").replace("min", "m"))
    except ValueError as error:
        raise CandlewickError(f"offset {error}") from None


def _names(given: Names) -> Sequence[str]:
    return () if given is None else (given,) if isinstance(given, str) else tuple(given)


def _pattern(text: str) -> str:
    parse_symbol(text.replace("*", "A").replace("?", "A"))
    return text.upper()
