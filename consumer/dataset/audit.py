"""The completeness ledger, reckoned anew: what is expected of a series, what is stored, what is missing.

An audit reads the Parquet files themselves, partition by partition, and no memory of what was written. Beside them it
takes the series' metadata: since when it is recorded, what the exchange never had, where it ended.
Every open time from the beginning to the end of the audited range is *stored*, *absent* or *missing*; and every row
that is stored is looked at: prices that cannot be, times off the grid, rows in a file that they do not belong in.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from consumer.dataset.figures import stored_edges
from consumer.storage.durable import read_partition_and_ends
from consumer.storage.layout import partition_span, series_folder
from consumer.storage.metadata import SeriesLedger
from consumer.storage.table import VALUE_COLUMNS, Rows, runs
from shared.candle import Series
from shared.errors import StoreError
from shared.interval import DAY_MS, Interval, utc
from shared.spans import Span, Spans

_ALWAYS_MS = 2**62
_MOST_WRONG = 1000  # rows named one by one; beyond it they are only counted


@dataclass(frozen=True, slots=True)
class DayAudit:
    """One day of a series, by the candles' open times, in candles; expected are all others together."""

    day: str
    expected: int
    stored: int
    absent: int
    due: int
    missing: int


@dataclass(frozen=True, slots=True)
class WrongRow:
    """A stored row that cannot be right: its open time (UTC ms), and why."""

    open_time_ms: int
    reason: str


@dataclass(slots=True)
class SeriesAudit:
    """What an audit found of one series.

    Attributes:
        series: which.
        from_ms: first open time that is expected.
        to_ms: open time from which nothing is expected, or not yet.
        expected: open times in between.
        stored: those that are on disk.
        absent: those that the exchange does not have.
        due: those that may still come by themselves: younger than what repair is given.
        missing: all others.
        gaps: what is missing, as ranges of open times, ascending.
        days: the same by day; days without anything expected are left out.
        wrong: rows that cannot be right, at most the first thousand.
        wrong_rows: how many of them there are.
        errors: files that cannot be read.
        ended: why the series ended; None while it is recorded.
    """

    series: Series
    from_ms: int
    to_ms: int
    expected: int = 0
    stored: int = 0
    absent: int = 0
    due: int = 0
    missing: int = 0
    gaps: list[Span] = field(default_factory=list)
    days: list[DayAudit] = field(default_factory=list)
    wrong: list[WrongRow] = field(default_factory=list)
    wrong_rows: int = 0
    errors: list[str] = field(default_factory=list)
    ended: str | None = None

    @property
    def is_good(self) -> bool:
        """Whether nothing is missing, nothing wrong, nothing unreadable."""
        return not (self.missing or self.wrong_rows or self.errors)


def audit_series(
    root: Path,
    series: Series,
    notes: SeriesLedger,
    start_ms: int | None = None,
    end_ms: int | None = None,
    market_ms: int | None = None,
    due_ms: int = 0,
) -> SeriesAudit:
    """Audit one series.

    Args:
        root: the dataset.
        series: which.
        notes: what the ledger knows of it.
        start_ms: audit what opens then or later; None: from the beginning of recording.
        end_ms: audit what opens before; None: as far as ``market_ms``, or the series' end.
        market_ms: the market's time, to which a series that is being recorded is expected to reach; None or a series
            that is not being recorded: to its own newest candle.
        due_ms: what is not there and opens so shortly before ``market_ms`` is due, not missing; it plays no part when
            ``end_ms`` is given.

    Returns:
        What was found. The beginning is the earlier of the first stored candle and the beginning that was noted; what
        is audited is never outside of it and the series' end.
    """
    stored, found = Spans(), SeriesAudit(series, 0, 0)
    for rows in _partitions(root / series_folder(series), series, start_ms, end_ms, found):
        _note_wrong_rows(found, rows, series.interval, stored)
        for begin, end in runs(rows.times, series.interval):
            stored.add(begin, end)
    edges = stored_edges(root, series)
    first, newest = edges if edges is not None else (None, None)
    found.from_ms, found.to_ms = _range(series.interval, notes, first, newest, start_ms, end_ms, market_ms)
    found.ended = notes.reason if notes.end_ms is not None else None
    noted = notes.absent.between(found.from_ms, found.to_ms)
    absent = Spans(gap for span in noted for gap in stored.gaps(span.begin_ms, span.end_ms))
    settled = Spans([*stored, *absent])
    judged_ms = found.to_ms if end_ms is not None or market_ms is None else min(market_ms - due_ms, found.to_ms)
    judged_ms = max(series.interval.floor(judged_ms, found.from_ms), found.from_ms)
    found.gaps = settled.gaps(found.from_ms, judged_ms)
    due = Spans(settled.gaps(judged_ms, found.to_ms))
    found.days = list(_days(series.interval, found, stored, absent, due))
    for name in ("expected", "stored", "absent", "due", "missing"):
        setattr(found, name, sum(getattr(day, name) for day in found.days))
    return found


