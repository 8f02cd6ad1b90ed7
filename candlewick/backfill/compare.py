"""Stored rows beside those of REST or of the archive: what differs, and nothing is changed.

Everything that an audit covers is fetched again, a page or a file at a time, and compared value by value as the
float64 that both become. What is missing here is the audit's to say; rows that only we have are counted.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from candlewick.backfill.archive_format import ArchiveError, ArchiveFile, read_archive
from candlewick.backfill.archives import Archive, ArchiveUnreachableError, open_archive
from candlewick.backfill.patient_rest import Asker
from consumer.dataset.audit import SeriesAudit
from consumer.dataset.read import read_rows
from consumer.storage.table import VALUE_COLUMNS, Rows, rows_from_candles
from producers.exchange.page import next_page
from producers.exchange.rest import RestRefusedError, RestUnavailableError
from shared.candle import Series
from shared.interval import DAY_MS, Interval
from shared.settings.model import Settings
from shared.spans import Span, Spans

DEFAULT_ARCHIVE = "https://data.binance.vision"
_MOST_NAMED = 1000


@dataclass(frozen=True, slots=True)
class Difference:
    """One value that is not the same: in which row (open time, UTC ms) and column, here and there."""

    open_time_ms: int
    column: str
    stored: float
    theirs: float


@dataclass(slots=True)
class Comparison:
    """What a comparison found of one series.

    Attributes:
        series: which.
        compared: rows that both have.
        different: rows of these that are not the same.
        only_here: rows that the other side does not have.
        differences: values that differ, of the first thousand rows at most.
        troubles: why something could not be compared.
    """

    series: Series
    compared: int = 0
    different: int = 0
    only_here: int = 0
    differences: list[Difference] = field(default_factory=list)
    troubles: list[str] = field(default_factory=list)


def compare(settings: Settings, audits: Sequence[SeriesAudit], against: str) -> list[Comparison]:
    """Compare what was audited with another source.

    Args:
        settings: where the rows and the exchange are.
        audits: which series, each in its audited range.
        against: ``rest``; ``archive`` for Binance's own; or an archive's address or folder.

    Raises:
        CandlewickError: when the archive cannot be one.
    """
    return asyncio.run(_compare_all(settings, audits, against))


async def _compare_all(settings: Settings, audits: Sequence[SeriesAudit], against: str) -> list[Comparison]:
    archive: Archive | None = None
    if against != "rest":
        place = DEFAULT_ARCHIVE if against == "archive" else against
        archive = open_archive(place, settings.exchange.rest_timeout_seconds, unverified=False)
    found = []
    try:
        for audit in audits:
            comparison = Comparison(audit.series)
            span = Span(audit.from_ms, audit.to_ms)
            if archive is not None:
                pieces = _from_archive(archive, audit.series, span, comparison)
            else:
                pieces = _from_rest(settings, audit.series, span, comparison)
            async for covered, theirs in pieces:
                _compare(settings, audit.series, covered, theirs, comparison)
            found.append(comparison)
    finally:
        if archive is not None:
            await archive.close()
    return found


async def _from_rest(
    settings: Settings, series: Series, span: Span, comparison: Comparison
) -> AsyncIterator[tuple[Span, Rows]]:
    """The exchange's rows, page by page, each with the times that it speaks for."""
    asker = Asker(series.market, settings)
    try:
        asker.take_time(await asker.time_ms())
        at, end_ms = span.begin_ms, min(span.end_ms, asker.closed_before_ms)
        while at < end_ms:
            answer = await asker.klines(series, next_page(series, at, end_ms))
            covered_ms = max(min(answer.covered_to_ms, end_ms), series.interval.end(at))
            yield Span(at, covered_ms), rows_from_candles(answer.candles).rows.between(at, covered_ms)
            at = covered_ms
    except (RestUnavailableError, RestRefusedError) as error:
        comparison.troubles.append(f"REST: {error}")
    finally:
        await asker.close()


async def _from_archive(
    archive: Archive, series: Series, span: Span, comparison: Comparison
) -> AsyncIterator[tuple[Span, Rows]]:
    """The archive's rows, month by month, and day by day where there is no month."""
    at = span.begin_ms
    while at < span.end_ms:
        month = ArchiveFile.month(series, at)
        known = Spans()
        days = range(month.begin_ms, month.end_ms, DAY_MS) if series.interval.typical_ms <= DAY_MS else ()
        for file in (month, *(ArchiveFile.day(series, day_ms) for day_ms in days)):
            if file.end_ms <= span.begin_ms or file.begin_ms >= span.end_ms or file.begin_ms in known:
                continue
            try:
                content = await archive.get(file)
                if content is None:
                    continue
                rows = read_archive(file, content.content)
            except (ArchiveError, ArchiveUnreachableError) as error:
                comparison.troubles.append(str(error))
                continue
            known.add(file.begin_ms, file.end_ms)
            covered = Span(max(file.begin_ms, span.begin_ms), min(file.end_ms, span.end_ms))
            yield covered, rows.between(*covered)
        unknown = known.gaps(max(at, span.begin_ms), min(month.end_ms, span.end_ms))
        if unknown and series.interval.typical_ms <= DAY_MS:
            days_without = sum(-(-(end - begin) // DAY_MS) for begin, end in unknown)
            comparison.troubles.append(f"the archive has nothing of {days_without} days of {month.name}")
        at = Interval.MONTH.end(month.begin_ms)


def _compare(settings: Settings, series: Series, covered: Span, theirs: Rows, comparison: Comparison) -> None:
    """Compare one piece."""
    ours = read_rows(settings.candles_folder, series, *covered)
    _, here, there = np.intersect1d(ours.times, theirs.times, assume_unique=True, return_indices=True)
    unlike = ours.values[:, here] != theirs.values[:, there]
    comparison.compared += len(here)
    comparison.only_here += len(ours) - len(here)
    rows = np.flatnonzero(unlike.any(axis=0))
    comparison.different += len(rows)
    for row in rows[: max(0, _MOST_NAMED - len(comparison.differences))]:
        for column in np.flatnonzero(unlike[:, row]):
            comparison.differences.append(
                Difference(
                    int(ours.times[here[row]]),
                    VALUE_COLUMNS[column],
                    float(ours.values[column, here[row]]),
                    float(theirs.values[column, there[row]]),
                )
            )
