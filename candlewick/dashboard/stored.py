"""The list of all series, and how each of their last days stands, looked at one series after the other.

A look through 2,000 series reads the footers of their last month's files and takes seconds. So it is made while a page
is open, with long pauses, and the first time what is known of a series is shown as soon as it is.
"""

import asyncio
import logging
import time
from typing import Any

from candlewick.dashboard.audience import Audience
from candlewick.dashboard.strip import strip_of
from candlewick.recording.listing import state_of
from candlewick.recording.recording import Recording
from consumer.dataset.dataset import Dataset, PartitionFile
from consumer.dataset.survey import Surveyed
from shared.candle import Series
from shared.errors import CandlewickError
from shared.interval import DAY_MS, utc
from shared.market import Market

log = logging.getLogger(__name__)

_PAUSE_SECONDS = 15.0
_SHARE = 20  # times what a look took
_STEP_SECONDS = 2.0


class StoredSeries:
    """Every series with its strip of days.

    Attributes:
        version: grows when there is something new to show.
    """

    def __init__(self, rec: Recording, days: int, audience: Audience) -> None:
        self.version = 0
        self._rec = rec
        self._days = days
        self._audience = audience
        self._dataset = Dataset.in_folder(rec.settings.data.folder)
        self._rows: dict[Series, dict[str, Any]] = {}
        self._first_day_ms = 0

    def answer(self) -> dict[str, Any]:
        """``first_day`` in UTC ms, ``days``, how many letters a strip has, and ``series``, a row each."""
        rows = [self._rows[series] for series in sorted(self._rows, key=_in_the_markets_order)]
        return {"version": self.version, "first_day": self._first_day_ms, "days": self._days, "series": rows}

    async def run(self) -> None:
        """Look again and again, while there is an audience."""
        while True:
            await self._audience.is_here.wait()
            began = time.monotonic()
            try:
                await asyncio.to_thread(self._look)
            except CandlewickError as error:  # nothing is recorded yet
                log.debug("nothing can be listed: %s", error)
            except Exception:
                log.exception("an internal error while the series were looked at")
            took = time.monotonic() - began
            await asyncio.sleep(max(_PAUSE_SECONDS, _SHARE * took) if self._rows else _STEP_SECONDS)

    def _look(self) -> None:
        """Look at all series once. CandlewickError when there is none."""
        files = {series: self._dataset.partitions(series) for series in self._dataset.series(with_metadata=True)}
        days = [
            one[-1].span.begin_ms
            for one in files.values()
            if one and one[-1].span.end_ms - one[-1].span.begin_ms == DAY_MS
        ]
        newest_ms = max(days, default=time.time_ns() // 1_000_000 // DAY_MS * DAY_MS)
        first_ms = newest_ms - (self._days - 1) * DAY_MS
        rows = {series: _named(series, files[series]) for series in files}
        if not self._rows and rows:
            self._show(rows, first_ms)
        shown_at = time.monotonic()
        for found in self._rec.survey(start=utc(first_ms)):
            series = found.audit.series
            rows[series] = _named(series, files.get(series, [])) | _surveyed(found, first_ms, self._days)
            if self.version == 1 and time.monotonic() - shown_at > _STEP_SECONDS:
                shown_at = time.monotonic()
                self._show(rows, first_ms)
        if rows:
            self._show(rows, first_ms)

    def _show(self, rows: dict[Series, dict[str, Any]], first_ms: int) -> None:
        self._rows, self._first_day_ms = dict(rows), first_ms
        self.version += 1


def _in_the_markets_order(series: Series) -> tuple[int, Series]:
    return list(Market).index(series.market), series


def _named(series: Series, files: list[PartitionFile]) -> dict[str, Any]:
    return {
        "market": str(series.market),
        "symbol": series.symbol,
        "interval": str(series.interval),
        "files": len(files),
        "bytes": sum(file.size for file in files),
    }


def _surveyed(found: Surveyed, first_ms: int, days: int) -> dict[str, Any]:
    tally = found.audit.tally
    return {
        "newest_end": found.present.last_ms,
        "strip": strip_of(found.audit.days, found.metadata.fetched, first_ms, days),
        "missing": tally.missing,
        "absent": tally.absent,
        "state": state_of(found),
    }
