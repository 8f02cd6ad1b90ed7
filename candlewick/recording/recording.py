"""The recording: one object that is asked for everything that was recorded, and is being recorded now."""

import threading
import warnings
from collections.abc import Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

import numpy as np
import pyarrow as pa
from redis.exceptions import RedisError

from candlewick.recording.joined import JoinedReader
from candlewick.recording.listing import gap_table, series_table
from candlewick.recording.query import (
    DROP,
    MARK,
    Names,
    Selection,
    Time,
    checked_incomplete,
    checked_span,
    checked_target,
)
from candlewick.recording.resample import Resampled, Target, resample, resample_parts
from candlewick.recording.tables import COMPLETE_COLUMN, checked_columns, hand_over, labelled, long_table, wide_table
from consumer.dataset.dataset import Dataset
from consumer.group.unstored import UnstoredEntries
from consumer.storage.table import INDEX_COLUMN, TIME_COLUMN, Rows, arrow_table
from shared.broker.client import CONNECTION_ERRORS, SyncClient, broker_name, sync_client
from shared.broker.keys import Keys
from shared.broker.sources import sources_of
from shared.candle import Series
from shared.errors import CandlewickError, SourceError
from shared.market import Market
from shared.settings.load import load_settings
from shared.settings.model import Settings
from shared.source import shown
from shared.spans import Span
from shared.text import counted

Engine = Literal["pandas", "polars", "arrow", "duckdb"]
Incomplete = Literal["drop", "mark", "keep"]


class StoredOnlyWarning(UserWarning):
    """The broker does not answer: what is published and not stored yet, a few seconds' candles, is not read."""


def open_recording(
    data: str | Path | None = None, broker: str | None = None, config: str | Path | None = None
) -> "Recording":
    """The recording of a data folder and its broker.

    Example:
        >>> rec = candlewick.open()
        >>> rec.read("usdt_futures", "BTCUSDT", "1m", start="2024-06-30")

    Args:
        data: data folder; by default the settings'.
        broker: its broker's URL; by default the settings', or the embedded one in the data folder. An empty text: none,
            only what is stored is read.
        config: settings file; ``candlewick.toml`` by default.

    Raises:
        CandlewickError: when the settings cannot be read.
    """
    return Recording(recording_settings(data, broker, config), stored_only=broker == "")  # not None


def recording_settings(
    data: str | Path | None = None, broker: str | None = None, config: str | Path | None = None
) -> Settings:
    """The settings that ``open_recording`` goes by: a folder that is not the settings' own has a broker of its own."""
    file = None if config is None else Path(config)
    settings, changes = load_settings(file), dict[str, dict[str, Any]]()
    if data is not None:
        changes["data"] = {"folder": Path(data)}
    if broker is not None or (data is not None and Path(data).resolve() != settings.data.folder.resolve()):
        changes["broker"] = {"url": broker or ""}
    return load_settings(file, changes)


class Recording:
    """What was recorded, and is being recorded: read it, follow it, replay it.

    Reading joins stream and store: a candle is there as soon as it is published, and once. Without a broker only what
    is stored is read, and a ``StoredOnlyWarning`` says so. Safe to share between threads; closing it is a courtesy.

    Attributes:
        settings: where data folder and broker are.
    """

    def __init__(self, settings: Settings, *, stored_only: bool = False) -> None:
        self.settings = settings
        self._dataset = Dataset.in_folder(settings.data.folder)
        self._keys = Keys(settings.broker.prefix)
        self._client: SyncClient | None = None if stored_only else sync_client(settings)
        self._unstored: dict[Market, UnstoredEntries] = {}
        self._has_warned = False
        self._mutex = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection to the broker."""
        if self._client is not None:
            self._client.close()

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
        question = _Question(reader, span, names, tail, target, incomplete, in_parts)
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

    def source(self, market: Market) -> str:
        """Which exchange a market's candles come from; an empty text for Binance."""
        return shown(self._dataset.sources(market))

    def _chosen(self, reader: JoinedReader, selection: Selection) -> list[Series]:
        if selection.is_one and selection.interval is not None:
            return [Series(selection.markets[0], selection.symbols[0], selection.interval)]
        self._dataset.check_exists()
        return selection.of_those(reader.series(), str(self.settings.data.folder))

    def _reader(self, selection: Selection, *, stored_only: bool = False) -> JoinedReader:
        """The dataset, and what is published besides in the selection's markets; the broker is asked now."""
        found: dict[Market, UnstoredEntries] = {}
        if self._client is not None and not stored_only:
            try:
                for market in selection.markets or Market:
                    self._check_source(self._client, market)
                    found[market] = self._entries(self._client, market)
                    found[market].look()
                self._has_warned = False
            except (RedisError, *CONNECTION_ERRORS) as error:
                self._dataset.check_exists()
                found = {}
                self._warn(error)
        return JoinedReader(self._dataset, found)

    def _entries(self, client: SyncClient, market: Market) -> UnstoredEntries:
        with self._mutex:
            new = UnstoredEntries(client, self._keys, market, self.settings.writer.group)
            return self._unstored.setdefault(market, new)

    def _check_source(self, client: SyncClient, market: Market) -> None:
        """Candles of two exchanges never mix unnoticed, in what is read as in what is stored."""
        stored, published = self._dataset.sources(market), sources_of(client, self._keys, market)
        if stored and published and not set(stored) & set(published):
            raise SourceError(
                f"{self.settings.data.folder} has candles of {market} from {' and '.join(stored)}, and "
                f"{broker_name(self.settings)} those from {' and '.join(published)}: this is another recording's broker"
            )

    def _warn(self, error: BaseException) -> None:
        if not self._has_warned:
            self._has_warned = True
            reason = f"does not answer ({error})" if self.settings.broker.url else "does not run"
            text = f"{broker_name(self.settings)} {reason}: stored candles only"
            warnings.warn(text, StoredOnlyWarning, stacklevel=4)


