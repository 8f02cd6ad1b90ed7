"""Commands about what was recorded."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from candlewick.cli.options import Broker, Config, Data, Simulator, broker_connection, settings_and_flags
from shared.text import counted

if TYPE_CHECKING:
    import pandas as pd

_FORMATS = ("table", "csv", "json", "parquet")
From = Annotated[str | None, typer.Option("--from", metavar="TIME", help="First open time, UTC.", show_default=False)]
To = Annotated[str | None, typer.Option("--to", metavar="TIME", help="Open time to stop before.", show_default=False)]


def read(
    market: Annotated[str, typer.Argument(help="spot, usdt_futures or coin_futures.")],
    symbol: Annotated[str, typer.Argument(help="As the exchange lists it.")],
    interval: Annotated[str, typer.Argument(help="As the exchange spells it, such as 1m.")],
    start: From = None,
    end: To = None,
    tail: Annotated[int | None, typer.Option(help="Only the last so many.", min=1, show_default=False)] = None,
    form: Annotated[
        str | None, typer.Option("--format", help=f"{', '.join(_FORMATS)}. [default: by the output's name, else table]")
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Write to this file.", show_default=False)
    ] = None,
    config: Config = None,
    data: Data = None,
) -> None:
    """Print or export recorded candles of one series."""
    from candlewick.cli.arguments import parse_series, parse_time
    from consumer.dataset.read import read_frame
    from shared.errors import CandlewickError

    named = output.suffix.removeprefix(".") if output else ""
    form = form or (named if named in _FORMATS else "table")
    if form not in _FORMATS:
        raise CandlewickError(f"format {form!r} is not known: {', '.join(_FORMATS)}")
    if form == "parquet" and output is None and sys.stdout.isatty():
        raise CandlewickError("parquet is not for a terminal: name a file with --output")
    settings, *_ = settings_and_flags(config, data)
    series = parse_series(market, symbol, interval)
    frame = read_frame(settings.candles_folder, series, parse_time(start, "--from"), parse_time(end, "--to"))
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


def audit(
    market: Annotated[str | None, typer.Argument(help="spot, usdt_futures or coin_futures. [default: all]")] = None,
    symbols: Annotated[
        list[str] | None, typer.Argument(metavar="[SYMBOL...]", help="Only these. [default: all]")
    ] = None,
    start: From = None,
    end: To = None,
    interval: Annotated[str | None, typer.Option(help="Only this interval.", show_default=False)] = None,
    days: Annotated[bool, typer.Option("--days", help="Show every day, not only those with gaps.")] = False,
    repair: Annotated[
        bool, typer.Option("--repair", help="Fetch what is missing over REST, then count again.")
    ] = False,
    against: Annotated[
        str | None,
        typer.Option(metavar="rest|archive|URL|DIR", help="Compare every value, too. Nothing is changed."),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    config: Config = None,
    data: Data = None,
    simulator: Simulator = None,
) -> None:
    """Count what is expected, stored, absent and missing, from the Parquet files themselves.

    Leaves with 1 when anything is missing, wrong, unreadable or different.
    """
    from candlewick.cli import audit as auditing
    from candlewick.cli.arguments import milliseconds, parse_interval, parse_market, parse_symbol, parse_time

    settings, *_ = settings_and_flags(config, data, simulator=simulator)
    chosen = auditing.chosen_series(
        settings,
        parse_market(market) if market else None,
        [parse_symbol(symbol) for symbol in symbols or ()],
        parse_interval(interval) if interval else None,
    )
    start_ms, end_ms = milliseconds(parse_time(start, "--from")), milliseconds(parse_time(end, "--to"))
    found = auditing.audit(settings, chosen, start_ms, end_ms)
    if repair:
        auditing.repair(settings, found)
        found = auditing.audit(settings, chosen, start_ms, end_ms)
    compared = auditing.compare(settings, found, against) if against is not None else []
    if json:
        import orjson

        print(orjson.dumps(auditing.as_json(found, compared), option=orjson.OPT_INDENT_2).decode())
    else:
        print(auditing.render(found, days=days))
        for line in auditing.render_comparisons(compared):
            print(line)
    good = all(one.is_good for one in found) and not any(one.different or one.troubles for one in compared)
    raise typer.Exit(0 if good else 1)


def replay(
    into: Annotated[Path, typer.Option("--into", help="Folder for the new store; not the one that is recorded to.")],
    market: Annotated[str | None, typer.Option(help="Only this market.", show_default=False)] = None,
    symbol: Annotated[str | None, typer.Option(help="Only this symbol.", show_default=False)] = None,
    interval: Annotated[str | None, typer.Option(help="Only this interval.", show_default=False)] = None,
    start: From = None,
    end: To = None,
    config: Config = None,
    data: Data = None,
    broker: Broker = None,
) -> None:
    """Read the retained streams again and write the same store anew."""
    from candlewick.cli.arguments import milliseconds, parse_interval, parse_market, parse_symbol, parse_time
    from consumer.recovery.replay import Selection
    from consumer.recovery.replay import replay as run
    from shared.errors import SettingsError

    settings, *_ = settings_and_flags(config, data, broker)
    if into.resolve().is_relative_to(settings.data.folder.resolve()):
        raise SettingsError(f"{into} is in the data folder that is recorded to: replay into another one")
    selection = Selection(
        market=parse_market(market) if market else None,
        symbol=parse_symbol(symbol) if symbol else None,
        interval=parse_interval(interval) if interval else None,
        start_ms=milliseconds(parse_time(start, "--from")),
        end_ms=milliseconds(parse_time(end, "--to")),
    )
    with broker_connection(config, data, broker) as (client, keys):
        done = run(client, keys, into, selection)
    print(
        f"{counted(done.candles, 'candle')} of {done.series} series from {counted(done.entries, 'entry', 'entries')} "
        f"into {into / 'candles'}" + (f"; {done.unreadable} entries could not be read" if done.unreadable else "")
    )


def compact(
    market: Annotated[str | None, typer.Option(help="Only this market.", show_default=False)] = None,
    symbol: Annotated[str | None, typer.Option(help="Only this symbol.", show_default=False)] = None,
    interval: Annotated[str | None, typer.Option(help="Only this interval.", show_default=False)] = None,
    config: Config = None,
    data: Data = None,
) -> None:
    """Join the small files of closed months. Recording goes on; plain readers had better not look meanwhile."""
    from candlewick.cli.arguments import parse_interval, parse_market, parse_symbol
    from candlewick.cli.compact import compact_all

    settings, *_ = settings_and_flags(config, data)
    files, months = compact_all(
        settings,
        parse_market(market) if market else None,
        parse_symbol(symbol) if symbol else None,
        parse_interval(interval) if interval else None,
    )
    print(f"joined {counted(files, 'file')} into {counted(months, 'month')}")


COMMANDS: tuple[Callable[..., Any], ...] = (read, audit, replay, compact)
