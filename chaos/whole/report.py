"""A chaos run as a person reads it, and what is left of it: nothing when it is good, all of it when it is not."""

import contextlib
import shutil
import signal
import sys
import time
from pathlib import Path

import httpx
from rich.console import Console
from rich.table import Table

from chaos.whole.outcome import Outcome
from chaos.whole.pipeline import ChaosError
from chaos.whole.run import run as run_once


def run(minutes: float, seed: int, speed: float, broker: str) -> bool:
    """Run it in a folder of its own below ``.chaos``, print what came of it; whether everything is as it should be."""
    parent = Path(".chaos")
    folder = parent / f"seed-{seed}-{time.strftime('%Y-%m-%dT%H-%M-%S')}"
    folder.mkdir(parents=True)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)
    print(
        f"chaos: {minutes:g} minutes of faults from seed {seed} (broker: {broker}), in {folder}",
        file=sys.stderr,
        flush=True,
    )
    try:
        outcome = run_once(folder, minutes, seed, speed, broker)
    except (ChaosError, httpx.HTTPError) as error:
        print(f"chaos: no result: {error}; the log of all processes is in {folder}", file=sys.stderr)
        return False
    _show(outcome)
    options = f"--minutes {minutes:g} --seed {seed} --speed {speed:g} --broker {broker}"
    print(f"Once more: {sys.executable} -m chaos run {options}")
    if not outcome.is_good:
        print(f"FAILED; the data and the log of all processes are in {folder}")
        return False
    shutil.rmtree(folder)
    with contextlib.suppress(OSError):
        parent.rmdir()
    return True


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
    for line in [*outcome.troubles, *(line for difference in outcome.differences for line in difference.lines())]:
        print(line)
