"""Stored rows beside those of REST or of the archive: what differs, and which rows only one side has.

Everything that an audit covers is fetched again, a page or a file at a time, and compared value by value as the
float64 that both become. Nothing is changed, unless it is asked for that their values take the place of ours.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from candlewick.backfill.archive_format import ArchiveFile, read_archive
from candlewick.backfill.archives import Archive, open_archive
from candlewick.backfill.backfill import note_source
from candlewick.backfill.patient_rest import PatientRest
from consumer.dataset.audit import SeriesAudit
from consumer.dataset.dataset import Dataset
from consumer.storage.candle_store import CandleStore
from consumer.storage.table import EMPTY, VALUE_COLUMNS, Rows, rows_from_candles
from producers.exchange.page import next_page
from shared.candle import Series
from shared.errors import ArchiveError, ArchiveUnreachableError, RestRefusedError, RestUnavailableError, StoreError
from shared.interval import DAY_MS, Interval
from shared.settings.model import Settings
from shared.spans import Span, Spans

DEFAULT_ARCHIVE = "https://data.binance.vision"
_MAX_NAMED = 1000


class Difference(NamedTuple):
    """One value that is not the same: in which row (open time, UTC ms) and column, here and there."""

    open_time_ms: int
    column: str
    stored: float
    theirs: float


@dataclass(slots=True)
class Comparison:
    """What a comparison found of one series.

    Attributes:
        compared: rows that both have.
        different: rows of these that are not the same.
        only_here: how many rows the other side does not have.
        only_there: how many rows are not stored.
        named_here: open times (UTC ms) of the first thousand rows that only we have.
        named_there: the same of those that only the other side has.
        corrected: rows of ours that took the other side's values.
        differences: values that differ, of the first thousand rows at most.
        troubles: why something could not be compared.
    """

    series: Series
    compared: int = 0
    different: int = 0
    only_here: int = 0
    only_there: int = 0
    named_here: list[int] = field(default_factory=list)
    named_there: list[int] = field(default_factory=list)
    corrected: int = 0
    differences: list[Difference] = field(default_factory=list)
    troubles: list[str] = field(default_factory=list)

    @property
    def is_good(self) -> bool:
        """Whether everything could be compared, and nothing differs any more."""
        return not (self.different - self.corrected or self.only_here or self.only_there or self.troubles)


def compare(
    settings: Settings, audits: Sequence[SeriesAudit], against: str, candles: CandleStore | None = None
) -> list[Comparison]:
    """Compare what was audited with ``rest``, ``archive`` (Binance's own), or an archive's address or folder.

    Where values differ, theirs are stored if ``candles`` is given. CandlewickError when ``against`` cannot be an
    archive, StoreError when the disk refuses.
    """
    return asyncio.run(_compare_all(settings, audits, against, candles))


async def _compare_all(
    settings: Settings, audits: Sequence[SeriesAudit], against: str, candles: CandleStore | None
) -> list[Comparison]:
    archive: Archive | None = None
    if against != "rest":
        place = DEFAULT_ARCHIVE if against == "archive" else against
        archive = open_archive(place, settings.exchange, unverified=False)
    dataset, found = Dataset.of(settings), []
    try:
        for audit in audits:
            comparison = Comparison(audit.series)
            try:
                for part in audit.parts:
                    rest = _from_rest(settings, part, comparison)
                    pieces = rest if archive is None else _from_archive(archive, part, comparison)
                    async for covered, theirs in pieces:
                        ours = _stored(dataset, audit.series, covered)
                        unlike = _compare(ours, theirs, audit.judged_ms, comparison)
                        if candles is not None and len(unlike):
                            note_source(settings, candles, audit.series.market)
                            await asyncio.to_thread(candles.write_rows, audit.series, unlike, overrides=True)
                            comparison.corrected += len(unlike)
            except StoreError as error:
                comparison.troubles.append(str(error))
            found.append(comparison)
    finally:
        if archive is not None:
            await archive.close()
    return found


def _stored(dataset: Dataset, series: Series, span: Span) -> Rows:
    """Rows of a series; none of one that was never stored."""
    return dataset.rows(series, *span) if dataset.partitions(series) else EMPTY


async def _from_rest(settings: Settings, span: Span, comparison: Comparison) -> AsyncIterator[tuple[Span, Rows]]:
    """The exchange's rows, page by page, each with the times that it speaks for."""
    series = comparison.series
    rest = PatientRest(series.market, settings)
    try:
        rest.set_time(await rest.time_ms())
        at, end_ms = span.begin_ms, min(span.end_ms, rest.closed_before_ms)
        while at < end_ms:
            answer = await rest.klines(series, next_page(series, at, end_ms))
            covered_ms = max(min(answer.covered_to_ms, end_ms), series.interval.end(at))
            yield Span(at, covered_ms), rows_from_candles(answer.candles).rows.between(at, covered_ms)
            at = covered_ms
    except (RestUnavailableError, RestRefusedError) as error:
        comparison.troubles.append(f"REST: {error}")
    finally:
        await rest.close()


async def _from_archive(archive: Archive, span: Span, comparison: Comparison) -> AsyncIterator[tuple[Span, Rows]]:
    """The archive's rows, month by month, and day by day where there is no month."""
    at = span.begin_ms
    while at < span.end_ms:
        month = ArchiveFile.month(comparison.series, at)
        known = Spans()
        for file in month.with_days():
            if file.end_ms <= span.begin_ms or file.begin_ms >= span.end_ms or file.begin_ms in known:
                continue
            try:
                content = await archive.get(file)
                if content is None:
                    continue
                archived = read_archive(file, content.content)
            except (ArchiveError, ArchiveUnreachableError) as error:
                comparison.troubles.append(str(error))
                continue
            comparison.troubles += [f"{content.where}: {remark}" for remark in archived.remarks]
            known.add(file.begin_ms, file.end_ms)
            covered = Span(max(file.begin_ms, span.begin_ms), min(file.end_ms, span.end_ms))
            yield covered, archived.rows.between(*covered)
        unknown = known.gaps(max(at, span.begin_ms), min(month.end_ms, span.end_ms))
        if unknown and comparison.series.interval.typical_ms <= DAY_MS:
            days_without = sum(-(-(end - begin) // DAY_MS) for begin, end in unknown)
            comparison.troubles.append(f"the archive has nothing of {days_without} days of {month.name}")
        at = Interval.MONTH.end(month.begin_ms)


def _compare(ours: Rows, theirs: Rows, judged_ms: int, comparison: Comparison) -> Rows:
    """Compare one piece; their rows that are not as ours. Rows of theirs from ``judged_ms`` on may still come here."""
    _, here, there = np.intersect1d(ours.times, theirs.times, assume_unique=True, return_indices=True)
    unlike = ours.values[:, here] != theirs.values[:, there]
    comparison.compared += len(here)
    only_here, only_there = np.delete(ours.times, here), np.delete(theirs.times, there)
    only_there = only_there[only_there < judged_ms]
    comparison.only_here += len(only_here)
    comparison.only_there += len(only_there)
    comparison.named_here += only_here[: _MAX_NAMED - len(comparison.named_here)].tolist()
    comparison.named_there += only_there[: _MAX_NAMED - len(comparison.named_there)].tolist()
    rows = np.flatnonzero(unlike.any(axis=0))
    comparison.different += len(rows)
    for row in rows[: max(0, _MAX_NAMED - len(comparison.differences))]:
        for column in np.flatnonzero(unlike[:, row]):
            stored, other = float(ours.values[column, here[row]]), float(theirs.values[column, there[row]])
            name, time_ms = VALUE_COLUMNS[column], int(ours.times[here[row]])
            comparison.differences.append(Difference(time_ms, name, stored, other))
    return Rows(theirs.times[there[rows]], theirs.values[:, there[rows]])
