"""``python -m bench [NAME …]``: run the benchmarks, or those that are named, and print their tables.

With ``--write`` their ratios are kept in ``bench/ratios.json``; with ``--check`` they are compared with those.
"""

import argparse
import importlib
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from rich.console import Console

from bench import ratios
from bench.check import check
from bench.result import Line
from bench.tables import tables

NAMES = (
    "frames",
    "publish",
    "disk",
    "repair",
    "market",
    "metrics",
    "export",
    "reading",
    "peers",
    "commands",
    "pipeline",
    "idle",
    "latency",
)
"""Each a module with ``run``, imported when its turn comes: it runs beside older code that another one could not."""

_KEPT = Path(__file__).with_name("ratios.json")


def main() -> int:
    """Run and print; 1 when ``--check`` finds what is slower, 2 for a name that is not known."""
    parser = argparse.ArgumentParser("python -m bench")
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(NAMES))
    parser.add_argument("--check", action="store_true", help="compare with the ratios that are kept")
    parser.add_argument("--write", action="store_true", help="keep the ratios")
    given = parser.parse_args()
    unknown = [name for name in given.names if name not in NAMES]
    if unknown:
        parser.error(f"{unknown[0]} is not known: {', '.join(NAMES)}")
    chosen = given.names or (ratios.QUICK if given.check or given.write else NAMES)
    lines = {name: _run(name) for name in chosen}
    _show(line for found in lines.values() for line in found)
    if given.write:
        ratios.write(_KEPT, {name: _ratios(name, ratios.costs_of(found)) for name, found in lines.items()})
    if not given.check:
        return 0
    measured = {name: ratios.costs_of(found) for name, found in lines.items()}
    verdict = check(ratios.read(_KEPT), measured, lambda name: ratios.costs_of(_run(name)))
    for line in verdict.lines:
        print(f"bench: {line}")
    return int(verdict.is_slower)


def _run(name: str) -> Sequence[Line]:
    print(f"bench: {name} …", file=sys.stderr, flush=True)
    found: Sequence[Line] = importlib.import_module(f"bench.{name}").run()
    return found


def _ratios(name: str, first: ratios.Costs) -> ratios.Ratios:
    """A benchmark's ratios of as many runs as a check makes at most."""
    further = (ratios.costs_of(_run(name)) for _ in range(ratios.RUNS - 1))
    return ratios.ratios_of(ratios.least(first, *further))


def _show(lines: Iterable[Line]) -> None:
    console = Console(width=100)
    for table in tables(lines):
        console.print(table)


sys.exit(main())
