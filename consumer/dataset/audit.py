"""An audit: which candles of a series are expected, stored, absent, due and missing (``shared.coverage``).

It reads the Parquet files themselves, partition by partition, and the series' metadata: since when it is recorded, what
the exchange never had, where it ended. Every stored row is checked (``consumer.dataset.row_checks``).
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from consumer.dataset.dataset import ALWAYS_MS, Dataset
from consumer.dataset.figures import market_times
from consumer.dataset.row_checks import FoundRows, check_partition
from consumer.storage.codec import read_partition
from consumer.storage.layout import metadata_key
from consumer.storage.metadata import SeriesMetadata
from consumer.storage.table import Rows, runs
from shared.candle import Series
from shared.coverage import Coverage, Grid, Tally
from shared.errors import StoreError
from shared.interval import DAY_MS, Interval, utc
from shared.settings.model import Settings
from shared.settings.sections import RepairSettings
from shared.spans import Span, Spans

_NO_TIME, _NOTHING = Span(0, 0), Tally()


@dataclass(frozen=True, slots=True)
class AuditRange:
    """Which candles are audited, by their open times in ms.

    Attributes:
        start_ms: the first; None: from the beginning of recording.
        end_ms: before this; None: as far as ``market_ms``, or the series' end.
        market_ms: the market's time, to which a series that is being recorded is expected to reach. Any other series,
            and all if None, are expected to reach their own newest candle.
        due_ms: what is not stored and opens so shortly before ``market_ms`` is due, not missing; not used with
            ``end_ms``.
    """

    start_ms: int | None = None
    end_ms: int | None = None
    market_ms: int | None = None
    due_ms: int = 0


@dataclass(slots=True)
class SeriesAudit:
    """What an audit found of one series.

    Attributes:
        span: from the first to the last open time that is expected.
        parts: where candles are expected in it.
        judged_ms: what opens from here on, and is not stored, may still be on its way.
        tally: how its candles stand; what is *present* is stored.
        absent: what the exchange does not have, as far as it was asked, as ranges of open times.
        gaps: what is missing, as ranges of open times, ascending.
        days: the tally by day of the candles' open times; days without anything expected are left out.
        rows: rows that cannot be right.
        errors: files that cannot be read, and what cannot be known for want of metadata.
        strays: files and folders among the partitions that are none; plain readers take them in.
        ended: why the series ended; None while it is recorded.
    """

    series: Series
    span: Span = _NO_TIME
    parts: list[Span] = field(default_factory=list)
    judged_ms: int = 0
    tally: Tally = _NOTHING
    absent: list[Span] = field(default_factory=list)
    gaps: list[Span] = field(default_factory=list)
    days: list[tuple[str, Tally]] = field(default_factory=list)
    rows: FoundRows = field(default_factory=FoundRows)
    errors: list[str] = field(default_factory=list)
    strays: list[str] = field(default_factory=list)
    ended: str | None = None

    @property
    def is_good(self) -> bool:
        """Whether nothing is missing, nothing wrong, nothing unreadable, nothing there that is not ours."""
        return not (self.tally.missing or self.rows.wrong_rows or self.errors or self.strays)


def audit(
    dataset: Dataset, series: Iterable[Series], start_ms: int | None, end_ms: int | None, repair: RepairSettings
) -> list[SeriesAudit]:
    """Audit these series, each from ``start_ms`` to before ``end_ms``.

    A market's time is the end of its newest stored candle. What is younger than the time that repair takes is due.
    """
    asked = audit_ranges(dataset, series, start_ms, end_ms, repair)
    return [audit_series(dataset, chosen, wanted) for chosen, wanted in asked]


def audit_ranges(
    dataset: Dataset, series: Iterable[Series], start_ms: int | None, end_ms: int | None, repair: RepairSettings
) -> list[tuple[Series, AuditRange]]:
    """What is to be audited of each series, by its market's time."""
    series = list(series)
    market_ms = market_times(dataset, {chosen.market for chosen in series})
    return [(chosen, AuditRange(start_ms, end_ms, market_ms.get(chosen.market), repair.due_ms)) for chosen in series]


def audit_here(settings: Settings, asked: Sequence[tuple[Series, AuditRange]]) -> list[SeriesAudit]:
    """``audit_series`` of each, in the store of these settings."""
    dataset = Dataset.of(settings)
    return [audit_series(dataset, series, wanted) for series, wanted in asked]


def audit_series(dataset: Dataset, series: Series, wanted: AuditRange) -> SeriesAudit:
    """Audit one series. StoreError when its metadata cannot be read.

    It begins with its first stored candle or with its noted beginning, whichever is earlier, and stops at its end.
    """
    found, metadata = SeriesAudit(series), dataset.metadata(series)
    found.ended = metadata.reason if metadata.end_ms is not None else None
    found.strays = dataset.strays(series)
    stored = Coverage(series.interval, 0)
    for rows in _partitions(dataset, series, wanted, found):
        found.rows.check(rows, series.interval, stored.settled)
        for run in runs(rows.times, series.interval):
            stored.add(*run)
    judge(found, metadata, stored.settled, dataset.edges(series), wanted)
    if metadata.is_empty and found.parts:
        found.errors.append(f"{metadata_key(series)}: missing, so nobody knows since when and how far it is recorded")
    return found


