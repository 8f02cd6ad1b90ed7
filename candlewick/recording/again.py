"""The ways in which a recording is had back in the order of time: followed, in cross-sections, replayed."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from candlewick.recording.delivered import Delivered
from candlewick.recording.live_access import LiveAccess
from candlewick.recording.query import Names, Selection, Time, checked_name, checked_span
from shared.errors import CandlewickError

if TYPE_CHECKING:
    from candlewick.recording.cross_sections import CrossSection
    from candlewick.recording.follow import Follow
    from candlewick.recording.klines import RecordingKlines
    from candlewick.recording.replay import Replay

_MAX_SPEED = 1_000_000


class Again(LiveAccess):
    """Access in the order of time."""

    def follow(
        self,
        market: str,
        symbols: Names = None,
        interval: str | None = None,
        start: Time = None,
        *,
        name: str | None = None,
    ) -> "Follow":
        """Candles for ever: from a time on, or from now on, then each as it is published. Plain or ``async for``.

        Without a gap and without a repeat where history goes over into what is live. Of a series candles come in
        order; one that was missing and is repaired comes then, marked ``late``. A series that is recorded later comes,
        too. A reader that is slow holds nobody up. With a name it goes on where it stopped, whatever was started again
        meanwhile; ``start`` counts the first time only. After a crash the last batch may come again, marked ``again``.

        Example:
            >>> for candle in rec.follow("usdt_futures", "*USDT", "1m", name="my-strategy"):
            ...     print(candle.symbol, candle.candle_end_time, candle.close, candle.late)

        Args:
            market: one market.
            symbols: a name, a pattern such as ``*USDT``, several of them, or all by default.
            interval: one interval, or all by default.
            start: first open time; None: candles that end from now on.
            name: letters, digits, ``_``, ``.`` and ``-``; whoever follows by it last has it.

        Raises:
            CandlewickError: when an argument is not allowed, or there is no broker.
        """
        from candlewick.recording.follow import Follow
        from candlewick.recording.follower_state import FollowerState
        from shared.broker.client import broker_errors

        selection, span = Selection.of(market, symbols, interval), checked_span(start, None)
        chosen = self._one_market(selection)
        state = None
        if name is not None:
            with broker_errors(self.settings):
                state = FollowerState(self.settings, self._broker(), chosen, checked_name(name))
        delivered = None if state is None else state.delivered
        if delivered is None:
            delivered = Delivered(self._beginning(selection, span))
            if state is not None:
                state.begin(delivered.beginning)
        return Follow(self._feed(chosen, selection, delivered), state)

    def cross_sections(
        self, market: str, symbols: Names = None, interval: str = "1m", start: Time = None, *, deadline: float = 30.0
    ) -> "Iterator[CrossSection]":
        """Of each close time the candles of all series at once, as soon as all are there, for ever.

        A series counts as soon as it is recorded; one that the exchange does not have a candle of is not waited for.

        Example:
            >>> for section in rec.cross_sections("usdt_futures", "*USDT", "1h"):
            ...     print(section.time, section.frame["close"].median(), section.missing)

        Args:
            market: one market.
            symbols: as in ``follow``.
            interval: one interval.
            start: first open time; None: the closes from now on.
            deadline: seconds of the exchange's time after a close at which what is there is handed over, with the
                names of what is missing.

        Raises:
            CandlewickError: when an argument is not allowed, or there is no broker.
        """
        from candlewick.recording.cross_sections import Sections

        selection, span = Selection.of(market, symbols, interval), checked_span(start, None)
        chosen, beginning = self._one_market(selection), self._beginning(selection, span)
        assert selection.interval is not None  # noqa: S101 # it was given
        open_ms = selection.interval.floor(beginning.time_ms)
        if open_ms < beginning.time_ms and beginning.is_open:
            open_ms = selection.interval.end(open_ms)
        feed = self._feed(chosen, selection, Delivered(beginning))
        clock = self.clock(chosen)
        sections = Sections(selection.interval, selection.interval.end(open_ms), round(deadline * 1000), clock)
        return (section for batch in feed.batches() for section in sections.take(batch))

    def replay(
        self,
        market: Names = None,
        symbols: Names = None,
        interval: str | None = None,
        start: Time = None,
        end: Time = None,
        *,
        speed: float | None = None,
        gaps: bool = False,
        stored_only: bool = False,
    ) -> "Replay":
        """What was recorded of any number of series, once more, in one order of close times; memory stays flat.

        Example:
            >>> for candle in rec.replay("usdt_futures", "*USDT", "1m", "2024-06-01", "2024-07-01"):
            ...     print(candle.symbol, candle.candle_end_time, candle.close)

        Args:
            market: one market, several, or all by default.
            symbols: a name, a pattern such as ``*USDT``, several of them, or all by default.
            interval: one interval, or all by default.
            start: first open time.
            end: open time to stop before; by default what is published now.
            speed: seconds of the past a second, such as 1 or 60; None: as fast as they are taken.
            gaps: also give a ``Gap`` before each candle that others are missing before.
            stored_only: leave out what is not on disk yet.

        Raises:
            CandlewickError: when an argument is not allowed, names what was never recorded, or a file is damaged.
        """
        from candlewick.recording.replay import Replay

        selection, span = Selection.of(market, symbols, interval), checked_span(start, end)
        if speed is not None and not 0 < speed <= _MAX_SPEED:
            raise CandlewickError(f"speed {speed} is not a number above 0 and up to {_MAX_SPEED:,}")
        reader = self._reader(selection, stored_only=stored_only)
        return Replay(reader, dict.fromkeys(self._chosen(reader, selection), span), speed, with_gaps=gaps)

    def klines(
        self,
        market: Names = None,
        symbols: Names = None,
        interval: str | None = None,
        start: Time = None,
        end: Time = None,
    ) -> "RecordingKlines":
        """What ``replay`` would hand out, for a server that speaks the exchange's frames (``simulator``)."""
        from candlewick.recording.in_order import edges_of
        from candlewick.recording.klines import RecordingKlines

        selection, span = Selection.of(market, symbols, interval), checked_span(start, end)
        reader = self._reader(selection)
        wanted = dict.fromkeys(self._chosen(reader, selection), span)
        edges = edges_of(reader, wanted)
        if edges is None:
            raise CandlewickError("nothing was recorded in that time")
        first_ms = min(one.interval.floor(edges.begin_ms) for one in wanted)  # they may open before they end
        return RecordingKlines(reader, wanted, edges._replace(begin_ms=first_ms))
