"""Commands that fetch what was never recorded."""

from collections.abc import Callable
from typing import Annotated, Any

import typer

from candlewick.cli.options import Config, Data, LogLevel, Simulator, settings_and_flags


def backfill(
    market: Annotated[str, typer.Argument(help="spot, usdt_futures or coin_futures.")],
    symbols: Annotated[list[str], typer.Argument(metavar="SYMBOL...", help="As the exchange lists them.")],
    interval: Annotated[
        list[str], typer.Option("--interval", help="At this interval; may be repeated.", show_default=False)
    ],
    start: Annotated[str, typer.Option("--from", metavar="TIME", help="First open time, UTC.", show_default=False)],
    end: Annotated[
        str | None, typer.Option("--to", metavar="TIME", help="Open time to stop before. [default: now]")
    ] = None,
    archive: Annotated[
        str | None,
        typer.Option(
            metavar="URL|DIR",
            help="Take what there is from Binance's public archive, https://data.binance.vision, or a mirror of it.",
            show_default=False,
        ),
    ] = None,
    unverified: Annotated[
        bool, typer.Option("--unverified", help="Take archive files without a CHECKSUM beside them, too.")
    ] = False,
    config: Config = None,
    data: Data = None,
    simulator: Simulator = None,
    log_level: LogLevel = None,
) -> None:
    """Fetch history into the same store, whether or not it is being written to. May be interrupted and run again.

    Leaves with 1 when something could not be had.
    """
    from candlewick.backfill.backfill import backfill as run
    from candlewick.backfill.backfill import make_order
    from candlewick.cli.arguments import milliseconds, parse_interval, parse_market, parse_symbol, parse_time
    from shared.process.logs import configure_logging

    settings, *_ = settings_and_flags(config, data, simulator=simulator, log_level=log_level)
    order = make_order(
        settings,
        parse_market(market),
        [parse_symbol(symbol) for symbol in symbols],
        [parse_interval(one) for one in interval],
        max(milliseconds(parse_time(start, "--from")) or 0, 0),
        milliseconds(parse_time(end, "--to")),
        archive,
        unverified=unverified,
    )
    configure_logging("backfill", settings.log.level)
    raise typer.Exit(run(settings, order))


COMMANDS: tuple[Callable[..., Any], ...] = (backfill,)
