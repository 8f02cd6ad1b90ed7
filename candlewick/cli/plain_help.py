"""Help in plain text: commands below the headings they belong to, each with its whole first sentence.

Rich would draw boxes around it, and take twice as long to import as everything else that help needs.
"""

import shutil
from typing import Any

import typer
import typer.core

_MAX_WIDTH = 100


class PlainGroup(typer.core.TyperGroup):
    """A group of commands that lists them by their ``rich_help_panel``."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write a list for each heading, in the order in which commands were added."""
        panels: dict[str, list[tuple[str, str]]] = {}
        for name in self.list_commands(ctx):
            command: Any = self.get_command(ctx, name)
            panel = command.rich_help_panel
            rows = panels.setdefault(panel if isinstance(panel, str) else "Commands", [])
            rows.append((name, command.get_short_help_str(limit=300)))
        for panel, rows in panels.items():
            with formatter.section(panel):
                formatter.write_dl(rows)


def group(help_text: str) -> typer.Typer:
    """A Typer application whose help is plain, up to 100 columns wide."""
    width = min(_MAX_WIDTH, shutil.get_terminal_size().columns)
    settings = {"help_option_names": ["-h", "--help"], "max_content_width": width}
    return typer.Typer(
        cls=PlainGroup,
        help=help_text,
        no_args_is_help=True,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        context_settings=settings,
    )
