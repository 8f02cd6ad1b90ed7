"""``candlewick audit``: every recorded series that is asked for, counted anew from its files, and shown."""

import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from candlewick.cli import options
from candlewick.cli.columns import columns
from shared.errors import SettingsError
from shared.interval import utc
from shared.market import Market
from shared.source import Sources, shown
from shared.spans import Span

if TYPE_CHECKING:
    from candlewick.backfill.compare import Comparison
    from consumer.dataset.audit import SeriesAudit
    from shared.coverage import Tally
    from shared.settings.model import Settings

_COUNTS = ("expected", "stored", "absent", "due", "missing")
_GAPS_SHOWN = 10
_WRONG_SHOWN = 5


def audit(
    market: options.MarketOrAll = None,
    symbols: options.OnlySymbols = None,
    start: options.From = None,
    end: options.To = None,
    interval: options.OnlyInterval = None,
    days: Annotated[bool, typer.Option("--days", help="Show every day, not only those with gaps.")] = False,
    repair: Annotated[
        bool, typer.Option("--repair", help="Fetch what is missing over REST, then count again.")
    ] = False,
    against: Annotated[
        str | None,
        typer.Option(metavar="rest|archive|URL|DIR", help="Compare every value, too.", show_default=False),
    ] = None,
    correct: Annotated[
        bool, typer.Option("--correct", help="With --against: where values differ, store theirs, and name both.")
    ] = False,
    workers: options.Workers = None,
    dask: options.Dask = None,
    json: options.Json = False,
    config: options.Config = None,
    data: options.Data = None,
    simulator: options.Simulator = None,
    mix_sources: options.MixSources = False,
) -> None:
    """Count what is expected, stored, absent and missing, from the Parquet files themselves.

    Leaves with 1 when anything is missing, wrong, unreadable or different.
    """
    from candlewick.backfill.backfill import check_source
    from candlewick.parallel.over_workers import in_batches
    from consumer.dataset.audit import audit_here, audit_ranges
    from consumer.dataset.dataset import Dataset

    options.check_range(start, end)
    if correct and against is None:
        raise SettingsError("--correct is about a comparison: name whose values are right with --against")
    settings, *_ = options.settings_and_flags(config, data, simulator=simulator, mix_sources=mix_sources)
    dataset = Dataset.of(settings)
    chosen = dataset.matching(market, symbols or (), interval)
    sources = {each: dataset.sources(each) for each in {series.market for series in chosen}}
    if repair or correct or against == "rest":
        for each in sources:
            check_source(settings, dataset.storage, each)

    def run() -> "list[SeriesAudit]":
        asked = audit_ranges(dataset, chosen, start, end, settings.repair)
        batches = in_batches(audit_here, settings, asked, workers=workers, address=dask)
        return sorted((audited for batch in batches for audited in batch), key=lambda audited: audited.series)

    found = run()
    if repair:
        _repair(settings, found)
        found = run()
    compared = _compare(settings, found, against, correct=correct) if against is not None else []
    if json:
        options.print_json(_as_json(found, sources, compared))
    else:
        named = {chosen_market: shown(names) for chosen_market, names in sources.items()}
        print("\n".join([*_render(found, named, days=days), *_render_comparisons(compared)]))
    good = all(audited.is_good for audited in found) and all(comparison.is_good for comparison in compared)
    raise typer.Exit(0 if good else 1)


def _repair(settings: "Settings", audits: "Iterable[SeriesAudit]") -> None:
    """Ask REST for what an audit found missing or absent, straight into the store; a line a series on stderr."""
    from candlewick.backfill.backfill import fill_gaps, summary
    from candlewick.backfill.filling import Filled

    gaps = {audited.series: wanted for audited in audits if (wanted := _to_ask_for(audited))}
    for result in fill_gaps(settings, gaps):
        print(summary(result) if isinstance(result, Filled) else f"candlewick: {result}", file=sys.stderr)


def _to_ask_for(audited: "SeriesAudit") -> "list[Span]":
    """In each part where candles are expected, from the first to the last that is missing or absent."""
    found = []
    for begin_ms, end_ms in audited.parts:
        wanted = [span for span in audited.gaps + audited.absent if begin_ms <= span.begin_ms < end_ms]
        if wanted:
            found.append(Span(min(wanted).begin_ms, max(wanted).end_ms))
    return found


def _compare(
    settings: "Settings", audits: "Iterable[SeriesAudit]", against: str, *, correct: bool
) -> "Sequence[Comparison]":
    from candlewick.backfill.backfill import candle_store
    from candlewick.backfill.compare import compare

    stored = [audited for audited in audits if audited.tally.expected]
    if not correct:
        return compare(settings, stored, against)
    with candle_store(settings) as candles:
        return compare(settings, stored, against, candles)


