"""``candlewick audit``: every series of the dataset that is asked for, reckoned anew and shown."""

import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from consumer.dataset.audit import DayAudit, SeriesAudit, audit_series
from consumer.dataset.figures import newest_ends
from consumer.storage.layout import series_of_folder
from consumer.storage.metadata import Ledger
from shared.candle import Series
from shared.errors import StoreError
from shared.interval import Interval, utc
from shared.market import Market
from shared.settings.model import Settings
from shared.spans import Span

if TYPE_CHECKING:
    from candlewick.backfill.compare import Comparison

_COUNTS = ("expected", "stored", "absent", "due", "missing")
_GAPS_SHOWN = 10
_WRONG_SHOWN = 5


def known_series(settings: Settings) -> list[Series]:
    """Every series that has a folder in the dataset, or a ledger: one of which nothing came is missing altogether."""
    found = set()
    for root, ending in ((settings.candles_folder, ""), (settings.ledger_folder, ".json")):
        for path in root.glob(f"market=*/interval=*/symbol=*{ending}"):
            series = series_of_folder(path.relative_to(root).as_posix().removesuffix(ending))
            if series is not None:
                found.add(series)
    return sorted(found)


def chosen_series(
    settings: Settings, market: Market | None, symbols: Sequence[str], interval: Interval | None
) -> list[Series]:
    """The series of a market, with these symbols, at this interval; of all where none is named.

    Raises:
        StoreError: when there is none.
    """
    everything = known_series(settings)
    if not everything:
        raise StoreError(f"nothing was recorded in {settings.data.folder}")
    found = [
        series
        for series in everything
        if market in (None, series.market)
        and interval in (None, series.interval)
        and (not symbols or series.symbol in symbols)
    ]
    unknown = sorted(set(symbols) - {series.symbol for series in found})
    if unknown or not found:
        what = ", ".join(unknown) or " ".join(str(one) for one in (market, interval) if one)
        raise StoreError(f"{what} was never recorded in {settings.data.folder}")
    return found


def audit(settings: Settings, series: Sequence[Series], start_ms: int | None, end_ms: int | None) -> list[SeriesAudit]:
    """Audit these series, each from ``start_ms`` to before ``end_ms``; see ``consumer.dataset.audit.audit_series``.

    A market's time is that of its newest stored candle, whichever series that is in.
    """
    root, ledger = settings.candles_folder, Ledger(settings.ledger_folder)
    market_ms: dict[Market, int] = {}
    for one, newest_ms in newest_ends(root, {one.market for one in series}).items():
        market_ms[one.market] = max(market_ms.get(one.market, 0), newest_ms)
    due_ms = int((settings.repair.grace_seconds + settings.repair.quiet_seconds) * 1000)
    return [
        audit_series(root, one, ledger.read(one), start_ms, end_ms, market_ms.get(one.market), due_ms) for one in series
    ]


def repair(settings: Settings, audits: Iterable[SeriesAudit]) -> None:
    """Fetch over REST what an audit found missing, straight into the store; a line a series on standard error."""
    from candlewick.backfill.backfill import fill_gaps, summary
    from candlewick.backfill.filling import Filled
    from candlewick.backfill.progress_display import make_meter

    gaps = {one.series: Span(one.gaps[0].begin_ms, one.gaps[-1].end_ms) for one in audits if one.gaps}
    with make_meter(sys.stderr) as meter:
        results = fill_gaps(settings, gaps, meter)
    for result in results:
        print(summary(result) if isinstance(result, Filled) else f"candlewick: {result}", file=sys.stderr)


def compare(settings: Settings, audits: Sequence[SeriesAudit], against: str) -> "list[Comparison]":
    """Compare what was audited with REST or an archive; see ``candlewick.backfill.compare``."""
    from candlewick.backfill.compare import compare as run

    return run(settings, [one for one in audits if one.stored], against)


