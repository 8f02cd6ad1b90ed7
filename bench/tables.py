"""The tables that are printed, one for each kind of line."""

from collections.abc import Iterable, Iterator

from rich.table import Table

from bench.result import Contestant, Line, Percentiles, Result, Spread, Usage

_COSTS = ("ours", "floor", "old way", "ours/floor", "aim", "old/ours")
_PERCENTILES = ("p50", "p99", "max", "close p50", "p99", "max")
_FEEDS = ("one in 30 closes", "CPU/floor", "all close", "CPU/floor")
_TAKEN = ("CPU, %", "waited for a core, %", "peak RSS, MB", "PSS, MB")


def tables(lines: Iterable[Line]) -> Iterator[Table]:
    """A table for the lines of each kind of which there are any."""
    found = list(lines)
    if costs := [line for line in found if isinstance(line, Result)]:
        yield _table("Candlewick, the bare floor and the old way", ("", "unit"), _COSTS, map(_cost, costs))
    if spreads := [line for line in found if isinstance(line, Spread)]:
        title = "How long a step takes, and how long after the close it is over, in ms"
        yield _table(title, ("",), _PERCENTILES, map(_spread, spreads))
    if usages := [line for line in found if isinstance(line, Usage)]:
        yield _table("What each process takes", ("",), _TAKEN, map(_usage, usages))
    if contestants := [line for line in found if isinstance(line, Contestant)]:
        yield _table("Kline frames a second that one core takes in", ("",), _FEEDS, map(_contestant, contestants))


def _table(title: str, names: Iterable[str], columns: Iterable[str], rows: Iterable[Iterable[str]]) -> Table:
    table = Table(*names, title=title)
    for column in columns:
        table.add_column(column, justify="right")
    for row in rows:
        table.add_row(*row)
    return table


def _cost(line: Result) -> tuple[str, ...]:
    return (
        line.name,
        line.unit,
        figure(line.ours),
        figure(line.floor),
        figure(line.old),
        figure(line.ours / line.floor if line.floor else None),
        figure(line.aim),
        figure(line.old / line.ours if line.old else None),
    )


def _spread(line: Spread) -> tuple[str, ...]:
    return (line.name, *_milliseconds(line.step), *_milliseconds(line.since_close))


def _milliseconds(found: Percentiles | None) -> tuple[str, ...]:
    return ("", "", "") if found is None else tuple(f"{value:,.0f}" for value in found)


def _usage(line: Usage) -> tuple[str, ...]:
    shares = (figure(value) for value in (line.cpu_percent, line.waited_percent))
    memory = ("" if value is None else f"{value:,.0f}" for value in (line.peak_mb, line.pss_mb))
    return (line.process, *shares, *memory)


def _contestant(line: Contestant) -> tuple[str, ...]:
    costs = zip(line.microseconds, line.floors, strict=True)
    return (line.name, *(cell for cost, floor in costs for cell in (figure(1e6 / cost), figure(cost / floor))))


def figure(value: float | None) -> str:
    """A value with the digits that mean something; nothing for None."""
    if value is None:
        return ""
    return f"{value:,.0f}" if value >= 100 else f"{value:.2f}"
