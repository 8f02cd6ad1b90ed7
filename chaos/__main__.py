"""``python -m chaos COMMAND``: break Candlewick from outside, and compare."""

from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from chaos.fuzz import MOST_GROWTH_MB, Fuzzer, Outcome

app = typer.Typer(add_completion=False, no_args_is_help=True)


@app.callback()
def chaos() -> None:
    """Break Candlewick from outside, and compare."""


@app.command()
def fuzz(
    count: Annotated[int, typer.Option(min=1, help="how many inputs")] = 1_000_000,
    seed: Annotated[int, typer.Option(help="what the inputs are made from")] = 1,
    first: Annotated[int, typer.Option(min=0, help="number of the first input, to repeat one of a run")] = 0,
) -> None:
    """Feed hostile inputs to every parser; exit code 1 for an outcome without a name, or for memory that grows."""
    console, shown = Console(width=150), Console(stderr=True)
    with shown.status("fuzzing") as status:
        outcome = Fuzzer(seed).run(count, first, lambda done: status.update(f"fuzzing: {done:,} of {count:,}"))
    console.print(_table(outcome, f"{count:,} inputs of seed {seed} in {outcome.seconds:.0f} s"))
    for failure in outcome.failures:
        console.print(
            f"no. {failure.number} ({failure.target}, {failure.size:,} bytes): {failure.what}\n"
            f"  again: python -m chaos fuzz --seed {seed} --first {failure.number} --count 1\n  hex: {failure.excerpt}",
            markup=False,
            highlight=False,
        )
    console.print(_summary(outcome, count), highlight=False)
    raise typer.Exit(1 if outcome.failed or not outcome.is_flat else 0)


def _table(outcome: Outcome, title: str) -> Table:
    table = Table("fed to", "outcome", title=title)
    table.add_column("inputs", justify="right")
    for (target, name), inputs in sorted(outcome.counts.items()):
        table.add_row(target, name, f"{inputs:,}")
    return table


def _summary(outcome: Outcome, count: int) -> str:
    memory = outcome.memory_mb
    seconds, number = outcome.slowest
    flat = "flat" if outcome.is_flat else f"GROWING by more than {MOST_GROWTH_MB:g} MB"
    return (
        f"unnamed outcomes: {outcome.failed:,}\n"
        f"memory: first {memory[0]:.0f} MB, last {memory[-1]:.0f} MB, most {max(memory):.0f} MB, "
        f"growth {outcome.growth_mb:+.1f} MB: {flat}\n"
        f"{count / outcome.seconds:,.0f} inputs a second; the slowest, no. {number}, took {seconds * 1000:.0f} ms"
    )


if __name__ == "__main__":
    app()
