"""``candlewick symbols``: see and change what a running pipeline records."""

from typing import TYPE_CHECKING, Annotated

import typer

from candlewick.cli.options import (
    INTERVAL,
    Broker,
    Config,
    Data,
    MarketName,
    MarketOrAll,
    Simulator,
    settings_and_flags,
)
from candlewick.cli.plain_help import group
from shared.interval import Interval, utc
from shared.market import Market

if TYPE_CHECKING:
    from producers.live.symbol_changes import Recorded

app = group("See and change which symbols are recorded, while it runs, on every host.")

Symbols = Annotated[
    list[str], typer.Argument(metavar="SYMBOL...", help="Names as the exchange lists them, or patterns as in '*USDT'.")
]


@app.command("list")
def list_symbols(
    market: MarketOrAll = None,
    config: Config = None,
    data: Data = None,
    broker: Broker = None,
    simulator: Simulator = None,
) -> None:
    """Show every series that is recorded, up to when it is published, and what was added and removed."""
    from producers.live.symbol_changes import recorded

    settings, *_ = settings_and_flags(config, data, broker, simulator)
    for each in (market,) if market else [each for each in Market if settings.groups(each)]:
        if market is None:
            print(f"{each}:")
        _show(recorded(settings, each))


@app.command()
def add(
    market: MarketName,
    symbols: Symbols,
    interval: Annotated[
        list[Interval] | None,
        typer.Option(help="At this interval; may be repeated. Those in the settings by default.", **INTERVAL),
    ] = None,
    config: Config = None,
    data: Data = None,
    broker: Broker = None,
    simulator: Simulator = None,
) -> None:
    """Record more symbols, from now on and after restarts, on every host that uses this broker."""
    from producers.live.symbol_changes import change, parse_changes

    settings, *_ = settings_and_flags(config, data, broker, simulator)
    _show(change(settings, market, parse_changes(symbols, interval or (), record=True)))


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
    from producers.live.symbol_changes import change, parse_changes

    settings, *_ = settings_and_flags(config, data, broker, simulator)
    _show(change(settings, market, parse_changes(symbols, (), record=False)))


def _show(found: "Recorded") -> None:
    for series, published_to in sorted(found.series.items()):
        published = f"published up to {utc(published_to)}" if published_to is not None else "nothing published yet"
        status = found.status.get(series.symbol, "not listed")
        print(f"{f'{series.symbol}-{series.interval}':<28} {status:<14} {published}")
    for change in found.changes:
        at = f" at {', '.join(change.intervals)}" if change.intervals else ""
        print(f"{'added' if change.record else 'removed'} by command: {change.symbol}{at}")
    if found.broker_trouble is not None:
        print(f"what was added and removed by command is not known: {found.broker_trouble}")
    if found.trouble is not None:
        print(f"the exchange's list cannot be read, patterns are not resolved here: {found.trouble}")
    print(f"{len(found.series)} series")
