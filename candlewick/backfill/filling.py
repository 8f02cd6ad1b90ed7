"""One series, filled from history: what is missing of a span, taken from the archive and over REST, stored and noted.

A filling has no state of its own. It begins by reading what is stored (the Parquet files) and what is known to be
absent (the ledger); what is left of the span is fetched piece by piece, a month, a day or a REST page, and each piece
is on disk before the next one is fetched. So a filling that was killed goes on where it was, and one of a span that is
complete fetches and writes nothing.

For each month that lacks anything its monthly file is taken, then the files of the days that still do, then REST is
asked about the holes inside those files: when it cannot be, the verified file's word counts. At last REST is asked for
everything else. What nobody could be asked for is *missing*.
"""

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np

from candlewick.backfill.archive_format import ArchiveError, ArchiveFile, read_archive
from candlewick.backfill.archives import Archive, ArchiveUnreachableError, Found
from candlewick.backfill.patient_rest import Asker
from candlewick.backfill.plan import Coverage
from consumer.dataset.figures import stored_edges
from consumer.dataset.read import read_rows
from consumer.storage.metadata import Ledger
from consumer.storage.store import Store, Written
from consumer.storage.table import Rows
from producers.exchange.page import next_page
from producers.exchange.rest import RestRefusedError, RestUnavailableError
from shared.candle import Candle, Series
from shared.interval import DAY_MS, Interval
from shared.market import Market
from shared.series_fact import Note, NoteKind
from shared.spans import Span, Spans

FROM_MONTHS, FROM_DAYS, FROM_REST = "monthly files", "daily files", "REST"