def _partitions(
    folder: Path, series: Series, start_ms: int | None, end_ms: int | None, found: SeriesAudit
) -> Iterator[Rows]:
    """Rows of each partition in the range, oldest first; what cannot be read is noted."""
    spans = {path: span for path in folder.iterdir() if (span := partition_span(path.name))} if folder.is_dir() else {}
    for path in sorted(spans, key=lambda path: spans[path]):
        begin, end = spans[path]
        if (end_ms is not None and begin >= end_ms) or (start_ms is not None and end <= start_ms):
            continue
        try:
            rows, ends = read_partition_and_ends(path)
        except (StoreError, OSError) as error:
            found.errors.append(str(error))
            continue
        for open_ms in rows.times[(rows.times < begin) | (rows.times >= end)]:
            _wrong(found, int(open_ms), f"does not belong in {path.name}")
        for index in np.flatnonzero(_ends(rows.times, series.interval) != ends):
            _wrong(found, int(rows.times[index]), f"its candle_end_time is {utc(int(ends[index]))}")
        yield rows.between(begin if start_ms is None else start_ms, _ALWAYS_MS if end_ms is None else end_ms)


def _note_wrong_rows(found: SeriesAudit, rows: Rows, interval: Interval, stored: Spans) -> None:
    """Rows whose values or times cannot be."""
    values = dict(zip(VALUE_COLUMNS, rows.values, strict=True))
    body_high = np.maximum(values["open"], values["close"])
    body_low = np.minimum(values["open"], values["close"])
    checks = {
        "a value is no number": ~np.isfinite(rows.values).all(axis=0),
        "a value is negative": (rows.values < 0).any(axis=0),
        "high is below low": values["high"] < values["low"],
        "high is below open or close": values["high"] < body_high,
        "low is above open or close": values["low"] > body_low,
        "takers bought more than was traded": (values["taker_buy_base_asset_volume"] > values["volume"])
        | (values["taker_buy_quote_asset_volume"] > values["quote_volume"]),
        "its number of trades is not whole": values["trade_num"] % 1 != 0,
        "its time is off the grid": _off_grid(rows.times, interval),
    }
    for reason, mask in checks.items():
        for index in np.flatnonzero(mask):
            _wrong(found, int(rows.times[index]), reason)
    for run in runs(rows.times, interval):
        for twice in stored.between(*run):
            _wrong(found, twice.begin_ms, f"is stored in two files, up to {utc(twice.end_ms)}")


def _wrong(found: SeriesAudit, open_time_ms: int, reason: str) -> None:
    found.wrong_rows += 1
    if len(found.wrong) < _MOST_WRONG:
        found.wrong.append(WrongRow(open_time_ms, reason))


def _off_grid(times: npt.NDArray[np.int64], interval: Interval) -> npt.NDArray[np.bool_]:
    if interval is Interval.MONTH:
        return np.array([not interval.is_open_time(int(time)) for time in times], bool)
    anchor = int(times[0]) if interval is Interval.D3 and len(times) else interval.floor(0)
    off: npt.NDArray[np.bool_] = (times - anchor) % interval.typical_ms != 0
    return off


def _ends(times: npt.NDArray[np.int64], interval: Interval) -> npt.NDArray[np.int64]:
    if interval is Interval.MONTH:
        return np.array([interval.end(int(time)) for time in times], np.int64)
    return times + interval.typical_ms


def _range(
    interval: Interval,
    notes: SeriesLedger,
    first: int | None,
    newest: int | None,
    start_ms: int | None,
    end_ms: int | None,
    market_ms: int | None,
) -> tuple[int, int]:
    """Which open times are expected: from the first to before the second."""
    begins = [time for time in (first, notes.began_ms) if time is not None]
    if not begins:
        return 0, 0
    begin = anchor = min(begins)
    if start_ms is not None and start_ms > begin:
        floor = interval.floor(start_ms, anchor)
        begin = floor if floor == start_ms else interval.end(floor)
    if notes.end_ms is not None:
        end = notes.end_ms
    elif notes.is_recorded:
        end = end_ms or market_ms or newest or begin
    else:
        end = newest or begin
    if end_ms is not None:
        end = min(end, end_ms)
    return begin, max(begin, interval.floor(end, anchor))  # a candle is expected when it has ended by then


def _days(interval: Interval, found: SeriesAudit, stored: Spans, absent: Spans, due: Spans) -> Iterator[DayAudit]:
    at = found.from_ms
    while at < found.to_ms:
        midnight = at - at % DAY_MS + DAY_MS
        following = at + interval.candles(at, min(midnight, found.to_ms)) * interval.typical_ms
        if interval is Interval.MONTH:
            following = interval.end(at)
        day_end = min(following, found.to_ms)
        here, never, coming = (_count_in(interval, spans, at, day_end) for spans in (stored, absent, due))
        expected = interval.candles(at, day_end)
        yield DayAudit(f"{utc(at):%Y-%m-%d}", expected, here, never, coming, expected - here - never - coming)
        at = following


def _count_in(interval: Interval, spans: Spans, begin_ms: int, end_ms: int) -> int:
    return sum(interval.candles(begin, end) for begin, end in spans.between(begin_ms, end_ms))