class _Question:
    """How each series is read."""

    def __init__(
        self,
        reader: JoinedReader,
        span: Span,
        names: Sequence[str],
        tail: int | None,
        target: Target | None,
        incomplete: str,
        in_parts: bool,
    ) -> None:
        self._reader = reader
        self._span = span
        self._names = names
        self._tail = tail
        self._target = target
        self._incomplete = incomplete
        self._in_parts = in_parts

    def tables(self, series: Series) -> Iterator[pa.Table]:
        """A series' tables, one at least."""
        if self._target is not None:
            yield from map(self._table, self._resampled(series, self._target))
        elif self._tail is not None:
            rows = self._reader.last_rows(series, self._tail, *self._span)
            yield arrow_table(rows, Target(series.interval).ends(rows.times)).select([*_TIMES, *self._names])
        elif self._in_parts:
            yield from self._reader.tables(series, *self._span, self._names)
        else:
            yield self._reader.table(series, *self._span, self._names)

    def _resampled(self, series: Series, target: Target) -> Iterator[Resampled]:
        target.check(series.interval)
        metadata = self._reader.metadata(series)
        span = Span(_moved(target.ceil, self._span.begin_ms), _moved(target.ceil, self._span.end_ms))
        if self._tail is not None:
            count = (self._tail + 2) * (target.interval.typical_ms * 2 // series.interval.typical_ms)
            rows = self._reader.last_rows(series, count, *span)
            made = resample(rows, series.interval, target, metadata.absent)
            kept = made.is_complete if self._incomplete == DROP else np.ones(len(made.rows), np.bool_)
            yield _last(_only(made, kept), self._tail)
        elif self._in_parts:
            parts = self._reader.parts(series, *span)
            yield from resample_parts(parts, series.interval, target, metadata.absent)
        else:
            yield resample(self._reader.rows(series, *span), series.interval, target, metadata.absent)

    def _table(self, made: Resampled) -> pa.Table:
        assert self._target is not None  # noqa: S101 # it is what was made
        if self._incomplete == DROP:
            made = _only(made, made.is_complete)
        table = arrow_table(made.rows, self._target.ends(made.rows.times)).select([*_TIMES, *self._names])
        return table.append_column(COMPLETE_COLUMN, pa.array(made.is_complete)) if self._incomplete == MARK else table


_TIMES = (INDEX_COLUMN, TIME_COLUMN)


def _only(made: Resampled, kept: "np.ndarray[Any, np.dtype[np.bool_]]") -> Resampled:
    return Resampled(Rows(made.rows.times[kept], made.rows.values[:, kept]), made.is_complete[kept])


def _last(made: Resampled, count: int) -> Resampled:
    return Resampled(made.rows.last(count), made.is_complete[-count:])


def _moved(move: Any, time_ms: int) -> int:
    """A time moved to a candle's open time, where there is any time at all."""
    return time_ms if abs(time_ms) >= _NO_TIME_MS else int(move(time_ms))


_NO_TIME_MS = 2**62
