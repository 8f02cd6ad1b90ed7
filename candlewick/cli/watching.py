"""``candlewick status --watch``: the status, anew every two seconds, as much of it as the terminal has room for."""

import time

from rich.console import Console
from rich.live import Live
from rich.text import Text

from candlewick.checks.health import State
from candlewick.checks.state import collect
from candlewick.cli.status import render
from shared.interval import utc
from shared.settings.model import Settings

_COLOURS = {State.RECORDING: "green", State.DEGRADED: "yellow", State.DEAD: "red"}
_SHARE = 4  # times what a look took
_LITTLE = 4  # lines: with fewer there is nothing to leave out


def watch_status(settings: Settings, every_seconds: float) -> None:
    """Show the status until Ctrl-C; where the output is no terminal, one after the other."""
    console = Console(highlight=False)
    if not console.is_terminal or console.is_dumb_terminal:
        while True:
            console.print(shown(settings, None), soft_wrap=True)
            time.sleep(every_seconds)
    with Live(console=console, screen=True, auto_refresh=False, transient=True) as live:
        while True:
            began = time.monotonic()
            live.update(shown(settings, console.size.height), refresh=True)
            time.sleep(max(every_seconds, _SHARE * (time.monotonic() - began)))  # a large store takes a while


def shown(settings: Settings, height: int | None) -> Text:
    """The status as of now, its first words in the colour of how well it does; no line is wrapped."""
    found = collect(settings)
    first, *lines = [*render(found).splitlines(), f"as of {utc(time.time_ns() // 1_000_000):%H:%M:%S} UTC"]
    left_out = 0 if height is None else len(lines) + 1 - height
    if left_out > 0 and height is not None and height > _LITTLE:
        *lines, as_of = lines
        lines = [*lines[: height - 3], f"… {left_out + 1} more lines", as_of]
    state, colon, text = first.partition(":")
    whole = Text(no_wrap=True, overflow="ellipsis")
    whole.append(state, style=f"bold {_COLOURS[State(found['health']['state'])]}")
    return whole.append("\n".join([colon + text, *lines]))
