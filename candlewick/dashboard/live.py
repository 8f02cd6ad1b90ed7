"""One page's live candles: what is published of its series from now on, or from where the page was.

The page loads history when it is told to, and by then the position in the stream has been taken: what is published
later comes by itself, and what comes both ways is one candle. An event's id is the id of an entry. A page that was
away says the last one it had, and goes on behind it; where that entry does not stand in the stream any more, and when
a position is lost, the page is told to load anew.
"""

import contextlib
from collections.abc import Mapping
from enum import StrEnum
from typing import Any, NamedTuple

from redis.exceptions import RedisError

from candlewick.recording.position import Position
from shared.broker.client import CONNECTION_ERRORS, sync_client
from shared.broker.entry import EntryId, decode_entry
from shared.broker.keys import Keys
from shared.candle import Candle, Series
from shared.errors import MalformedCandleError
from shared.series_fact import SeriesFact
from shared.settings.model import Settings

_TIMEOUT_SECONDS = 2.0  # a broker that hangs is asked again; a page that is closed meanwhile waits so long


class Kind(StrEnum):
    """What an event tells."""

    LOAD = "load"  # read history: what is published from here on will come
    CANDLES = "candles"  # rows as ``history`` has them
    FACTS = "facts"  # what is known of the series besides candles has changed: an absence, an end
    POSITION = ""  # nothing of this series: the id alone


class Event(NamedTuple):
    """One event.

    Attributes:
        at: the newest entry's id that a page has had with it; None where more of the same is to come, or the broker has
            not been heard.
        rows: of candles, as ``history`` has them; of facts the ranges of time that they are true of.
    """

    kind: Kind
    at: EntryId | None
    rows: list[list[float]]


class LiveCandles:
    """Reads one series for one page; used by one thread at a time."""

    def __init__(self, settings: Settings, series: Series, after: EntryId | None) -> None:
        self._series = series
        self._client: Any = sync_client(settings, _TIMEOUT_SECONDS)
        self._position = Position(self._client, Keys(settings.broker.prefix).candles(series.market))
        self._after = after
        self._is_placed = False
        self._has_loaded = False

    def close(self) -> None:
        """Let the connection go."""
        self._client.close()

    def next(self) -> list[Event]:
        """What has come, waiting up to half a second for it. Nothing while the broker is away."""
        try:
            if not self._is_placed:
                return self._place()
            entries = self._position.read()
        except (RedisError, *CONNECTION_ERRORS):
            if not self._has_loaded and self._after is None:  # what is stored can be shown
                self._has_loaded = True
                return [Event(Kind.LOAD, None, [])]
            raise
        if entries is None:
            self._is_placed, self._after = False, None
            return []
        items = [item for _, fields in entries if (item := self._of_series(fields)) is not None]
        rows = [_row(item) for item in items if isinstance(item, Candle)]
        ranges: list[list[float]] = [[item.from_ms, item.to_ms] for item in items if isinstance(item, SeriesFact)]
        found = ((Kind.CANDLES, rows), (Kind.FACTS, ranges))
        events = [Event(kind, None, values) for kind, values in found if values]
        events = events or ([Event(Kind.POSITION, None, [])] if entries else [])
        return [*events[:-1], *(event._replace(at=self._position.at) for event in events[-1:])]

    def _place(self) -> list[Event]:
        """Take a position: behind the last entry that the page had, or behind all that is published."""
        goes_on = self._after is not None and self._position.to_entry(self._after)
        if not goes_on:
            self._position.to_newest()
        self._is_placed = self._has_loaded = True
        return [] if goes_on else [Event(Kind.LOAD, self._position.at, [])]

    def _of_series(self, fields: Mapping[bytes, bytes]) -> Candle | SeriesFact | None:
        named = (fields.get(b"symbol"), fields.get(b"interval"))
        if named != (self._series.symbol.encode(), self._series.interval.encode()):
            return None
        with contextlib.suppress(MalformedCandleError):
            return decode_entry(self._series.market, fields)
        return None


def _row(candle: Candle) -> list[float]:
    values = (candle.open, candle.high, candle.low, candle.close, candle.volume)
    return [candle.open_time_ms, *map(float, values)]
