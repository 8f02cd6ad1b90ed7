"""The recording: one object that is asked for everything that was recorded, and is being recorded now."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import timedelta
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pyarrow as pa

from candlewick.recording.again import Again
from candlewick.recording.query import (
    Names,
    Selection,
    Time,
    checked_incomplete,
    checked_span,
    checked_target,
)
from candlewick.recording.question import Question
from candlewick.recording.resample import Target
from candlewick.recording.tables import checked_columns, hand_over, labelled, long_table, wide_table
from shared.broker.address import broker_name
from shared.candle import Series
from shared.errors import CandlewickError
from shared.market import Market
from shared.source import Sources, shown
from shared.spans import Span
from shared.text import counted

if TYPE_CHECKING:
    from candlewick.recording.export import Exported
    from consumer.dataset.survey import Surveyed

Engine = Literal["pandas", "polars", "arrow", "duckdb"]
Incomplete = Literal["drop", "mark", "keep"]


class Recording(Again):
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
        live = "stored candles only" if self._stored_only or self._has_warned else broker_name(self.settings)
        return f"<Recording {self.settings.store_name}: {counted(len(series), 'series', 'series')} ({counts}); {live}>"

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
        from candlewick.recording.listing import series_table

        found = self.survey(market, symbols, interval, stored_only=stored_only)
        return hand_over(series_table(self._dataset, found), engine)

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
        chosen, tables = self._asked(
            Selection.of(market, symbols, interval),
            checked_span(start, end),
            names,
            tail,
            checked_target(resample, offset),
            incomplete,
            in_parts=False,
            stored_only=stored_only,
        )
        blocks = list(chain.from_iterable(map(tables, chosen)))
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
    ) -> Iterator[tuple[Series, pa.Table]]:
        """``read`` as Arrow tables, a partition of a series at a time, for more of them than memory should hold.

        All have one schema, and every series has one table at least. Arguments are ``read``'s.
        """
        chosen, tables = self._asked(
            Selection.of(market, symbols, interval),
            checked_span(start, end),
            checked_columns(columns),
            tail,
            checked_target(resample, offset),
            incomplete,
            in_parts=True,
            stored_only=stored_only,
        )
        return chain.from_iterable(map(tables, chosen))

    def _asked(
        self,
        selection: Selection,
        span: Span,
        columns: Sequence[str],
        tail: int | None,
        target: Target | None,
        incomplete: str,
        *,
        in_parts: bool,
        stored_only: bool,
    ) -> tuple[list[Series], Callable[[Series], Iterator[tuple[Series, pa.Table]]]]:
        """The series that are meant, and what gives the tables of each."""
        if tail is not None and tail < 1:
            raise CandlewickError(f"tail {tail} is not a number of candles from 1 on")
        if target is not None and selection.interval is not None:
            target.check(selection.interval)
        reader = self._reader(selection, stored_only=stored_only)
        question = Question(reader, span, columns, tail, target, checked_incomplete(incomplete), in_parts)
        with_market, with_symbol = len(selection.markets) != 1, not selection.is_one

        def tables(series: Series) -> Iterator[tuple[Series, pa.Table]]:
            for table in question.tables(series):
                yield series, labelled(table, series, with_market=with_market, with_symbol=with_symbol)

        return self._chosen(reader, selection), tables

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
        from candlewick.recording.listing import gap_table

        found = self.survey(market, symbols, interval, start, end, stored_only=stored_only)
        return hand_over(gap_table(found), engine)

    def survey(
        self,
        market: Names = None,
        symbols: Names = None,
        interval: str | None = None,
        start: Time = None,
        end: Time = None,
        *,
        stored_only: bool = False,
        times_ms: Mapping[Market, int] | None = None,
    ) -> "Iterator[Surveyed]":
        """How the candles of each series stand, one series after the other: what ``series`` and ``gaps`` tell of.

        ``times_ms`` are the markets' times in UTC ms, up to which candles are expected; by default each market's is its
        newest candle's end, for which every series of it is looked at. Other arguments are those of ``read``.
        """
        from candlewick.recording.listing import surveyed

        selection, span = Selection.of(market, symbols, interval), checked_span(start, end)
        reader = self._reader(selection, stored_only=stored_only)
        return surveyed(reader, self._chosen(reader, selection), span, self.settings.repair, times_ms)

    def export(
        self,
        folder: str | Path,
        market: Names = None,
        symbols: Names = None,
        interval: str | None = None,
        start: Time = None,
        end: Time = None,
        *,
        layout: str = "hive",
        stored_only: bool = False,
    ) -> "Iterator[Exported]":
        """Write series as other tools keep candles, a series a step, in place of an earlier export.

        Args:
            folder: where to.
            market: one market, several, or all by default.
            symbols: a name, a pattern such as ``*USDT``, several of them, or all by default.
            interval: one interval, or all by default.
            start: first open time.
            end: open time to stop before.
            layout: ``single``, ``freqtrade``, ``nautilus`` or ``hive`` (``candlewick.recording.layouts``).
            stored_only: leave out what is not on disk yet.

        Yields:
            For each series how many rows were written, or why not. Nothing is written until this is iterated over.

        Raises:
            CandlewickError: when an argument is not allowed, or names what was never recorded.
        """
        from candlewick.recording.export import exported
        from candlewick.recording.layouts import LAYOUTS

        selection, span = Selection.of(market, symbols, interval), checked_span(start, end)
        if layout not in LAYOUTS:
            raise CandlewickError(f"layout {layout!r} is not known: {', '.join(LAYOUTS)}")
        reader = self._reader(selection, stored_only=stored_only)
        chosen = self._chosen(reader, selection)
        return (exported(LAYOUTS[layout], Path(folder), series, reader, span, len(chosen)) for series in chosen)

    def source(self, market: Market) -> str:
        """Which exchange a market's candles come from; an empty text for Binance."""
        return shown(self._dataset.sources(market))

    def sources(self) -> dict[Market, Sources]:
        """The same for all markets, by their names; empty for a market that nothing was recorded of."""
        return {market: self._dataset.sources(market) for market in Market}
