"""A fuzzing run as a person reads it."""

from rich.console import Console
from rich.table import Table

from chaos.fuzz.fuzzer import MOST_GROWTH_MB, Fuzzer, Outcome


def run(count: int, seed: int, first: int) -> bool:
    """Feed so many inputs and print what came of them; whether every outcome had a name and memory stayed flat."""
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
    return not outcome.failed and outcome.is_flat


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
