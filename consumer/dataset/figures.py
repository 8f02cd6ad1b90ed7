"""What the dataset and the streams hold, in figures, for ``candlewick status``."""

import contextlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from consumer.storage.durable import read_partition
from consumer.storage.layout import partition_span, series_folder, series_of_folder
from consumer.storage.metadata import Ledger, SeriesLedger
from consumer.storage.table import runs
from shared.broker.keys import Keys
from shared.candle import Series
from shared.errors import StoreError
from shared.market import Market
from shared.spans import Span, Spans


@dataclass(frozen=True, slots=True)
class SeriesOverview:
    """One series on disk.

    Attributes:
        series: which.
        files: partitions.
        rows: candles.
        size: bytes on disk.
        newest_end_ms: end of the newest candle in UTC ms; None without any.
        error: what could not be read, else None.
    """

    series: Series
    files: int
    rows: int
    size: int
    newest_end_ms: int | None
    error: str | None = None


def store_overview(root: Path) -> list[SeriesOverview]:
    """Every series of a dataset, by folder. Reads the files' footers and the newest file of each series."""
    found = []
    for path in sorted(root.glob("market=*/interval=*/symbol=*")):
        series = series_of_folder(path.relative_to(root).as_posix())
        if series is not None:
            found.append(_series_overview(path, series))
    return found


def newest_ends(root: Path, markets: Iterable[Market]) -> dict[Series, int]:
    """Where the newest candle of every series ends, in UTC ms. A newest file that is damaged is passed over."""
    found = {}
    for market in markets:
        for path in sorted(root.glob(f"market={market}/interval=*/symbol=*")):
            series = series_of_folder(path.relative_to(root).as_posix())
            last_ms = _first_readable(path, -1, reverse=True) if series is not None else None
            if series is not None and last_ms is not None:
                found[series] = series.interval.end(last_ms)
    return found


def unbroken_ends(root: Path, ledger: Ledger, markets: Iterable[Market], back_ms: int) -> dict[Series, int]:
    """Where every series is on disk without a hole up to, in UTC ms: what a broker has lost of it lies behind that.

    Args:
        root: the dataset.
        ledger: since when each series is recorded, and what the exchange never had.
        markets: whose series.
        back_ms: how far back from its newest candle a hole is looked for; older ones are no broker's loss.
    """
    return {
        series: _unbroken_end(root / series_folder(series), ledger, series, newest_ms - back_ms, newest_ms)
        for series, newest_ms in newest_ends(root, markets).items()
    }


def _unbroken_end(folder: Path, ledger: Ledger, series: Series, from_ms: int, to_ms: int) -> int:
    held = Spans()
    for part in folder.glob("*"):
        span = partition_span(part.name)
        if span is not None and span[1] > from_ms:
            with contextlib.suppress(StoreError, OSError):  # what cannot be read is a hole
                for run in runs(read_partition(part).times, series.interval):
                    held.add(*run)
    try:
        notes = ledger.read(series)
    except StoreError:
        notes = SeriesLedger()
    began_ms = notes.began_ms if notes.began_ms is not None else next(iter(held), Span(to_ms, to_ms)).begin_ms
    for absent in notes.absent:
        held.add(*absent)
    return min(held.end_of_run(max(from_ms, began_ms)), to_ms)


def stored_edges(root: Path, series: Series) -> Span | None:
    """From the first open time of a series on disk to the end of its newest candle; None when nothing is readable."""
    folder = root / series_folder(series)
    first_ms, last_ms = _first_readable(folder, 0, reverse=False), _first_readable(folder, -1, reverse=True)
    return None if first_ms is None or last_ms is None else Span(first_ms, series.interval.end(last_ms))


def _first_readable(folder: Path, index: int, *, reverse: bool) -> int | None:
    """An open time of the first partition that can be read, from the oldest or the newest on."""
    try:
        spans = {part: span for part in folder.iterdir() if (span := partition_span(part.name))}
    except OSError:
        return None
    for part in sorted(spans, key=lambda part: spans[part], reverse=reverse):
        try:
            times = read_partition(part).times
        except (StoreError, OSError):
            continue
        if len(times):
            return int(times[index])
    return None


def _series_overview(folder: Path, series: Series) -> SeriesOverview:
    spans = {part: span for part in folder.iterdir() if (span := partition_span(part.name))}
    rows = size = 0
    newest = None
    try:
        for part in spans:
            size += part.stat().st_size
            rows += int(pq.read_metadata(part).num_rows)
        if spans:
            times = read_partition(max(spans, key=lambda part: spans[part])).times
            newest = series.interval.end(int(times[-1])) if len(times) else None
    except (StoreError, OSError, pa.ArrowException) as error:
        return SeriesOverview(series, len(spans), rows, size, newest, str(error))
    return SeriesOverview(series, len(spans), rows, size, newest)


def stream_overview(client: Any, keys: Keys, market: Market, group: str) -> dict[str, Any]:
    """One market's stream: entries kept, entries pending, and the age of the oldest of these in seconds."""
    stream = keys.candles(market)
    seconds, micros = client.time()
    now_ms = int(seconds) * 1000 + int(micros) // 1000
    overview: dict[str, Any] = {
        "entries": int(client.xlen(stream)),
        "dead_letters": int(client.xlen(keys.dead_letters(market))),
        "pending": 0,
        "oldest_pending_seconds": None,
        "unread": 0,
    }
    groups = client.xinfo_groups(stream) if client.exists(stream) else []
    ours = next((one for one in groups if one["name"] == group.encode()), None)
    if ours is None:
        overview["unread"] = overview["entries"]
        return overview
    pending = client.xpending(stream, group)
    overview["pending"] = int(pending["pending"])
    if pending["min"]:
        overview["oldest_pending_seconds"] = round((now_ms - int(pending["min"].split(b"-")[0])) / 1000, 1)
    last = ours["last-delivered-id"]
    unread = client.xrange(stream, min=b"(" + last, count=10_000)
    overview["unread"] = len(unread)
    return overview
