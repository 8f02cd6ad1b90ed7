"""Commands about what was recorded: list it, read it, join its small files."""

import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, BinaryIO

import typer

from candlewick.cli import options
from shared.errors import CandlewickError
from shared.text import counted

if TYPE_CHECKING:
    import pyarrow as pa

    from candlewick.recording.recording import Recording

_FORMATS = ("table", "csv", "json", "jsonl", "parquet", "arrow")
_BINARY = ("parquet", "arrow")


def ls(
    market: options.MarketOrAll = None,
    symbols: options.SymbolPatterns = None,
    interval: options.OnlyInterval = None,
    json: options.Json = False,
    stored_only: options.StoredOnly = False,
    config: options.Config = None,
    data: options.Data = None,
    broker: options.Broker = None,
) -> None:
    """List what was recorded: each series, since when and up to when, how many candles, and what is missing."""
    from candlewick.cli.columns import columns, fitting, terminal_columns
    from shared.interval import utc

    with options.recording(config, data, broker, stored_only=stored_only) as rec:
        table = rec.series(market, symbols, interval, engine="arrow")
    rows = table.to_pylist()
    if json:
        options.print_json(rows)
        return
    names = ["series", "last", "rows", "missing", "absent", "state", "first"]
    lines = [names]
    for row in rows:
        first, last = (utc(int(row[name].timestamp() * 1000)) if row[name] else None for name in ("first", "last"))
        lines.append(
            [
                f"{row['market']} {row['symbol']}-{row['interval']}",
                f"{last:%Y-%m-%d %H:%M}" if last else "-",
                *(f"{row[name]:,}" for name in ("rows", "missing", "absent")),
                row["state"].partition(":")[0],
                f"{first:%Y-%m-%d}" if first else "-",
            ]
        )
    count = fitting(lines, terminal_columns())
    print("\n".join(columns([line[:count] for line in lines])))
    print(
        "".join(
            f"{line[0]}: {row['state']}\n" for line, row in zip(lines[1:], rows, strict=True) if ":" in row["state"]
        ),
        end="",
    )
    others = sorted({(row["market"], row["source"]) for row in rows if row["source"] != "binance"})
    print("".join(f"candles of {market} come from {source}\n" for market, source in others), end="")


def read(
    given: options.MarketsOrAll,
    names: Annotated[
        list[str],
        typer.Argument(
            metavar="[SYMBOL...] INTERVAL",
            help="Symbols as the exchange lists them, or patterns such as '*USDT'; then the interval, such as 1m.",
            show_default=False,
        ),
    ],
    symbols: Annotated[
        list[str] | None,
        typer.Option("--symbols", help="Symbols or patterns, in place of those above.", metavar="SYMBOLS"),
    ] = None,
    start: options.From = None,
    end: options.To = None,
    tail: Annotated[
        int | None, typer.Option(help="Only the last so many of each series.", min=1, show_default=False)
    ] = None,
    columns: Annotated[
        str | None, typer.Option(help="Only these columns, separated by commas.", show_default=False)
    ] = None,
    wide: Annotated[
        bool, typer.Option("--wide", help="One column of all symbols side by side: close by default.")
    ] = False,
    resample: Annotated[
        str | None,
        typer.Option(help="Make candles of this longer interval.", metavar="INTERVAL", show_default=False),
    ] = None,
    offset: Annotated[str | None, typer.Option(help="Move their open times, as in 30min.", show_default=False)] = None,
    incomplete: Annotated[
        str, typer.Option(help="Of those of which a part is missing: drop, mark or keep them.")
    ] = "drop",
    form: Annotated[
        str | None,
        typer.Option("--format", help=f"{', '.join(_FORMATS)}; by default as the output is named, else table."),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Write to this file.", show_default=False)
    ] = None,
    stored_only: options.StoredOnly = False,
    config: options.Config = None,
    data: options.Data = None,
    broker: options.Broker = None,
) -> None:
    """Print or export candles of one series, several or all, the newest one among them.

    A table shows what fits the terminal, every digit of it.
    """
    options.check_range(start, end)
    form, market = _checked_form(form, output), options.market_or_all(given)
    *chosen, interval = names
    wanted = [*chosen, *(symbols or ())]
    question: dict[str, Any] = {
        "symbols": wanted[0] if len(wanted) == 1 else wanted or None,
        "interval": interval,
        "start": options.moment(start),
        "end": options.moment(end),
        "columns": columns.split(",") if columns else None,
        "tail": tail,
        "resample": resample,
        "offset": offset,
        "incomplete": incomplete,
    }
    with options.recording(config, data, broker, stored_only=stored_only) as rec:
        if wide:
            tables: Iterator[pa.Table] = iter([rec.read(market, **question, wide=True, engine="arrow")])
        else:
            tables = (table for _, table in rec.blocks(market, **question))
        _tell_source(rec, market, to_terminal=form == "table" and output is None)
        if output is None:
            _write(form, tables, sys.stdout.buffer, everything=tail is not None)
            return
        count = _write_file(form, tables, output)
        print(f"{counted(count, 'row' if wide else 'candle')} written to {output}")