def as_json(audits: Iterable[SeriesAudit], compared: "Iterable[Comparison]" = ()) -> list[dict[str, Any]]:
    """What was found, for programs: times are ISO 8601 in UTC, ranges are [first open time, open time after]."""
    comparisons = {one.series: one for one in compared}
    return [
        {
            "market": one.series.market.value,
            "symbol": one.series.symbol,
            "interval": one.series.interval.value,
            "from": _iso(one.from_ms),
            "to": _iso(one.to_ms),
            "expected": one.expected,
            "stored": one.stored,
            "absent": one.absent,
            "due": one.due,
            "missing": one.missing,
            "gaps": [[_iso(begin), _iso(end)] for begin, end in one.gaps],
            "days": [asdict(day) for day in one.days],
            "wrong_rows": one.wrong_rows,
            "wrong": [{"open_time": _iso(row.open_time_ms), "reason": row.reason} for row in one.wrong],
            "errors": one.errors,
            "ended": one.ended,
            "comparison": _comparison_as_json(comparisons.get(one.series)),
        }
        for one in audits
    ]


def render(audits: Sequence[SeriesAudit], *, days: bool) -> str:
    """What was found, for a terminal: a line a series, and below it whatever is not as it should be."""
    lines = [" ".join([f"{'series':<34}", *(f"{name:>11}" for name in _COUNTS), " audited"])]
    for one in audits:
        span = f"{utc(one.from_ms):%Y-%m-%d %H:%M} to {utc(one.to_ms):%Y-%m-%d %H:%M}"
        ended = f", ended: {one.ended}" if one.ended is not None else ""
        lines.append(_row(str(one.series), one) + "  " + (span if one.expected else "nothing expected yet") + ended)
        lines += [_row(f"  {day.day}", day) for day in one.days if days or (day.missing and len(one.days) > 1)]
        lines += [f"  missing from {utc(gap.begin_ms)} to {utc(gap.end_ms)}" for gap in one.gaps[:_GAPS_SHOWN]]
        lines += _more(len(one.gaps) - _GAPS_SHOWN, "gaps")
        lines += [f"  wrong: the row of {utc(row.open_time_ms)} {row.reason}" for row in one.wrong[:_WRONG_SHOWN]]
        lines += _more(one.wrong_rows - _WRONG_SHOWN, "wrong rows")
        lines += [f"  unreadable: {error}" for error in one.errors]
    totals = [sum(getattr(one, name) for one in audits) for name in _COUNTS]
    lines.append(" ".join([f"{f'{len(audits)} series':<34}", *(f"{total:>11,}" for total in totals)]))
    return "\n".join(lines)


def render_comparisons(compared: "Iterable[Comparison]") -> list[str]:
    """What was found different, for a terminal."""
    lines = []
    for one in compared:
        lines.append(
            f"{one.series!s:<34} compared {one.compared:,} rows: {one.different:,} different"
            + (f", {one.only_here:,} that the other side does not have" if one.only_here else "")
        )
        lines += [
            f"  {utc(found.open_time_ms)} {found.column}: {found.stored!r} here, {found.theirs!r} there"
            for found in one.differences[:_GAPS_SHOWN]
        ]
        lines += _more(len(one.differences) - _GAPS_SHOWN, "different values")
        lines += [f"  not compared: {trouble}" for trouble in one.troubles]
    return lines


def _comparison_as_json(one: "Comparison | None") -> dict[str, Any] | None:
    if one is None:
        return None
    return {
        "compared": one.compared,
        "different": one.different,
        "only_here": one.only_here,
        "differences": [
            {
                "open_time": _iso(found.open_time_ms),
                "column": found.column,
                "stored": found.stored,
                "theirs": found.theirs,
            }
            for found in one.differences
        ],
        "troubles": one.troubles,
    }


def _row(name: str, counts: SeriesAudit | DayAudit) -> str:
    return " ".join([f"{name:<34}", *(f"{getattr(counts, column):>11,}" for column in _COUNTS)])


def _more(count: int, what: str) -> list[str]:
    return [f"  … and {count:,} more {what} (--json shows them)"] if count > 0 else []


def _iso(time_ms: int) -> str:
    return utc(time_ms).isoformat()