def judge(found: SeriesAudit, metadata: SeriesMetadata, stored: Spans, edges: Span | None, wanted: AuditRange) -> None:
    """Tell how the candles of a series stand, by what is stored and what is known of it.

    ``edges`` are from the first stored open time, of all and not of the range alone, to the end of the newest candle.
    """
    coverage = _expected(found.series.interval, metadata, edges, wanted)
    if coverage is None:
        return
    coverage.settled = stored.copy()
    for absent in metadata.absent:
        coverage.add_absent(*absent)
    end_ms = coverage.end_ms or coverage.begin_ms
    found.span = Span(coverage.begin_ms, end_ms)
    judged_ms = end_ms
    if wanted.end_ms is None and wanted.market_ms is not None:
        judged_ms = max(coverage.begin_ms, coverage.grid.floor(min(wanted.market_ms - wanted.due_ms, end_ms)))
    found.judged_ms, days = judged_ms, dict[str, Tally]()
    for part in _parts(metadata, coverage, found.span):
        found.parts.append(part)
        found.absent += coverage.absent.between(*part)
        found.gaps += coverage.gaps(min(judged_ms, part.end_ms), part.begin_ms)
        for day in _days(coverage.grid, part):
            name = f"{utc(day.begin_ms):%Y-%m-%d}"
            days[name] = Tally.sum([days.get(name, _NOTHING), coverage.tally(day, judged_ms)])
    found.days = list(days.items())
    found.tally = Tally.sum(days.values())


def _parts(metadata: SeriesMetadata, coverage: Coverage, span: Span) -> list[Span]:
    """The parts of a span in which candles are expected: where the series was recorded or fetched, or has any."""
    if metadata.began_ms is None and not metadata.fetched:
        return [span]
    expected = metadata.fetched.copy()
    for part in coverage.settled:
        expected.add(*part)
    if metadata.began_ms is not None:
        expected.add(metadata.began_ms, span.end_ms)
    coverage.grid.complete(expected)
    return [Span(coverage.grid.ceil(begin), end) for begin, end in expected.between(*span)]


def _expected(interval: Interval, metadata: SeriesMetadata, edges: Span | None, wanted: AuditRange) -> Coverage | None:
    """The coverage of what is expected, without anything present yet; None when nobody says since when."""
    begins = [time for time in (edges and edges.begin_ms, metadata.began_ms) if time is not None]
    begins += [span.begin_ms for span in metadata.fetched]
    if not begins:
        return None
    coverage = Coverage(interval, min(begins))
    if edges is not None:
        coverage.move_grid(edges.begin_ms)
    end_ms = edges.end_ms if edges else coverage.begin_ms
    if metadata.end_ms is not None:
        end_ms = metadata.end_ms
    elif metadata.is_recorded:
        end_ms = wanted.end_ms or wanted.market_ms or end_ms
    if wanted.start_ms is not None and wanted.start_ms > coverage.begin_ms:
        coverage.begin_ms = coverage.grid.ceil(wanted.start_ms)
    if wanted.end_ms is not None:
        end_ms = min(end_ms, wanted.end_ms)
    coverage.end_ms = coverage.expected_to(end_ms)  # a candle is expected when it has ended by then
    return coverage


def _partitions(dataset: Dataset, series: Series, wanted: AuditRange, found: SeriesAudit) -> Iterator[Rows]:
    """Rows of each partition in the range, oldest first; what cannot be read is noted."""
    start_ms = -ALWAYS_MS if wanted.start_ms is None else wanted.start_ms
    end_ms = ALWAYS_MS if wanted.end_ms is None else wanted.end_ms
    for file in dataset.partitions(series):
        if file.span.begin_ms >= end_ms or file.span.end_ms <= start_ms:
            continue
        try:
            partition = read_partition(dataset.storage, file.key)
        except StoreError as error:
            found.errors.append(str(error))
            continue
        if partition is not None:
            check_partition(found.rows, file, partition, series.interval)
            yield partition.rows.between(max(start_ms, file.span.begin_ms), end_ms)


def _days(grid: Grid, span: Span) -> Iterator[Span]:
    """The days of a span, or whole candles where they are longer, each from an open time to an open time."""
    at = span.begin_ms
    while at < span.end_ms:
        midnight = min(at - at % DAY_MS + DAY_MS, span.end_ms)
        following = min(grid.ceil(midnight), span.end_ms)
        yield Span(at, following)
        at = following
