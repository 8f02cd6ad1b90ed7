"""``python -m bench [NAME …]``: run the benchmarks, or those that are named, and print their table."""

import sys

from rich.console import Console
from rich.table import Table

from bench import disk, export, frames, latency, market, metrics, publish, reading, repair
from bench.result import Result

BENCHMARKS = {
    "frames": frames.run,
    "publish": publish.run,
    "disk": disk.run,
    "repair": repair.run,
    "market": market.run,
    "metrics": metrics.run,
    "export": export.run,
    "reading": reading.run,
    "latency": latency.run,
}


def main() -> None:
    """Run and print; exit code 2 for a name that is not known."""
    chosen = sys.argv[1:] or list(BENCHMARKS)
    unknown = [name for name in chosen if name not in BENCHMARKS]
    if unknown:
        sys.exit(f"bench: {unknown[0]} is not known: {', '.join(BENCHMARKS)}")
    table = Table("", "unit", title="Candlewick, the bare floor and the old way")
    for column in ("ours", "floor", "old way", "ours/floor", "aim", "old/ours"):
        table.add_column(column, justify="right")
    for name in chosen:
        print(f"bench: {name} …", file=sys.stderr, flush=True)
        for result in BENCHMARKS[name]():
            table.add_row(*_cells(result))
    Console(width=150).print(table)


def _cells(result: Result) -> tuple[str, ...]:
    return (
        result.name,
        result.unit,
        _figure(result.ours),
        _figure(result.floor),
        _figure(result.old),
        _figure(result.ours / result.floor if result.floor else None),
        _figure(result.aim),
        _figure(result.old / result.ours if result.old else None),
    )


def _figure(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:,.0f}" if value >= 100 else f"{value:.2f}"  # digits that mean something


main()