def _as_json(
    audits: "Iterable[SeriesAudit]", sources: "Mapping[Market, Sources]", compared: "Iterable[Comparison]"
) -> list[dict[str, Any]]:
    """What was found, for programs: times are ISO 8601 in UTC, ranges are [first open time, open time after]."""
    comparisons = {comparison.series: _comparison_as_json(comparison) for comparison in compared}
    return [
        {
            "market": audited.series.market.value,
            "symbol": audited.series.symbol,
            "interval": audited.series.interval.value,
            "sources": list(sources[audited.series.market]),
            "from": options.iso(audited.span.begin_ms),
            "to": options.iso(audited.span.end_ms),
            **_counts(audited.tally),
            "gaps": [[options.iso(begin), options.iso(end)] for begin, end in audited.gaps],
            "days": [{"day": day, **_counts(tally)} for day, tally in audited.days],
            "wrong_rows": audited.rows.wrong_rows,
            "wrong": [{"open_time": options.iso(row.open_time_ms), "reason": row.reason} for row in audited.rows.wrong],
            "errors": audited.errors,
            "strays": audited.strays,
            "ended": audited.ended,
            "comparison": comparisons.get(audited.series),
        }
        for audited in audits
    ]


def _comparison_as_json(comparison: "Comparison") -> dict[str, Any]:
    return {
        "compared": comparison.compared,
        "different": comparison.different,
        "only_here": comparison.only_here,
        "only_there": comparison.only_there,
        "rows_only_here": [options.iso(time_ms) for time_ms in comparison.named_here],
        "rows_only_there": [options.iso(time_ms) for time_ms in comparison.named_there],
        "corrected": comparison.corrected,
        "differences": [
            {"open_time": options.iso(open_time_ms), "column": column, "stored": stored, "theirs": theirs}
            for open_time_ms, column, stored, theirs in comparison.differences
        ],
        "troubles": comparison.troubles,
    }


def _render(audits: "Sequence[SeriesAudit]", sources: "Mapping[Market, str]", *, days: bool) -> list[str]:
    """What was found, for a terminal: a line a series, and below it whatever is not as it should be."""
    from shared.coverage import Tally

    rows = [["series", *_COUNTS]]
    below: list[list[str]] = [[]]
    for audited in audits:
        rows.append(_row(str(audited.series), audited.tally))
        below.append([_span_line(audited, sources.get(audited.series.market, ""))])
        for day, tally in audited.days:
            if days or (tally.missing and len(audited.days) > 1):
                rows.append(_row(f"  {day}", tally))
                below.append([])
        below[-1] += _below(audited)
    rows.append(_row(f"{len(audits)} series", Tally.sum(audited.tally for audited in audits)))
    below.append([])
    return [text for line, more in zip(columns(rows), below, strict=True) for text in (line, *more)]


def _span_line(audited: "SeriesAudit", source: str) -> str:
    begin, end = (f"{utc(time_ms):%Y-%m-%d %H:%M}" for time_ms in audited.span)
    span = f"{begin} to {end}" if audited.tally.expected else "nothing expected yet"
    ended = f", ended: {audited.ended}" if audited.ended is not None else ""
    return f"  {span}{ended}" + (f", {source}" if source else "")


def _below(audited: "SeriesAudit") -> list[str]:
    """What is not as it should be of a series."""
    lines = [f"  missing from {utc(gap.begin_ms)} to {utc(gap.end_ms)}" for gap in audited.gaps[:_GAPS_SHOWN]]
    lines += _more(len(audited.gaps) - _GAPS_SHOWN, "gaps")
    lines += [f"  wrong: the row of {utc(row.open_time_ms)} {row.reason}" for row in audited.rows.wrong[:_WRONG_SHOWN]]
    lines += _more(audited.rows.wrong_rows - _WRONG_SHOWN, "wrong rows")
    lines += [f"  unreadable: {error}" for error in audited.errors]
    return lines + [f"  not ours, and taken in by plain readers: {stray}" for stray in audited.strays]


def _render_comparisons(compared: "Iterable[Comparison]") -> list[str]:
    """What was found different, for a terminal."""
    from shared.text import decimal_text

    lines = []
    for comparison in compared:
        different = f"{comparison.different:,} different"
        different += f" and corrected: {comparison.corrected:,}" if comparison.corrected else ""
        lines.append(f"{comparison.series} compared {comparison.compared:,} rows: {different}")
        lines += [
            f"  {utc(found.open_time_ms)} {found.column}: {decimal_text(found.stored)} here, "
            f"{decimal_text(found.theirs)} there"
            for found in comparison.differences[:_GAPS_SHOWN]
        ]
        lines += _more(len(comparison.differences) - _GAPS_SHOWN, "different values")
        for where, count, named in (
            ("here", comparison.only_here, comparison.named_here),
            ("there", comparison.only_there, comparison.named_there),
        ):
            lines += [f"  {utc(open_time_ms)} only {where}" for open_time_ms in named[:_GAPS_SHOWN]]
            lines += _more(count - _GAPS_SHOWN, f"rows only {where}", "the first thousand")
        lines += [f"  not compared: {trouble}" for trouble in comparison.troubles]
    return lines


def _counts(tally: "Tally") -> dict[str, int]:
    """A tally in the words of an audit: what is present is stored."""
    return dict(zip(_COUNTS, tally, strict=True))


def _row(name: str, tally: "Tally") -> list[str]:
    return [name, *(f"{count:,}" for count in tally)]


def _more(count: int, what: str, shows: str = "them") -> list[str]:
    return [f"  … and {count:,} more {what} (--json shows {shows})"] if count > 0 else []
