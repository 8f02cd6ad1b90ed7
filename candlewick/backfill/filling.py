"""One series, filled from history: what is missing of a span is taken from the archive and over REST, and stored.

A filling keeps nothing on disk but candles and series facts. It begins by reading which candles are stored and which
are known to be absent. The rest of the span is fetched piece by piece: a month, a day or a REST page. Each piece is on
disk before the next one is fetched. So a filling that was killed goes on where it was, and one of a complete span
fetches and writes nothing.

For each month that lacks anything its monthly file is taken, then the files of the days that still lack something.
Then REST is asked about the holes inside those files; when it cannot be asked, the verified file counts. At last REST
is asked for everything else. What nobody could be asked for is *missing*.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from candlewick.backfill.archive_format import Archived, ArchiveFile, read_archive
from candlewick.backfill.archives import Archive, Found
from candlewick.backfill.patient_rest import PatientRest
from candlewick.backfill.plan import Plan
from consumer.dataset.dataset import Dataset
from consumer.storage.candle_store import CandleStore, Written
from consumer.storage.metadata import MetadataStore
from consumer.storage.table import Rows
from producers.exchange.page import Answer, next_page, odd_on_grid, odd_reason
from shared.candle import Candle, Series
from shared.errors import ArchiveError, ArchiveUnreachableError, RestRefusedError, RestUnavailableError
from shared.interval import DAY_MS, Interval, utc
from shared.market import Market
from shared.series_fact import FactKind, SeriesFact
from shared.spans import Span, Spans

FROM_MONTHS, FROM_DAYS, FROM_REST = "monthly files", "daily files", "REST"


@dataclass(slots=True)
class Filled:
    """What became of one series.

    Attributes:
        wanted: open times that were looked for.
        there: candles that were stored before.
        fetched: candles stored now, by where they came from.
        files: partitions replaced.
        absent: what was found absent now.
        missing: what could not be had.
        reason: why not.
    """

    series: Series
    wanted: Span
    there: int = 0
    fetched: dict[str, int] = field(default_factory=dict)
    files: int = 0
    absent: list[Span] = field(default_factory=list)
    missing: list[Span] = field(default_factory=list)
    reason: str = ""


class Display(Protocol):
    """Where a filling says how far it is."""

    def note_left(self, series: Series, left: int) -> None:
        """So many candles of a series are still to be had; called before the first piece and after each."""

    def tell(self, text: str) -> None:
        """A line about trouble."""


@dataclass(frozen=True, slots=True)
class Tools:
    """What all fillings of a run share.

    Attributes:
        archive: None to do without.
        now_ms: the exchange's time when the run began.
        desk: held by whoever parses and stores a file, so that no two large ones are unpacked at a time.
        note_source: called with the market before candles are stored.
    """

    candles: CandleStore
    rest: PatientRest
    archive: Archive | None
    now_ms: int
    desk: asyncio.Lock
    display: Display
    note_source: Callable[[Market], None]


class Filling:
    """One series on its way; ``run`` is called once. What may still be open of the span is left out."""

    def __init__(self, tools: Tools, series: Series, span: Span) -> None:
        self._tools = tools
        self._series = series
        self._dataset = Dataset(tools.candles.storage)
        self._metadata = MetadataStore(tools.candles.storage)
        self._plan = Plan(series.interval, span, tools.rest.closed_before_ms)
        self._filled = Filled(series, span)

    async def run(self) -> Filled:
        """Fill what can be filled. StoreError when the dataset refuses; what was stored before that stays."""
        await asyncio.to_thread(self._look)
        earlier_absences = self._plan.absent_spans()
        await self._skip_to_first()
        self._show_left()
        if self._tools.archive is not None:
            await self._take_archive(self._tools.archive)
        await self._ask(self._plan.gaps())
        await self._ask(earlier_absences)
        await asyncio.to_thread(self._note_fetched)
        self._filled.wanted = self._plan.wanted
        self._filled.missing = self._plan.gaps()
        return self._filled

    def _look(self) -> None:
        """Read what is stored of the span, month by month, and what is known to be absent."""
        for span in self._dataset.metadata(self._series).absent:
            self._plan.note_absent(*span)
        edges = self._dataset.edges(self._series)
        if edges is None:
            return
        self._plan.note_exists(edges.begin_ms)
        self._plan.note_exists(self._plan.grid.floor(edges.end_ms - 1))
        wanted = self._plan.wanted
        at, end_ms = max(wanted.begin_ms, edges.begin_ms), min(wanted.end_ms, edges.end_ms)
        while at < end_ms:
            until = min(Interval.MONTH.end(at), end_ms)
            rows = self._dataset.rows(self._series, at, until)
            self._plan.note_stored(rows.times)
            self._filled.there += len(rows)
            at = until

    async def _skip_to_first(self) -> None:
        """Leave out what is before the exchange's first kline, where the exchange can be asked for that."""
        if not self._plan.lacks_its_beginning:
            return
        try:
            first_ms = await self._tools.rest.first_open_ms(self._series, *self._plan.wanted)
        except RestUnavailableError:
            return
        except RestRefusedError as error:
            self._filled.reason = f"the exchange says: {error}"
            return
        if first_ms is not None:
            self._plan.begin_at(first_ms)

    async def _take_archive(self, archive: Archive) -> None:
        """What the archive has: month by month its file, then the days', then what is not in them."""
        at, end_ms = self._plan.wanted
        while at < end_ms:
            month = ArchiveFile.month(self._series, at)
            vouched = Spans()
            try:
                for file in month.with_days():
                    if file.end_ms <= self._tools.now_ms and self._plan.gaps_in(file.begin_ms, file.end_ms):
                        await self._take(archive, file, vouched)
            except ArchiveUnreachableError as error:
                self._tools.display.tell(f"the archive cannot be reached: {error}")
                end_ms = at
            holes = [span for known in vouched for span in self._plan.gaps_in(*known)]
            await self._ask(holes)
            for hole in holes:
                self._plan.note_answered(*hole)
            await self._note_absences()
            at = month.end_ms

    async def _take(self, archive: Archive, file: ArchiveFile, vouched: Spans) -> None:
        """One file of the archive, if it has it; ``vouched`` is told for which times the file speaks."""
        try:
            found = await archive.get(file)
            if found is None:
                return
            async with self._tools.desk:
                archived = await asyncio.to_thread(_read, file, found)
                await asyncio.to_thread(self._store_rows, file, archived.rows)
        except ArchiveError as error:
            self._tools.display.tell(str(error))
            return
        for remark in archived.remarks:
            self._tools.display.tell(f"{found.where}: {remark}")
        rows = archived.rows
        if len(rows) and not archived.odd.is_doubtful:
            vouched.add(self._plan.grid.ceil(file.begin_ms), self._series.interval.end(int(rows.times[-1])))
        self._show_left()

    def _store_rows(self, file: ArchiveFile, rows: Rows) -> None:
        """Store what a file has for the gaps: a day at a time for 1s, whose partitions are hours."""
        source = FROM_MONTHS if file.is_monthly else FROM_DAYS
        step_ms = DAY_MS if self._series.interval is Interval.S1 else file.end_ms - file.begin_ms
        if len(rows):
            self._plan.note_exists(int(rows.times[0]))
        for begin_ms in range(file.begin_ms, file.end_ms, step_ms):
            for gap in self._plan.gaps_in(begin_ms, begin_ms + step_ms):
                part = rows.between(*gap)
                if len(part):
                    self._tools.note_source(self._series.market)
                    self._count(source, len(part), self._tools.candles.write_rows(self._series, part))
                    self._plan.note_stored(part.times)

    async def _ask(self, spans: list[Span]) -> None:
        """Ask REST for these spans, as long as it answers."""
        try:
            for span in spans:
                await self._ask_span(span)
        except RestUnavailableError as error:
            self._tools.display.tell(f"the exchange cannot be asked over REST: {error}")
        except RestRefusedError as error:
            self._filled.reason = f"the exchange says: {error}"

    async def _ask_span(self, span: Span) -> None:
        """Ask for one span, page by page."""
        at = span.begin_ms
        while at < span.end_ms:
            page = next_page(self._series, at, span.end_ms)
            answer = await self._tools.rest.klines(self._series, page)
            candles = [candle for candle in answer.candles if candle.open_time_ms < span.end_ms]
            if candles:
                await asyncio.to_thread(self._store_candles, candles)
            if answer.candles:
                self._plan.note_exists(answer.candles[-1].open_time_ms)
            covered_ms = min(self._plan.grid.ceil(answer.covered_to_ms), span.end_ms)
            self._note_odd(answer)
            if not answer.candles and self._series.market is Market.COIN_FUTURES and covered_ms < span.end_ms:
                covered_ms = await self._tools.rest.next_day_ms(self._series, covered_ms, span.end_ms)
            if not answer.is_doubtful:
                doubted = Spans(
                    self._plan.grid.span(row.open_time_ms) for row in odd_on_grid(self._series.interval, answer.odd)
                )
                for gap in doubted.gaps(at, covered_ms):
                    self._plan.note_answered(*gap)
                await self._note_absences()
            if covered_ms <= at:
                return
            self._show_left()
            at = covered_ms

    def _note_odd(self, answer: Answer) -> None:
        """Why something of an answer stays missing: it stands where a candle may, and is none."""
        if doubted := odd_on_grid(self._series.interval, answer.odd):
            self._filled.reason = f"REST: {odd_reason(doubted)}"
        elif answer.is_doubtful:
            self._filled.reason = "REST answers with rows that are no candles"

    def _store_candles(self, candles: list[Candle]) -> None:
        self._tools.note_source(self._series.market)
        self._count(FROM_REST, len(candles), self._tools.candles.write(self._series, candles))
        self._plan.note_stored(np.array([candle.open_time_ms for candle in candles], np.int64))

    def _count(self, source: str, rows: int, written: Written) -> None:
        self._filled.fetched[source] = self._filled.fetched.get(source, 0) + rows
        self._filled.files += written.files
        for time_ms in written.conflicts[:1]:  # a writer was faster, with another candle
            text = f"{self._series}: {len(written.conflicts):,} of {source} differ from what is stored, "
            self._tools.display.tell(f"{text}the first at {utc(time_ms)}: those with more trades stay")

    async def _note_absences(self) -> None:
        """Write down what the exchange never had."""
        spans = self._plan.absent_now()
        if not spans:
            return
        facts = [SeriesFact(self._series, FactKind.ABSENT, *span, noted_ms=self._tools.now_ms) for span in spans]
        await asyncio.to_thread(self._metadata.write, self._series, facts)
        for span in spans:
            self._plan.note_absent(*span)
        self._filled.absent += spans

    def _note_fetched(self) -> None:
        """Write down which times the series was fetched for, from its first to its newest candle there.

        A series that was only fetched is expected there and nowhere else, and one that has ended stays so.
        """
        metadata, edges = self._dataset.metadata(self._series), self._dataset.edges(self._series)
        if edges is None:
            return
        begin_ms = max(self._plan.wanted.begin_ms, edges.begin_ms)
        end_ms = min(self._plan.wanted.end_ms, edges.end_ms)
        known = metadata.fetched.copy()
        if metadata.began_ms is not None:
            known.add(metadata.began_ms, end_ms)
        if begin_ms < end_ms and known.gaps(begin_ms, end_ms):
            fact = SeriesFact(self._series, FactKind.FETCHED, begin_ms, end_ms, self._tools.now_ms)
            self._metadata.write(self._series, [fact])

    def _show_left(self) -> None:
        gaps = self._plan.gaps()
        self._tools.display.note_left(self._series, self._plan.grid.count(gaps))


def _read(file: ArchiveFile, found: Found) -> Archived:
    try:
        return read_archive(file, found.content)
    except ArchiveError as error:
        raise ArchiveError(f"{found.where} is refused: {error}") from None
