"""``candlewick backfill``: the command that fetches what was never recorded."""

from typing import Annotated

import typer

from candlewick.cli import options
from shared.arguments import parse_symbol
from shared.interval import Interval


def backfill(
    market: options.MarketName,
    symbols: Annotated[
        list[str], typer.Argument(parser=parse_symbol, metavar="SYMBOL...", help="As the exchange lists them.")
    ],
    interval: Annotated[
        list[Interval], typer.Option(help="At this interval; may be repeated.", show_default=False, **options.INTERVAL)
    ],
    start: options.FromRequired,
    end: options.To = None,
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
    workers: options.Workers = None,
    dask: options.Dask = None,
    config: options.Config = None,
    data: options.Data = None,
    simulator: options.Simulator = None,
    log_level: options.LogLevel = None,
    mix_sources: options.MixSources = False,
) -> None:
    """Fetch history into the same store, whether or not it is being written to. May be interrupted and run again.

    Leaves with 1 when something could not be had.
    """
    from candlewick.backfill.backfill import backfill as run
    from candlewick.backfill.backfill import make_order
    from shared.process.logs import configure_logging

    settings, *_ = options.settings_and_flags(
        config, data, simulator=simulator, log_level=log_level, mix_sources=mix_sources
    )
    order = make_order(settings, market, symbols, interval, max(start, 0), end, archive, unverified=unverified)
    configure_logging("backfill", settings.log.level, settings.log.format)
    raise typer.Exit(run(settings, order, workers, dask))
