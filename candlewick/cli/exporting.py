"""The command ``export``: files as other tools keep candles."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from candlewick.cli import options
from shared.text import counted


def export(
    folder: Annotated[Path, typer.Argument(help="Where to.", metavar="DIR")],
    market: options.MarketOrAll = None,
    symbols: options.SymbolPatterns = None,
    layout: Annotated[str, typer.Option(help="single, freqtrade, nautilus or hive.")] = "hive",
    interval: options.OnlyInterval = None,
    start: options.From = None,
    end: options.To = None,
    stored_only: options.StoredOnly = False,
    config: options.Config = None,
    data: options.Data = None,
    broker: options.Broker = None,
) -> None:
    """Write series as other tools keep candles: one file each, for freqtrade, for Nautilus, or months in folders.

    What is there of an earlier export is replaced. Leaves with 1 when a series could not be exported.
    """
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    options.check_range(start, end)
    files, rows, failures = 0, 0, list[str]()
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    console = Console(stderr=True)
    with options.recording(config, data, broker, stored_only=stored_only) as rec:
        steps = rec.export(folder, market, symbols, interval, options.moment(start), options.moment(end), layout=layout)
        with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
            task = progress.add_task("")
            for done in steps:
                progress.update(task, total=done.of, description=str(done.series), advance=1)
                rows, files = rows + done.rows, files + (done.rows > 0)
                failures += [done.error] if done.error else []
    for failure in failures:
        print(f"not exported: {failure}", file=sys.stderr)
    print(f"{counted(rows, 'candle')} of {counted(files, 'series', 'series')} in {folder}")
    raise typer.Exit(1 if failures else 0)