@dataclass(slots=True)
class Filled:
    """What became of one series.

    Attributes:
        series: which.
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


@dataclass(frozen=True, slots=True)
class Tools:
    """What all fillings of a run share.

    Attributes:
        store: where rows go.
        ledger: where notes go.
        asker: the exchange.
        archive: the archive; None to do without.
        now_ms: the exchange's time when the run began.
        desk: held by whoever parses and stores a file, so that no two large ones are unpacked at a time.
        tell: called with each line about trouble.
        moved: called before the first piece and after each, with the number of candles that are still to be had.
    """

    store: Store
    ledger: Ledger
    asker: Asker
    archive: Archive | None
    now_ms: int
    desk: asyncio.Lock
    tell: Callable[[str], None]
    moved: Callable[[Series, int], None]


class Filling:
    """One series on its way; ``run`` is called once.

    Args:
        tools: what is shared.
        series: which.
        span: times that are wanted; what may still be open is left out.
    """

    def __init__(self, tools: Tools, series: Series, span: Span) -> None:
        self._tools = tools
        self._series = series
        self._coverage = Coverage(series.interval, span, tools.asker.closed_before_ms)
        self._filled = Filled(series, span)

    async def run(self) -> Filled:
        """Fill what can be filled.

        Raises:
            StoreError: when the dataset cannot be read or written. What was stored before that stays.
        """
        await asyncio.to_thread(self._look)
        await self._skip_to_first()
        self._moved()
        if self._tools.archive is not None:
            await self._take_archive(self._tools.archive)
        await self._ask(self._coverage.gaps())
        await asyncio.to_thread(self._note_beginning)
        self._filled.wanted = self._coverage.wanted
        self._filled.missing = self._coverage.gaps()
        return self._filled

    def _look(self) -> None:
        """Read what is stored of the span, month by month, and what is known to be absent."""
        for span in self._tools.ledger.read(self._series).absent:
            self._coverage.never_was(*span)
        edges = stored_edges(self._tools.store.root, self._series)
        if edges is None:
            return
        self._coverage.exists(edges.begin_ms)
        self._coverage.exists(self._coverage.floor(edges.end_ms - 1))
        wanted = self._coverage.wanted
        at, end_ms = max(wanted.begin_ms, edges.begin_ms), min(wanted.end_ms, edges.end_ms)
        while at < end_ms:
            until = min(Interval.MONTH.end(at), end_ms)
            rows = read_rows(self._tools.store.root, self._series, at, until)
            self._coverage.take(rows.times)
            self._filled.there += len(rows)
            at = until

    async def _skip_to_first(self) -> None:
        """Leave out what is before the exchange's first kline, where the exchange can be asked for that."""
        if not self._coverage.lacks_its_beginning:
            return
        try:
            first_ms = await self._tools.asker.first_open_ms(self._series, *self._coverage.wanted)
        except RestUnavailableError:
            return
        except RestRefusedError as error:
            self._filled.reason = f"the exchange says: {error}"
            return
        if first_ms is not None:
            self._coverage.begin_at(first_ms)

    async def _take_archive(self, archive: Archive) -> None:
        """What the archive has: month by month its file, then the days', then what is not in them."""
        at, end_ms = self._coverage.wanted
        while at < end_ms:
            month = ArchiveFile.month(self._series, at)
            vouched = Spans()
            try:
                for file in _files(month):
                    if file.end_ms <= self._tools.now_ms and self._coverage.gaps_in(file.begin_ms, file.end_ms):
                        await self._take(archive, file, vouched)
            except ArchiveUnreachableError as error:
                self._tools.tell(f"the archive cannot be reached: {error}")
                end_ms = at
            holes = [span for known in vouched for span in self._coverage.gaps_in(*known)]
            await self._ask(holes)
            for hole in holes:
                self._coverage.answer(*hole)
            await self._note_absences()
            at = month.end_ms

    async def _take(self, archive: Archive, file: ArchiveFile, vouched: Spans) -> None:
        """One file of the archive, if it has it; ``vouched`` is told for which times the file speaks."""
        try:
            found = await archive.get(file)
            if found is None:
                return
            async with self._tools.desk:
                rows = await asyncio.to_thread(self._read, file, found)
                await asyncio.to_thread(self._store_rows, file, rows)
        except ArchiveError as error:
            self._tools.tell(str(error))
            return
        if len(rows):
            vouched.add(self._coverage.ceil(file.begin_ms), self._series.interval.end(int(rows.times[-1])))
        self._moved()

    @staticmethod
    def _read(file: ArchiveFile, found: Found) -> Rows:
        try:
            return read_archive(file, found.content)
        except ArchiveError as error:
            raise ArchiveError(f"{found.where} is refused: {error}") from None

    def _store_rows(self, file: ArchiveFile, rows: Rows) -> None:
        """Store what a file has for the gaps: a day at a time for 1s, whose partitions are hours."""
        source = FROM_MONTHS if file.is_monthly else FROM_DAYS
        step_ms = DAY_MS if self._series.interval is Interval.S1 else file.end_ms - file.begin_ms
        for begin_ms in range(file.begin_ms, file.end_ms, step_ms):
            for gap in self._coverage.gaps_in(begin_ms, begin_ms + step_ms):
                part = rows.between(*gap)
                if len(part):
                    self._count(source, len(part), self._tools.store.write_rows(self._series, part))
                    self._coverage.take(part.times)

    async def _ask(self, spans: list[Span]) -> None:
        """Ask REST for these spans, as long as it answers."""
        try:
            for span in spans:
                await self._ask_one(span)
        except RestUnavailableError as error:
            self._tools.tell(f"the exchange cannot be asked over REST: {error}")
        except RestRefusedError as error:
            self._filled.reason = f"the exchange says: {error}"

    async def _ask_one(self, span: Span) -> None:
        """Ask for one span, page by page."""
        at = span.begin_ms
        while at < span.end_ms:
            page = next_page(self._series, at, span.end_ms)
            answer = await self._tools.asker.klines(self._series, page)
            candles = [candle for candle in answer.candles if candle.open_time_ms < span.end_ms]
            if candles:
                await asyncio.to_thread(self._store_candles, candles)
            if answer.candles:
                self._coverage.exists(answer.candles[-1].open_time_ms)
            covered_ms = min(self._coverage.ceil(answer.covered_to_ms), span.end_ms)
            if not answer.candles and self._series.market is Market.COIN_FUTURES and covered_ms < span.end_ms:
                covered_ms = await self._tools.asker.next_day_ms(self._series, covered_ms, span.end_ms)
            if covered_ms <= at:
                self._filled.reason = "REST answers with rows that are no candles"
                return
            if answer.is_doubtful:
                self._filled.reason = "REST answers with rows that are no candles"
            else:
                self._coverage.answer(at, covered_ms)
                await self._note_absences()
            self._moved()
            at = covered_ms

    def _store_candles(self, candles: list[Candle]) -> None:
        self._count(FROM_REST, len(candles), self._tools.store.write(self._series, candles))
        self._coverage.take(np.array([candle.open_time_ms for candle in candles], np.int64))

    def _count(self, source: str, rows: int, written: Written) -> None:
        self._filled.fetched[source] = self._filled.fetched.get(source, 0) + rows
        self._filled.files += written.files

    async def _note_absences(self) -> None:
        """Write down what the exchange never had."""
        spans = self._coverage.never()
        if not spans:
            return
        notes = [Note(self._series, NoteKind.ABSENT, *span, noted_ms=self._tools.now_ms) for span in spans]
        await asyncio.to_thread(self._tools.ledger.write, self._series, notes, self._tools.store.staging)
        for span in spans:
            self._coverage.never_was(*span)
        self._filled.absent += spans

    def _note_beginning(self) -> None:
        """Write down since when the series is stored, if nobody said that it began as early.

        Noted at no time (0): a series that was only fetched is not expected to go on, and one that has ended stays so.
        """
        edges = stored_edges(self._tools.store.root, self._series)
        if edges is None:
            return
        first_ms = edges.begin_ms
        began_ms = self._tools.ledger.read(self._series).began_ms
        if began_ms is None or began_ms > first_ms:
            note = Note(self._series, NoteKind.BEGAN, first_ms, first_ms, noted_ms=0)
            self._tools.ledger.write(self._series, [note], self._tools.store.staging)

    def _moved(self) -> None:
        gaps = self._coverage.gaps()
        self._tools.moved(self._series, sum(self._series.interval.candles(*gap) for gap in gaps))


def _files(month: ArchiveFile) -> Iterator[ArchiveFile]:
    """A month's file, then its days', where a day holds whole candles."""
    yield month
    if month.series.interval.typical_ms <= DAY_MS:
        for day_ms in range(month.begin_ms, month.end_ms, DAY_MS):
            yield ArchiveFile.day(month.series, day_ms)
