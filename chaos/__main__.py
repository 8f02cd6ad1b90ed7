"""``python -m chaos COMMAND``: break Candlewick from outside, and show what came of it."""

import contextlib
import shutil
import signal
import sys
import time
from pathlib import Path
from typing import Annotated

import httpx
import typer
from rich.console import Console
from rich.table import Table

from chaos.pipeline import ChaosError
from chaos.run import SPEED, Outcome
from chaos.run import run as run_once

app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False, help=__doc__)


@app.callback()
def _chaos() -> None:
    """Keep ``run`` a command of its own, however many there are."""


@app.command()
def run(
    minutes: Annotated[float, typer.Option(help="How long faults happen.", min=0.1)] = 10,
    seed: Annotated[int, typer.Option(help="Decides the market and what breaks.")] = 1,
    speed: Annotated[float, typer.Option(help="Simulated seconds a second.", min=1, max=1000)] = SPEED,
) -> None:
    """Run the whole pipeline while everything breaks, then compare what is on disk with the exchange's truth."""
    parent = Path(".chaos")
    folder = parent / f"seed-{seed}-{time.strftime('%Y-%m-%dT%H-%M-%S')}"
    folder.mkdir(parents=True)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)
    print(f"chaos: {minutes:g} minutes of faults from seed {seed}, in {folder}", file=sys.stderr, flush=True)
    try:
        outcome = run_once(folder, minutes, seed, speed)
    except (ChaosError, httpx.HTTPError) as error:
        print(f"chaos: no result: {error}; the log of all processes is in {folder}", file=sys.stderr)
        raise typer.Exit(1) from None
    _show(outcome)
    print(f"Once more: {sys.executable} -m chaos run --minutes {minutes:g} --seed {seed} --speed {speed:g}")
    if not outcome.is_good:
        print(f"FAILED; the data and the log of all processes are in {folder}")
        raise typer.Exit(1)
    shutil.rmtree(folder)
    with contextlib.suppress(OSError):
        parent.rmdir()


def _show(outcome: Outcome) -> None:
    console = Console()
    faults = Table("survived", "times", title=f"{outcome.kills} kills, {outcome.cuts} cuts in {outcome.minutes:g} min")
    for name, count in sorted(outcome.survived.items(), key=lambda item: -item[1]):
        faults.add_row(name, f"{count:,}")
    faults.add_section()
    for name, count in sorted(outcome.at_the_exchange.items(), key=lambda item: -item[1]):
        faults.add_row(f"exchange: {name}", f"{count:,}")
    console.print(faults)
    result = Table("candles", "", title=f"{len(outcome.differences)} series, compared with the exchange")
    for name in ("compared", "missing", "doubled", "different", "extra"):
        result.add_row(name, f"{outcome.count(name):,}")
    result.add_row("absent at the exchange, and noted so", f"{outcome.absent:,}")
    console.print(result)
    for line in [*outcome.troubles, *(line for one in outcome.differences for line in one.lines())]:
        print(line)


if __name__ == "__main__":
    app()
