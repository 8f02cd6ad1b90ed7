"""``python -m bench [NAME …]``: run the benchmarks, or those that are named, and print their tables."""

import importlib
import sys

from rich.console import Console

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


def main() -> None:
    """Run and print; exit code 2 for a name that is not known."""
    chosen = sys.argv[1:] or NAMES
    unknown = [name for name in chosen if name not in NAMES]
    if unknown:
        print(f"bench: {unknown[0]} is not known: {', '.join(NAMES)}", file=sys.stderr)
        sys.exit(2)
    lines = list[Line]()
    for name in chosen:
        print(f"bench: {name} …", file=sys.stderr, flush=True)
        lines += importlib.import_module(f"bench.{name}").run()
    console = Console(width=100)
    for table in tables(lines):
        console.print(table)


main()
