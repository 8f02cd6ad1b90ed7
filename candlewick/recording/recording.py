"""The recording: one object that is asked for everything that was recorded, and is being recorded now."""

from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import Any, Literal

import pyarrow as pa

from candlewick.recording.cross_sections import CrossSection, Sections
from candlewick.recording.delivered import Delivered
from candlewick.recording.follow import Follow
from candlewick.recording.follower_state import FollowerState
from candlewick.recording.listing import gap_table, series_table
from candlewick.recording.live_access import LiveAccess
from candlewick.recording.query import (
    Names,
    Selection,
    Time,
    checked_incomplete,
    checked_name,
    checked_span,
    checked_target,
)
from candlewick.recording.question import Question
from candlewick.recording.tables import checked_columns, hand_over, labelled, long_table, wide_table
from shared.broker.client import broker_name
from shared.candle import Series
from shared.errors import CandlewickError
from shared.market import Market
from shared.source import shown
from shared.text import counted

Engine = Literal["pandas", "polars", "arrow", "duckdb"]
Incomplete = Literal["drop", "mark", "keep"]


class Recording(LiveAccess):
    """What was recorded, and is being recorded: read it, follow it, replay it.

    Reading joins stream and store: a candle is there as soon as it is published, and once. Without a broker only what
    is stored is read, and a ``StoredOnlyWarning`` says so. Safe to share between threads; closing it is a courtesy.

    Attributes:
        settings: where data folder and broker are.
    """

    def __repr__(self) -> str:
        series = self._reader(Selection()).series()
        each = [(market, sum(1 for one in series if one.market is market)) for market in Market]
        counts = ", ".join(f"{count} of {market}" for market, count in each if count)
        live = "stored candles only" if self._client is None or self._has_warned else broker_name(self.settings)
        return f"<Recording {self.settings.data.folder}: {counted(len(series), 'series', 'series')} ({counts}); {live}>"

    def series(
        self,
        market: Names = None,
        symbols: Names = None,
        interval: str | None = None,
        *,
        engine: Engine = "pandas",
        stored_only: bool = False,
    ) -> Any:
        """Every series, a row each, with what is there of it.

        Columns: ``market symbol interval``; ``first``, the first candle's begin, and ``last``, the newest one's end;
        ``rows``; ``absent``, candles that the exchange does not have; ``missing``, those that are due and not here;
        ``source``, which exchange they come from; ``state``: recorded, fetched, ended and why, or what is wrong.

        Args:
            market: one market, several, or all by default.
            symbols: a name, a pattern such as ``*USDT``, several of them, or all by default.
            interval: one interval, or all by default.
            engine: ``pandas``, ``polars``, ``arrow`` or ``duckdb``.
            stored_only: leave out what is not on disk yet.

        Raises:
            CandlewickError: when an argument is not allowed, or names what was never recorded.
        """
        selection = Selection.of(market, symbols, interval)
        reader = self._reader(selection, stored_only=stored_only)
        return hand_over(series_table(reader, self._chosen(reader, selection), self.settings.repair), engine)

    def read(
        self,
        market: Names,
        symbols: Names = None,
        interval: str = "1m",
        start: Time = None,
        end: Time = None,
        *,
        columns: str | Sequence[str] | None = None,
        tail: int | None = None,
        wide: bool = False,
        resample: str | None = None,
        offset: str | timedelta | None = None,
        incomplete: Incomplete = "drop",
        engine: Engine = "pandas",
        stored_only: bool = False,
    ) -> Any:
        """Candles of one series, of several, or of all.

        The index is ``candle_end_time`` (UTC); the columns are ``candle_begin_time`` and, as float64, those of
        ``columns``. One symbol of one market: ascending and unique. Otherwise *long*: each series one after the other,
        with a column ``symbol``, and one ``market`` where not one market was named.

        Args:
            market: one market, several, or None for all.
            symbols: a name, a pattern such as ``*USDT``, several of them, or all by default.
            interval: of the candles that were recorded, such as ``1m``.
            start: first open time; without a zone it is UTC.
            end: open time to stop before.
            columns: which values; all nine by default. No others are read from the files.
            tail: only the last so many of each series.
            wide: one column (``close`` by default) of all symbols side by side: close times × symbols.
            resample: make candles of this longer interval, as the exchange aligns them; exact in all columns.
            offset: by how much their open times are moved, such as ``30min``.
            incomplete: what to do with candles of which a part is missing, such as the newest one that still grows:
                ``drop`` them, ``mark`` them in a column ``complete``, or ``keep`` them.
            engine: ``pandas``, ``polars``, ``arrow`` or ``duckdb``; Arrow and the others have no index, but a column.
            stored_only: leave out what is not on disk yet.

        Raises:
            CandlewickError: when an argument is not allowed, a series was never recorded, or a file is damaged.
        """
        names = checked_columns(columns if columns is not None or not wide else "close")
        if wide and len(names) != 1:
            raise CandlewickError(f"wide shows one column, not {len(names)}: name it with columns=")
        blocks = list(
            self.blocks(
                market,
                symbols,
                interval,
                start,
                end,
                columns=names,
                tail=tail,
                resample=resample,
                offset=offset,
                incomplete=incomplete,
                stored_only=stored_only,
                in_parts=False,
            )
        )
        if not wide:
            return hand_over(long_table(table for _, table in blocks), engine)
        if len({series.market for series, _ in blocks}) > 1:
            raise CandlewickError("wide shows one market: the same symbol may be in several")
        return hand_over(wide_table(dict(blocks), *names), engine)

    def blocks(
        self,
        market: Names,
        symbols: Names = None,
        interval: str = "1m",
        start: Time = None,
        end: Time = None,
        *,
        columns: str | Sequence[str] | None = None,
        tail: int | None = None,
        resample: str | None = None,
        offset: str | timedelta | None = None,
        incomplete: Incomplete = "drop",
        stored_only: bool = False,
        in_parts: bool = True,
    ) -> Iterator[tuple[Series, pa.Table]]:
        """``read`` as Arrow tables, a partition of a series at a time, for more of them than memory should hold.

        All have one schema, and every series has one table at least. Arguments are ``read``'s; ``in_parts`` may be
        False for a table a series.
        """
        selection, span = Selection.of(market, symbols, interval), checked_span(start, end)
        target, names = checked_target(resample, offset), checked_columns(columns)
        checked_incomplete(incomplete)
        if tail is not None and tail < 1:
            raise CandlewickError(f"tail {tail} is not a number of candles from 1 on")
        if target is not None and selection.interval is not None:
            target.check(selection.interval)
        reader = self._reader(selection, stored_only=stored_only)
        chosen = self._chosen(reader, selection)
        question = Question(reader, span, names, tail, target, incomplete, in_parts)
        with_market, with_symbol = len(selection.markets) != 1, not selection.is_one
        return (
            (series, labelled(table, series, with_market=with_market, with_symbol=with_symbol))
            for series in chosen
            for table in question.tables(series)
        )

    def gaps(
        self,
        market: Names = None,
        symbols: Names = None,
        interval: str | None = None,
        start: Time = None,
        end: Time = None,
        *,
        engine: Engine = "pandas",
        stored_only: bool = False,
    ) -> Any:
        """What is not there, a row a range: ``market symbol interval begin end candles kind reason``.

        ``kind`` is ``missing`` (due, and not here), ``due`` (it may still be on its way) or ``absent`` (the exchange
        does not have it). Arguments are those of ``read`` and ``series``.
        """
        selection, span = Selection.of(market, symbols, interval), checked_span(start, end)
        reader = self._reader(selection, stored_only=stored_only)
        return hand_over(gap_table(reader, self._chosen(reader, selection), span, self.settings.repair), engine)

    def follow(
        self,
        market: str,
        symbols: Names = None,
        interval: str | None = None,
        start: Time = None,
        *,
        name: str | None = None,
    ) -> Follow:
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
        selection, span = Selection.of(market, symbols, interval), checked_span(start, None)
        chosen = self._one_market(selection)
        state = None
        if name is not None:
            with self._answering():
                state = FollowerState(self.settings, self._broker(), chosen, checked_name(name))
        delivered = None if state is None else state.delivered
        if delivered is None:
            delivered = Delivered(self._beginning(selection, span))
            if state is not None:
                state.begin(delivered.beginning)
        return Follow(self._feed(chosen, selection, delivered), state)

    def cross_sections(
        self, market: str, symbols: Names = None, interval: str = "1m", start: Time = None, *, deadline: float = 30.0
    ) -> Iterator[CrossSection]:
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

    def source(self, market: Market) -> str:
        """Which exchange a market's candles come from; an empty text for Binance."""
        return shown(self._dataset.sources(market))
