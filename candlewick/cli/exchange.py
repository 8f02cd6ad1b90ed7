"""Commands about the exchange itself: see its frames, parse them, or simulate it."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from candlewick.cli.options import Config, LogLevel, Simulator, settings_and_flags

_FAULT_NAMES = (
    "drop, close, shutdown, silent_connection, silent_channel, silent_on_connect, late_close, no_close, duplicate, "
    "out_of_order, corrupt, truncated, wrong_time, rest_429, rest_418, rest_5xx, rest_timeout, rest_slow, "
    "rest_garbage, holes, listing, delisting, late_close_seconds, wrong_time_seconds, rest_ban_seconds, "
    "rest_slow_seconds"
)


def watch(
    market: Annotated[str, typer.Argument(help="spot, usdt_futures or coin_futures.")],
    symbol: Annotated[str, typer.Argument(help="As the exchange lists it.")],
    interval: Annotated[str, typer.Argument(help="As the exchange spells it.")] = "1m",
    count: Annotated[int | None, typer.Option(help="Leave after so many frames.", min=1, show_default=False)] = None,
    config: Config = None,
    simulator: Simulator = None,
) -> None:
    """Print a series' raw frames as they come from the exchange."""
    import asyncio

    from candlewick.cli.arguments import parse_series
    from candlewick.cli.frames import print_frames

    settings, *_ = settings_and_flags(config, simulator=simulator)
    asyncio.run(print_frames(parse_series(market, symbol, interval), settings, count))


def parse(
    file: Annotated[Path, typer.Argument(help="Frames: a JSON array, or one a line.")],
    market: Annotated[str, typer.Option(help="Whose frames they are.")] = "usdt_futures",
) -> None:
    """Parse a file of frames; print each one's row, or why there is none."""
    from candlewick.cli.arguments import parse_market
    from candlewick.cli.frames import describe_frames

    for line in describe_frames(file, parse_market(market)):
        print(line)


def simulate(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on; 0 takes a free one.", min=0, max=65535)] = 8900,
    seed: Annotated[int, typer.Option(help="Of the synthetic market.")] = 1,
    klines: Annotated[
        Path | None,
        typer.Option(
            help="Serve recorded klines from DIR/<market>/<SYMBOL>-<INTERVAL>-*.",
            metavar="DIR",
            show_default=False,
        ),
    ] = None,
    speed: Annotated[str, typer.Option(help="Simulated seconds a second, or max.")] = "1",
    start: Annotated[
        str | None, typer.Option(help="The exchange's time at its start.", metavar="TIME", show_default=False)
    ] = None,
    end: Annotated[
        str | None, typer.Option(help="End of the synthetic market.", metavar="TIME", show_default=False)
    ] = None,
    updates: Annotated[int | None, typer.Option(help="Open frames a candle.", min=0, show_default=False)] = None,
    wait_for: Annotated[int, typer.Option(help="Let time run when so many channels are subscribed.", min=0)] = 0,
    symbols: Annotated[
        list[str] | None,
        typer.Option("--symbols", help="MARKET:SYMBOL,SYMBOL for exchangeInfo. May be repeated.", show_default=False),
    ] = None,
    exchange_info: Annotated[
        Path | None,
        typer.Option(help="Serve recorded exchangeInfo from DIR/<market>.json.", metavar="DIR", show_default=False),
    ] = None,
    listed: Annotated[
        list[str] | None,
        typer.Option(
            "--list", help="MARKET:SYMBOL@TIME is listed then. May be repeated.", metavar="TEXT", show_default=False
        ),
    ] = None,
    delisted: Annotated[
        list[str] | None,
        typer.Option(
            "--delist", help="MARKET:SYMBOL@TIME is delisted then. May be repeated.", metavar="TEXT", show_default=False
        ),
    ] = None,
    faults: Annotated[
        list[str] | None,
        typer.Option(
            "--fault",
            help=f"What goes wrong: NAME=VALUE, or all. May be repeated; docs/simulator.md explains {_FAULT_NAMES}.",
            metavar="NAME=VALUE",
            show_default=False,
        ),
    ] = None,
    exit_at_end: Annotated[bool, typer.Option("--exit-at-end", help="Leave when the data ends.")] = False,
    log_level: LogLevel = None,
) -> None:
    """Run a simulated Binance: three markets over WebSocket and REST."""
    import asyncio

    from candlewick.cli.arguments import milliseconds, parse_time
    from candlewick.cli.demo import parse_speed, parse_symbols, run_simulator
    from shared.process.logs import configure_logging

    options = {
        "host": host,
        "port": port,
        "seed": seed,
        "klines": klines,
        "speed": parse_speed(speed),
        "start_ms": milliseconds(parse_time(start, "--start")),
        "end_ms": milliseconds(parse_time(end, "--end")),
        "updates": updates,
        "wait_for": wait_for,
        "exchange_info": exchange_info,
    }
    if symbols:
        options["symbols"] = parse_symbols(symbols)
    configure_logging("simulator", log_level or "INFO")
    asyncio.run(run_simulator(options, faults or (), listed or (), delisted or (), exit_at_end=exit_at_end))


def demo(
    seconds: Annotated[float, typer.Option(help="How long; 0 until Ctrl-C.", min=0)] = 60,
    data: Annotated[
        Path, typer.Option("--data", "-d", help="Each run gets a folder of its own below this one.")
    ] = Path("demo-data"),
    speed: Annotated[str, typer.Option(help="Simulated seconds a second.")] = "60",
    config: Config = None,
) -> None:
    """Record from the simulated exchange for a while, then show what was recorded."""
    from candlewick.cli.demo import run_demo

    raise typer.Exit(run_demo(data, speed, seconds or None, config))


COMMANDS: tuple[Callable[..., Any], ...] = (watch, parse, simulate, demo)