def _checked_form(form: str | None, output: Path | None) -> str:
    named = output.suffix.removeprefix(".") if output else ""
    form = form or (named if named in _FORMATS else "table")
    if form not in _FORMATS:
        raise CandlewickError(f"format {form!r} is not known: {', '.join(_FORMATS)}")
    if form in _BINARY and output is None and sys.stdout.isatty():
        raise CandlewickError(f"{form} is not for a terminal: name a file with --output")
    return form


def _tell_source(rec: "Recording", market: Any, *, to_terminal: bool) -> None:
    """Say whose candles they are, where they are not Binance's; an export is for programs."""
    from shared.market import Market

    for one in [market] if market is not None else Market:
        source = rec.source(one)
        if source and (to_terminal or sys.stderr.isatty()):
            print(f"{one}: {source}", file=sys.stdout if to_terminal else sys.stderr, flush=True)


def _write(form: str, tables: "Iterable[pa.Table]", sink: BinaryIO, *, everything: bool) -> int:
    """Write tables in a form; how many rows."""
    from candlewick.cli.columns import terminal_columns

    if form != "table":
        from candlewick.cli.export import export

        return export(form, tables, sink)
    from candlewick.cli.tables import render

    count = 0

    def counting() -> "Iterator[pa.Table]":
        nonlocal count
        for table in tables:
            count += table.num_rows
            yield table

    lines = render(counting(), terminal_columns(), everything=everything)
    sink.writelines(f"{line}\n".encode() for line in lines)
    return count


def _write_file(form: str, tables: "Iterable[pa.Table]", output: Path) -> int:
    """Write tables to a file, which is there when it is whole, or to whatever else has that name; how many rows."""
    try:
        if output.exists() and (output.is_symlink() or not output.is_file()):
            with output.open("wb") as sink:
                return _write(form, tables, sink, everything=True)
    except OSError as error:
        raise CandlewickError(f"{output} cannot be written: {error.strerror}") from None
    unfinished = output.with_name(f"{output.name}.{os.getpid()}.part")
    try:
        with unfinished.open("wb") as sink:
            count = _write(form, tables, sink, everything=True)
        unfinished.replace(output)
    except OSError as error:
        raise CandlewickError(f"{output} cannot be written: {error.strerror}") from None
    finally:
        unfinished.unlink(missing_ok=True)
    return count


def compact(
    market: options.MarketOrAll = None,
    symbols: options.OnlySymbols = None,
    interval: options.OnlyInterval = None,
    workers: options.Workers = None,
    dask: options.Dask = None,
    config: options.Config = None,
    data: options.Data = None,
) -> None:
    """Join the small files of closed months. Recording goes on; plain readers had better not look meanwhile."""
    from candlewick.parallel.over_workers import in_batches
    from consumer.dataset.compact import compact_here
    from consumer.dataset.dataset import Dataset

    settings, *_ = options.settings_and_flags(config, data)
    chosen = Dataset.of(settings).matching(market, symbols or (), interval)
    done = in_batches(compact_here, settings, chosen, workers=workers, address=dask)
    files, months = sum(one.files for one in done), sum(one.months for one in done)
    failures = sorted(failure for one in done for failure in one.failures)
    print(f"joined {counted(files, 'file')} into {counted(months, 'month')}")
    for failure in failures:
        print(f"not joined: {failure}", file=sys.stderr)
    raise typer.Exit(1 if failures else 0)
