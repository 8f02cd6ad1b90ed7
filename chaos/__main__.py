"""``python -m chaos COMMAND``: break Candlewick from outside, and compare."""

from pathlib import Path
from typing import Annotated, Literal

import typer

app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False, help=__doc__)


@app.callback()
def _chaos() -> None:
    """Keep a command a command of its own, however many there are."""


@app.command()
def run(
    minutes: Annotated[float, typer.Option(help="How long faults happen.", min=0.1)] = 10,
    seed: Annotated[int, typer.Option(help="Decides the market and what breaks.")] = 1,
    speed: Annotated[float, typer.Option(help="Simulated seconds a second.", min=1, max=1000)] = 120,
    broker: Annotated[Literal["single", "sentinel", "cluster"], typer.Option(help="What carries the candles.")] = (
        "single"
    ),
) -> None:
    """Run the whole pipeline while everything breaks, then compare what is on disk with the exchange's truth."""
    from chaos.whole.report import run as run_everything

    raise typer.Exit(0 if run_everything(minutes, seed, speed, broker) else 1)


@app.command()
def crashes(
    every_call: Annotated[bool, typer.Option("--every-call", help="Every fault at every call: three times longer.")] = (
        False
    ),
    objects: Annotated[bool, typer.Option("--objects", help="At every request to an object store instead.")] = False,
) -> None:
    """Kill the writer, or refuse it, at every system call of a flush; exit code 1 unless all is zero."""
    from rich.console import Console

    if objects:
        from chaos.crashes.request_matrix import run as run_requests

        raise typer.Exit(0 if run_requests(Console(width=140)) else 1)
    from chaos.crashes.matrix import run as run_matrix

    raise typer.Exit(0 if run_matrix(Console(width=140), every_call) else 1)


@app.command()
def fuzz(
    count: Annotated[int, typer.Option(min=1, help="How many inputs.")] = 1_000_000,
    seed: Annotated[int, typer.Option(help="What the inputs are made from.")] = 1,
    first: Annotated[int, typer.Option(min=0, help="Number of the first input, to repeat one of a run.")] = 0,
) -> None:
    """Feed hostile inputs to every parser; exit code 1 for an outcome without a name, or for memory that grows."""
    from chaos.fuzz.report import run as run_fuzzer

    raise typer.Exit(0 if run_fuzzer(count, seed, first) else 1)


@app.command()
def hosts(
    deaths: Annotated[int, typer.Option(min=0, help="How often a host dies and another one comes.")] = 20,
    symbols: Annotated[int, typer.Option(min=3, help="How many series are shared.")] = 300,
    redundancy: Annotated[int, typer.Option(min=1, max=3, help="How many hosts record each.")] = 1,
) -> None:
    """Let hosts that share a market die, hang, come and be cut off (Linux, as root); exit code 1 unless all is zero."""
    from chaos.hosts.run import run_and_tell

    raise typer.Exit(0 if run_and_tell(symbols, deaths, redundancy) else 1)


@app.command()
def soak(
    hours: Annotated[float, typer.Option(help="How long; 168 is an ordinary week.", min=0.001)] = 2,
    seed: Annotated[int, typer.Option(help="Decides the market and what breaks when.")] = 1,
    symbols: Annotated[int, typer.Option(min=3, help="Over three markets, each at three intervals.")] = 40,
    densest: Annotated[float, typer.Option(help="Least mean time between two faults, in seconds.", min=0.1)] = 60,
    speed: Annotated[float, typer.Option(help="Simulated seconds a second; lateness is told at 1.", min=1)] = 1,
    report: Annotated[Path | None, typer.Option(help="Where the report goes; else the run's folder.")] = None,
) -> None:
    """Run at the real pace with an ordinary week's faults, watch, compare; exit code 1 unless all is well."""
    from chaos.soak.command import run_and_tell
    from chaos.soak.plan import Plan

    raise typer.Exit(0 if run_and_tell(Plan(hours, seed, symbols, speed, densest), report) else 1)


if __name__ == "__main__":
    app()
