"""``python -m chaos NAME``: break Candlewick from outside, and say what came of it."""

from typing import Annotated

import typer

app = typer.Typer(help=__doc__, add_completion=False, no_args_is_help=True)


@app.callback()
def _tools() -> None:
    """Break Candlewick from outside, and say what came of it."""


@app.command()
def crashes(
    every_call: Annotated[bool, typer.Option("--every-call", help="Every fault at every call: three times longer.")] = (
        False
    ),
) -> None:
    """Kill the writer, or refuse it, at every system call of a flush."""
    from rich.console import Console

    from chaos.crashes import run

    raise typer.Exit(0 if run(Console(width=140), every_call) else 1)


app()
