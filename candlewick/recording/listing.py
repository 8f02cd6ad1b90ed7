"""What there is of each series, and what is not, as tables."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa

from candlewick.recording.joined import JoinedReader
from consumer.dataset.audit import AuditRange
from consumer.dataset.dataset import ALWAYS_MS, Dataset
from consumer.dataset.figures import market_times
from consumer.dataset.survey import Surveyed, survey
from shared.candle import Series
from shared.coverage import Grid
from shared.market import Market
from shared.series_fact import NOT_AT_THE_EXCHANGE
from shared.settings.sections import RepairSettings
from shared.source import shown
from shared.spans import Span

_TIME = pa.timestamp("ms", "UTC")
_KEY: "list[pa.Field[Any]]" = [
    pa.field("market", pa.string()),
    pa.field("symbol", pa.string()),
    pa.field("interval", pa.string()),
]
SERIES_SCHEMA = pa.schema(
    [
        *_KEY,
        pa.field("first", _TIME),
        pa.field("last", _TIME),
        pa.field("rows", pa.int64()),
        pa.field("absent", pa.int64()),
        pa.field("missing", pa.int64()),
        pa.field("source", pa.string()),
        pa.field("state", pa.string()),
    ]
)
GAP_SCHEMA = pa.schema(
    [
        *_KEY,
        pa.field("begin", _TIME),
        pa.field("end", _TIME),
        pa.field("candles", pa.int64()),
        pa.field("kind", pa.string()),
        pa.field("reason", pa.string()),
    ]
)
MISSING, DUE, ABSENT = "missing", "due", "absent"
_REASONS = {
    MISSING: "recorded, ended and not here: `candlewick audit --repair` fetches it",
    DUE: "it may still be on its way",
    ABSENT: NOT_AT_THE_EXCHANGE,
}


def series_table(dataset: Dataset, surveyed: Iterable[Surveyed]) -> pa.Table:
    """A row a series, of ``SERIES_SCHEMA``."""
    sources = {market: shown(dataset.sources(market)) or "binance" for market in Market}
    return pa.Table.from_pylist([_series_row(found, sources) for found in surveyed], SERIES_SCHEMA)


def gap_table(surveyed: Iterable[Surveyed]) -> pa.Table:
    """A row a range of candles that are not there, of ``GAP_SCHEMA``, ascending in each series."""
    return pa.Table.from_pylist([row for found in surveyed for row in _gap_rows(found)], GAP_SCHEMA)


def surveyed(
    reader: JoinedReader,
    chosen: Sequence[Series],
    span: Span,
    repair: RepairSettings,
    times_ms: Mapping[Market, int] | None,
) -> Iterator[Surveyed]:
    """How each series stands in a span of open times, one after the other: ``Recording.survey``."""
    start_ms = None if span.begin_ms <= -ALWAYS_MS else span.begin_ms
    market_ms = dict(times_ms or market_times(reader.dataset, {one.market for one in chosen}))
    unstored = {series: reader.unstored(series) for series in reader.series()}
    for series, new in unstored.items():
        market_ms[series.market] = max(market_ms.get(series.market, 0), new.spans.last_ms or 0)
    newest_ms = max((market_ms.get(one.market, 0) for one in chosen), default=0)
    end_ms = None if span.end_ms >= newest_ms else span.end_ms  # what has not ended by now is not missing
    return survey(reader.dataset, chosen, AuditRange(start_ms, end_ms, None, repair.due_ms), market_ms, unstored)


def _key(series: Series) -> dict[str, Any]:
    return {"market": str(series.market), "symbol": series.symbol, "interval": str(series.interval)}


def _series_row(found: Surveyed, sources: dict[Market, str]) -> dict[str, Any]:
    series, spans = found.audit.series, list(found.present)
    return _key(series) | {
        "first": spans[0].begin_ms if spans else None,
        "last": spans[-1].end_ms if spans else None,
        "rows": Grid(series.interval).count(spans),
        "absent": found.audit.tally.absent,
        "missing": found.audit.tally.missing,
        "source": sources[series.market],
        "state": state_of(found),
    }


def state_of(found: Surveyed) -> str:
    """What a series is, in words: recorded, fetched, ended and why, or what is wrong."""
    if found.audit.errors:
        return f"damaged: {found.audit.errors[0]}"
    if found.audit.ended is not None:
        return f"ended: {found.audit.ended}" if found.audit.ended else "ended"
    if found.metadata.is_recorded:
        return "recorded"
    return "unknown: its metadata is missing" if found.metadata.is_empty else "fetched"


def _gap_rows(found: Surveyed) -> Iterator[dict[str, Any]]:
    audit = found.audit
    due = [gap for part in audit.parts for gap in _due(found, part)]
    kinds = ((MISSING, audit.gaps), (DUE, due), (ABSENT, audit.absent))
    ranges = sorted((span, kind) for kind, spans in kinds for span in spans)
    for span, kind in ranges:
        yield _key(audit.series) | {
            "begin": span.begin_ms,
            "end": span.end_ms,
            "candles": Grid(audit.series.interval).count([span]),
            "kind": kind,
            "reason": _REASONS[kind],
        }


def _due(found: Surveyed, part: Span) -> list[Span]:
    """What may still be on its way in a part of what is expected."""
    settled = found.present.copy()
    for span in found.audit.absent:
        settled.add(*span)
    begin_ms = max(part.begin_ms, found.audit.judged_ms)
    return settled.gaps(begin_ms, part.end_ms) if begin_ms < part.end_ms else []
