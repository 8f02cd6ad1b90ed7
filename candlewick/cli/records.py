"""Commands about what was recorded: read it, write it anew from the streams, join its small files."""

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, BinaryIO

import typer

from candlewick.cli import options
from shared.candle import Series
from shared.errors import CandlewickError
from shared.source import shown
from shared.text import counted

if TYPE_CHECKING:
    from consumer.storage.table import Rows
    from shared.interval import Interval

_FORMATS = ("table", "csv", "json", "jsonl", "parquet")


def read(
    market: options.MarketName,
    symbol: options.SymbolName,
    interval: options.IntervalName,
    start: options.From = None,
    end: options.To = None,
    tail: Annotated[int | None, typer.Option(help="Only the last so many.", min=1, show_default=False)] = None,
    form: Annotated[
        str | None,
        typer.Option("--format", help=f"{', '.join(_FORMATS)}; by default as the output is named, else table."),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Write to this file.", show_default=False)
    ] = None,
    config: options.Config = None,
    data: options.Data = None,
) -> None:
    """Print or export recorded candles of one series. A table shows what fits the terminal, every digit of it."""
    from consumer.dataset.dataset import ALWAYS_MS, Dataset

    options.check_range(start, end)
    named = output.suffix.removeprefix(".") if output else ""
    form = form or (named if named in _FORMATS else "table")
    if form not in _FORMATS:
        raise CandlewickError(f"format {form!r} is not known: {', '.join(_FORMATS)}")
    if form == "parquet" and output is None and sys.stdout.isatty():
        raise CandlewickError("parquet is not for a terminal: name a file with --output")
    settings, *_ = options.settings_and_flags(config, data)
    dataset, series = Dataset.in_folder(settings.data.folder), Series(market, symbol, interval)
    span = (-ALWAYS_MS if start is None else start, ALWAYS_MS if end is None else end)
    parts = dataset.parts(series, *span) if tail is None else iter([dataset.last_rows(series, tail, *span)])
    source = shown(dataset.sources(market))
    if source and form == "table" and output is None:
        print(f"{series}: {source}", flush=True)
    elif source and sys.stderr.isatty():  # an export is for programs
        print(f"{series}: {source}", file=sys.stderr)
    if output is None:
        _write(form, parts, interval, sys.stdout.buffer, everything=tail is not None)
        return
    count = _write_file(form, parts, interval, output)
    print(f"{counted(count, 'candle')} of {series} written to {output}")


def _write(form: str, parts: "Iterator[Rows]", interval: "Interval", sink: BinaryIO, *, everything: bool) -> int:
    """Write rows in a form; how many."""
    from candlewick.cli.columns import terminal_columns
    from candlewick.cli.export import export
    from candlewick.cli.tables import render
    from consumer.storage.table import concatenate

    if form != "table":
        return export(form, parts, interval, sink)
    rows = concatenate(parts)
    sink.writelines(f"{line}\n".encode() for line in render(rows, interval, terminal_columns(), everything=everything))
    return len(rows)


def _write_file(form: str, parts: "Iterator[Rows]", interval: "Interval", output: Path) -> int:
    """Write rows to a file, which is there when it is whole, or to whatever else has that name; how many."""
    try:
        if output.exists() and (output.is_symlink() or not output.is_file()):
            with output.open("wb") as sink:
                return _write(form, parts, interval, sink, everything=True)
    except OSError as error:
        raise CandlewickError(f"{output} cannot be written: {error.strerror}") from None
    unfinished = output.with_name(f"{output.name}.{os.getpid()}.part")
    try:
        with unfinished.open("wb") as sink:
            count = _write(form, parts, interval, sink, everything=True)
        unfinished.replace(output)
    except OSError as error:
        raise CandlewickError(f"{output} cannot be written: {error.strerror}") from None
    finally:
        unfinished.unlink(missing_ok=True)
    return count


def replay(
    into: Annotated[Path, typer.Option("--into", help="Folder for the new store; not the one that is recorded to.")],
    market: options.MarketOrAll = None,
    symbols: options.OnlySymbols = None,
    interval: options.OnlyInterval = None,
    start: options.From = None,
    end: options.To = None,
    config: options.Config = None,
    data: options.Data = None,
    broker: options.Broker = None,
) -> None:
    """Read the retained streams again and write the same store anew."""
    from consumer.recovery.replay import Selection
    from consumer.recovery.replay import replay as run
    from shared.errors import SettingsError

    options.check_range(start, end)
    settings, *_ = options.settings_and_flags(config, data, broker)
    if into.resolve().is_relative_to(settings.data.folder.resolve()):
        raise SettingsError(f"{into} is in the data folder that is recorded to: replay into another one")
    with options.broker_connection(config, data, broker) as (client, keys):
        done = run(client, keys, into, Selection(market, frozenset(symbols or ()), interval, start, end))
    print(
        f"{counted(done.candles, 'candle')} of {done.series} series from {counted(done.entries, 'entry', 'entries')} "
        f"into {into / 'candles'}" + (f"; {done.unreadable} entries could not be read" if done.unreadable else "")
    )
    if done.conflicts:
        print(f"two different candles met {counted(done.conflicts, 'time')}: the one with more trades stays")


def compact(
    market: options.MarketOrAll = None,
    symbols: options.OnlySymbols = None,
    interval: options.OnlyInterval = None,
    config: options.Config = None,
    data: options.Data = None,
) -> None:
    """Join the small files of closed months. Recording goes on; plain readers had better not look meanwhile."""
    from consumer.dataset.compact import compact as run
    from consumer.dataset.dataset import Dataset
    from consumer.storage.durable import Staging
    from consumer.storage.local import LocalStorage

    settings, *_ = options.settings_and_flags(config, data)
    chosen = Dataset.in_folder(settings.data.folder).matching(market, symbols or (), interval)
    staging = Staging(settings.staging_folder)
    try:
        storage = LocalStorage(settings.data.folder, staging, settings.writer.lock_timeout_seconds)
        files, months, failures = run(storage, chosen)
    finally:
        staging.close()
    print(f"joined {counted(files, 'file')} into {counted(months, 'month')}")
    for failure in failures:
        print(f"not joined: {failure}", file=sys.stderr)
    raise typer.Exit(1 if failures else 0)


COMMANDS: tuple[Callable[..., Any], ...] = (read, replay, compact)
