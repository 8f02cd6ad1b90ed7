"""``candlewick symbols``: see and change what a running pipeline records."""

from typing import TYPE_CHECKING, Annotated

import typer

from candlewick.cli.options import Broker, Config, Data, Simulator, settings_and_flags

if TYPE_CHECKING:
    from candlewick.cli.recorded_symbols import Recorded

app = typer.Typer(no_args_is_help=True, help="See and change which symbols are recorded, while it runs, on every host.")

MarketName = Annotated[str, typer.Argument(metavar="MARKET", help="spot, usdt_futures or coin_futures.")]
Symbols = Annotated[
    list[str], typer.Argument(metavar="SYMBOL...", help="Names as the exchange lists them, or patterns as in '*USDT'.")
]


@app.command("list")
def list_symbols(
    market: MarketName,
    config: Config = None,
    data: Data = None,
    broker: Broker = None,
    simulator: Simulator = None,
) -> None:
    """Show every series that is recorded, up to when it is safe, and what was added and removed."""
    from candlewick.cli.arguments import parse_market
    from candlewick.cli.recorded_symbols import recorded

    settings, *_ = settings_and_flags(config, data, broker, simulator)
    _show(recorded(settings, parse_market(market)))


@app.command()
def add(
    market: MarketName,
    symbols: Symbols,
    interval: Annotated[
        list[str] | None,
        typer.Option("--interval", help="At this interval; may be repeated. [default: those in the settings]"),
    ] = None,
    config: Config = None,
    data: Data = None,
    broker: Broker = None,
    simulator: Simulator = None,
) -> None:
    """Record more symbols, from now on and after restarts, on every host that uses this broker."""
    from candlewick.cli.arguments import parse_interval, parse_market
    from candlewick.cli.recorded_symbols import change, parse_changes

    settings, *_ = settings_and_flags(config, data, broker, simulator)
    wanted = parse_changes(symbols, [parse_interval(one) for one in interval or ()], record=True)
    _show(change(settings, parse_market(market), wanted))


@app.command()
def remove(
    market: MarketName,
    symbols: Symbols,
    config: Config = None,
    data: Data = None,
    broker: Broker = None,
    simulator: Simulator = None,
) -> None:
    """Stop recording symbols, whether the settings name them or not. What was recorded stays."""
    from candlewick.cli.arguments import parse_market
    from candlewick.cli.recorded_symbols import change, parse_changes

    settings, *_ = settings_and_flags(config, data, broker, simulator)
    _show(change(settings, parse_market(market), parse_changes(symbols, (), record=False)))


def _show(found: "Recorded") -> None:
    from shared.interval import utc

    for series, safe_to_ms in sorted(found.series.items()):
        safe = f"safe up to {utc(safe_to_ms)}" if safe_to_ms is not None else "nothing is safe yet"
        print(f"{f'{series.symbol}-{series.interval}':<28} {found.status.get(series.symbol, 'not listed'):<14} {safe}")
    for one in found.changes:
        at = f" at {', '.join(one.intervals)}" if one.intervals else ""
        print(f"{'added' if one.record else 'removed'} by command: {one.symbol}{at}")
    if found.trouble is not None:
        print(f"the exchange's list cannot be read, patterns are not resolved here: {found.trouble}")
    print(f"{len(found.series)} series")
