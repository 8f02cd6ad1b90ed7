"""Commands about what was recorded: read it, write it anew from the streams, join its small files."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from candlewick.cli import options
from shared.candle import Series
from shared.text import counted

if TYPE_CHECKING:
    import pandas as pd

_FORMATS = ("table", "csv", "json", "parquet")


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
    """Print or export recorded candles of one series."""
    from consumer.dataset.dataset import Dataset
    from shared.errors import CandlewickError

    named = output.suffix.removeprefix(".") if output else ""
    form = form or (named if named in _FORMATS else "table")
    if form not in _FORMATS:
        raise CandlewickError(f"format {form!r} is not known: {', '.join(_FORMATS)}")
    if form == "parquet" and output is None and sys.stdout.isatty():
        raise CandlewickError("parquet is not for a terminal: name a file with --output")
    settings, *_ = options.settings_and_flags(config, data)
    series = Series(market, symbol, interval)
    frame = Dataset.in_folder(settings.data.folder).frame(series, start, end)
    if tail is not None:
        frame = frame.tail(tail)
    content = _rendered(frame, form)
    if output is None:
        sys.stdout.buffer.write(content)
        return
    try:
        output.write_bytes(content)
    except OSError as error:
        raise CandlewickError(f"{output} cannot be written: {error.strerror}") from None
    print(f"{counted(len(frame), 'candle')} of {series} written to {output}")


def _rendered(frame: "pd.DataFrame", form: str) -> bytes:
    import io

    if form == "parquet":
        sink = io.BytesIO()
        frame.to_parquet(sink)
        return sink.getvalue()
    if form == "csv":
        return frame.to_csv(lineterminator="\n").encode()
    if form == "json":
        return str(frame.reset_index().to_json(orient="records", date_format="iso", lines=True)).encode()
    import pandas as pd

    with pd.option_context("display.width", None, "display.max_columns", None, "display.max_rows", 60):
        return f"{frame}\n".encode()


def replay(
    into: Annotated[Path, typer.Option("--into", help="Folder for the new store; not the one that is recorded to.")],
    market: options.OnlyMarket = None,
    symbol: options.OnlySymbol = None,
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

    settings, *_ = options.settings_and_flags(config, data, broker)
    if into.resolve().is_relative_to(settings.data.folder.resolve()):
        raise SettingsError(f"{into} is in the data folder that is recorded to: replay into another one")
    with options.broker_connection(config, data, broker) as (client, keys):
        done = run(client, keys, into, Selection(market, symbol, interval, start, end))
    print(
        f"{counted(done.candles, 'candle')} of {done.series} series from {counted(done.entries, 'entry', 'entries')} "
        f"into {into / 'candles'}" + (f"; {done.unreadable} entries could not be read" if done.unreadable else "")
    )


def compact(
    market: options.OnlyMarket = None,
    symbol: options.OnlySymbol = None,
    interval: options.OnlyInterval = None,
    config: options.Config = None,
    data: options.Data = None,
) -> None:
    """Join the small files of closed months. Recording goes on; plain readers had better not look meanwhile."""
    from consumer.dataset.compact import compact as run
    from consumer.dataset.dataset import Dataset
    from consumer.storage.durable import Staging
    from consumer.storage.local import LocalStorage
    from shared.errors import StoreError

    settings, *_ = options.settings_and_flags(config, data)
    if not settings.candles_folder.is_dir():
        raise StoreError(f"nothing was recorded: there is no {settings.candles_folder}")
    staging = Staging(settings.staging_folder)
    try:
        storage = LocalStorage(settings.data.folder, staging, settings.writer.lock_timeout_seconds)
        chosen = [
            series
            for series in Dataset(storage).series()
            if all(want in (None, have) for want, have in zip((market, symbol, interval), series, strict=True))
        ]
        files, months = run(storage, chosen)
    finally:
        staging.close()
    print(f"joined {counted(files, 'file')} into {counted(months, 'month')}")


COMMANDS: tuple[Callable[..., Any], ...] = (read, replay, compact)
