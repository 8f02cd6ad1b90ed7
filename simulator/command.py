"""The command ``candlewick simulate``: its options, and the simulated exchange that they make.

``candlewick.cli`` registers it beside its own commands. Nothing heavy is imported before the command runs, so that
``candlewick --help`` is quick.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import typer

from shared.arguments import milliseconds, parse_market, parse_symbol, parse_time
from shared.errors import CandlewickError
from shared.market import Market

FAULT_NAMES = (
    "drop, close, shutdown, silent_connection, silent_channel, silent_on_connect, late_close, no_close, duplicate, "
    "out_of_order, corrupt, truncated, foreign, future, wrong_time, rest_429, rest_418, rest_5xx, rest_timeout, "
    "rest_slow, rest_garbage, rest_refused, rest_odd_row, connect_refused, listing_refused, listing_early, "
    "listing_wrong_date, holes, listing, delisting, late_close_seconds, wrong_time_seconds, rest_ban_seconds, "
    "rest_slow_seconds, listing_refused_seconds"
)
"""The fields of ``simulator.faults.model.Faults``, which help must not import."""

_LEVEL_HELP = "DEBUG, INFO, WARNING or ERROR."


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
            help=f"What goes wrong: NAME=VALUE, or all. May be repeated; docs/simulator.md explains {FAULT_NAMES}.",
            metavar="NAME=VALUE",
            show_default=False,
        ),
    ] = None,
    exit_at_end: Annotated[bool, typer.Option("--exit-at-end", help="Leave when no series has data left.")] = False,
    linger: Annotated[
        bool, typer.Option("--linger", help="With speed max: when the data has ended, let time go on at its own pace.")
    ] = False,
    log_level: Annotated[str | None, typer.Option("--log-level", help=_LEVEL_HELP, show_default=False)] = None,
) -> None:
    """Run a simulated Binance: three markets over WebSocket and REST."""
    import asyncio

    from shared.process.logs import configure_logging

    try:
        from simulator.faults.model import Faults
        from simulator.market.listings import ListingChange
        from simulator.serve import serve
        from simulator.server.options import DEFAULT_SYMBOLS, SimulatorOptions
        from simulator.server.simulator import Simulator
    except ModuleNotFoundError as error:
        raise CandlewickError(
            f"the simulated exchange needs {error.name}: pip install 'candlewick[simulator]'"
        ) from None
    options = SimulatorOptions(
        host=host,
        port=port,
        seed=seed,
        klines=klines,
        speed=parse_speed(speed),
        start_ms=milliseconds(parse_time(start, "--start")),
        end_ms=milliseconds(parse_time(end, "--end")),
        updates=updates,
        wait_for=wait_for,
        symbols=parse_symbols(symbols) if symbols else DEFAULT_SYMBOLS,
        exchange_info=exchange_info,
        linger=linger,
        faults=Faults().changed(parse_faults(faults or ())),
        listings=[
            *(ListingChange(*parse_listing(text), listed=True) for text in listed or ()),
            *(ListingChange(*parse_listing(text), listed=False) for text in delisted or ()),
        ],
    )
    configure_logging("simulator", log_level or "INFO")
    asyncio.run(serve(Simulator(options), exit_at_end=exit_at_end))


def parse_speed(text: str) -> float | None:
    """Simulated seconds a second; None for ``max``. CandlewickError for anything but a positive number."""
    if text == "max":
        return None
    try:
        speed = float(text)
    except ValueError:
        speed = 0.0
    if not 0 < speed <= 1e6:  # noqa: PLR2004 # beyond it the clock's milliseconds are too coarse
        raise CandlewickError(f"speed {text!r} is neither a number above 0 nor max")
    return speed


def parse_symbols(texts: Sequence[str]) -> Mapping[Market, tuple[str, ...]]:
    """Listed symbols by market from ``MARKET:SYMBOL,SYMBOL``; markets that are not named list nothing."""
    found: dict[Market, tuple[str, ...]] = dict.fromkeys(Market, ())
    for text in texts:
        market, separator, names = text.partition(":")
        if not separator:
            raise CandlewickError(f"symbols {text!r} are not of the form MARKET:SYMBOL,SYMBOL")
        chosen = parse_market(market)
        found[chosen] += tuple(parse_symbol(name) for name in names.split(",") if name)
    return found


def parse_faults(texts: Sequence[str]) -> Mapping[str, float | str]:
    """Changes to the faults from ``NAME=VALUE``, or ``all``; whether each is allowed, ``Faults`` decides."""
    found: dict[str, float | str] = {}
    for text in texts:
        name, separator, value = text.partition("=")
        if not separator and name != "all":
            raise CandlewickError(f"fault {text!r} is not of the form NAME=VALUE, or all")
        try:
            found[name] = float(value) if separator else 1.0
        except ValueError:
            found[name] = value
    return found


def parse_listing(text: str) -> tuple[Market, str, int]:
    """Market, symbol and time in ms from ``MARKET:SYMBOL@TIME``."""
    market, colon, rest = text.partition(":")
    symbol, at, moment = rest.partition("@")
    time_ms = milliseconds(parse_time(moment or None, "listing time"))
    if not colon or not at or time_ms is None:
        raise CandlewickError(f"listing {text!r} is not of the form MARKET:SYMBOL@TIME")
    return parse_market(market), parse_symbol(symbol), time_ms
