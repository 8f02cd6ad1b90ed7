"""Commands about the exchange itself: see its frames, parse them, or simulate it."""

from pathlib import Path
from typing import Annotated

import typer

from candlewick.cli import options
from candlewick.cli.options import Config, IntervalName, MarketName, Simulator, SymbolName, settings_and_flags
from shared.candle import Series
from shared.interval import Interval
from shared.market import Market
from simulator.command import simulate

__all__ = ["demo", "parse", "simulate", "watch"]


def watch(
    market: MarketName,
    symbol: SymbolName,
    interval: IntervalName = Interval.M1,
    count: Annotated[int | None, typer.Option(help="Leave after so many frames.", min=1, show_default=False)] = None,
    config: Config = None,
    simulator: Simulator = None,
) -> None:
    """Print a series' raw frames as they come from the exchange."""
    import asyncio

    from candlewick.cli.frames import print_frames

    settings, *_ = settings_and_flags(config, simulator=simulator)
    asyncio.run(print_frames(Series(market, symbol, interval), settings, count))


def parse(
    file: Annotated[Path, typer.Argument(help="Frames: a JSON array, or one a line.")],
    market: Annotated[Market, typer.Option(help="Whose frames they are.", **options.MARKET)] = Market.USDT_FUTURES,
) -> None:
    """Parse a file of frames; print each one's row, or why there is none."""
    from candlewick.cli.frames import describe_frames

    for line in describe_frames(file, market):
        print(line)


def demo(
    seconds: Annotated[float, typer.Option(help="How long; 0 until Ctrl-C.", min=0)] = 60,
    data: Annotated[
        Path,
        typer.Option(
            "--data", "-d", help="Each run gets a folder of its own below this one, or below an object store's URL."
        ),
    ] = options.DEMO_DATA,
    speed: Annotated[str, typer.Option(help="Simulated seconds a second.")] = "60",
    config: Config = None,
) -> None:
    """Record from the simulated exchange for a while, then show what was recorded."""
    from candlewick.cli.demo import run_demo

    raise typer.Exit(run_demo(data, speed, seconds or None, config))
