"""The list of all series, and how each of their last days stands, looked at one series after the other.

A look through 2,000 series reads the footers of their last month's files, which is seconds of work. So it is made
only while a page is open, slowly, and the first time what is known of a series is shown as soon as it is.
"""

import asyncio
import contextlib
import logging
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from candlewick.checks.host import bytes_a_day, files_of
from candlewick.dashboard.audience import Audience
from candlewick.dashboard.strip import strip_of
from candlewick.recording.listing import state_of
from candlewick.recording.recording import Recording
from consumer.dataset.dataset import Dataset, PartitionFile
from consumer.dataset.survey import Surveyed
from shared.candle import Series
from shared.errors import CandlewickError, NoStoreError
from shared.interval import DAY_MS, utc
from shared.market import Market

log = logging.getLogger(__name__)

_PAUSE_SECONDS = 15.0
_STEP_SECONDS = 2.0
_REST = 3  # times what the look at one series took


class StoredSeries:
    """Every series with its strip of days, and all of them together.

    Attributes:
        version: grows when there is something new to show.
        trouble: why nothing can be listed; empty when all can.
        totals: of the store: ``folder``, ``series``, ``bytes``, ``bytes_a_day`` and whether that ``is_measured``; empty
            before the first look.
    """

    def __init__(self, rec: Recording, audience: Audience) -> None:
        self.version = 0
        self.trouble = ""
        self.totals: dict[str, Any] = {}
        self._rec = rec
        self._days = rec.settings.dashboard.days
        self._audience = audience
        self._dataset = Dataset.of(rec.settings)
        self._rows: dict[Series, dict[str, Any]] = {}
        self._first_day_ms = 0
        self._stop = threading.Event()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="stored")

    def answer(self) -> dict[str, Any]:
        """``first_day`` in UTC ms, ``days``, how many letters a strip has, and ``series``, a row each."""
        rows = [self._rows[series] for series in sorted(self._rows, key=_in_the_markets_order)]
        return {"version": self.version, "first_day": self._first_day_ms, "days": self._days, "series": rows}

    def times_ms(self, *markets: Market) -> dict[Market, int] | None:
        """Markets' times as their streams tell them, or else as they were seen; None where one is not known."""
        found = self.seen_ms(*markets) or {}
        for market in markets:
            with contextlib.suppress(CandlewickError):  # the broker is away
                found[market] = self._rec.clock(market).event_ms or found.get(market, 0)
        return found if all(found.get(market) for market in markets) else None

    def seen_ms(self, *markets: Market) -> dict[Market, int] | None:
        """Markets' times by their newest candles, as they were seen; None where one is not known."""
        found = dict.fromkeys(markets, 0)
        for series, row in self._rows.items():
            if series.market in found:
                found[series.market] = max(found[series.market], row.get("newest_end") or 0)
        return found if all(found.values()) else None

    async def run(self) -> None:
        """Look again and again, while there is an audience."""
        while True:
            await self._audience.is_here.wait()
            try:
                await asyncio.get_running_loop().run_in_executor(self._thread, self._look)
                self.trouble = ""
            except CandlewickError as error:
                self.trouble = "" if isinstance(error, NoStoreError) else f"the series cannot be listed: {error}"
            except Exception as error:
                log.exception("an internal error while the series were looked at")
                self.trouble = f"the series cannot be listed, by an internal error: {error!r}"
            await asyncio.sleep(_PAUSE_SECONDS if self._rows else _STEP_SECONDS)

    def _look(self) -> None:
        """Look at all series once. CandlewickError when there is none."""
        is_first = not self._rows
        if is_first and (names := self._dataset.series(with_metadata=True)):
            self._show({series: _named(series, ()) for series in names}, self._first_day_ms)
        files = files_of(self._dataset)
        rate = bytes_a_day(self._rec.settings, files)
        rows = {series: _named(series, files[series]) for series in files}
        self.totals = {
            "folder": self._rec.settings.dataset_name,
            "series": len(files),
            "bytes": sum(row["bytes"] for row in rows.values()),
            "bytes_a_day": rate.nbytes,
            "is_measured": rate.is_measured,
        }
        first_ms = _newest_day_ms(files) - (self._days - 1) * DAY_MS
        times_ms = self.times_ms(*{series.market for series in files}) if files else None
        shown_at = at = time.monotonic()
        for found in self._rec.survey(start=utc(first_ms), times_ms=times_ms):
            series = found.audit.series
            rows[series] = _named(series, files.get(series, [])) | _surveyed(found, first_ms, self._days)
            now = time.monotonic()
            if is_first and now - shown_at > _STEP_SECONDS:
                shown_at = now
                self._show(rows, first_ms)
            if self._stop.wait(min(_REST * (now - at), 1.0)):  # whoever asks for candles comes first
                return
            at = time.monotonic()
        if rows:
            self._show(rows, first_ms)

    def stop(self) -> None:
        """Leave off in the midst of a look."""
        self._stop.set()

    def _show(self, rows: dict[Series, dict[str, Any]], first_ms: int) -> None:
        if rows == self._rows and first_ms == self._first_day_ms:
            return
        self._rows, self._first_day_ms = dict(rows), first_ms
        self.version += 1


def _newest_day_ms(files: Mapping[Series, Sequence[PartitionFile]]) -> int:
    """The midnight of the newest day that has a file of its own; today where none has."""
    newest = [of_series[-1].span for of_series in files.values() if of_series]
    days = [span.begin_ms for span in newest if span.end_ms - span.begin_ms <= DAY_MS]
    return max(days, default=time.time_ns() // 1_000_000) // DAY_MS * DAY_MS


def _in_the_markets_order(series: Series) -> tuple[int, Series]:
    return list(Market).index(series.market), series


def _named(series: Series, files: Sequence[PartitionFile]) -> dict[str, Any]:
    return {
        "market": str(series.market),
        "symbol": series.symbol,
        "interval": str(series.interval),
        "files": len(files),
        "bytes": sum(file.size for file in files),
    }


def _surveyed(found: Surveyed, first_ms: int, days: int) -> dict[str, Any]:
    tally, later = found.audit.tally, found.metadata.fetched.copy()
    for span in found.metadata.repaired:
        later.add(*span)
    return {
        "newest_end": found.present.last_ms,
        "strip": strip_of(found.audit.days, later, first_ms, days, found.audit.series.interval),
        "missing": tally.missing,
        "absent": tally.absent,
        "state": state_of(found),
    }
