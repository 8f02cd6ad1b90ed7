"""Text in columns, for a terminal: the first column to the left, all others to the right, two spaces between."""

import shutil
from collections.abc import Sequence

_GAP = "  "


def terminal_columns() -> int:
    """How many characters fit a line: the terminal's, or 80 where the output goes elsewhere; ``COLUMNS`` decides."""
    return shutil.get_terminal_size((80, 24)).columns


def columns(rows: Sequence[Sequence[str]]) -> list[str]:
    """Rows of as many texts as lines, each column as wide as its widest text."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [_GAP.join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]).rstrip() for row in rows]


def fitting(rows: Sequence[Sequence[str]], width: int) -> int:
    """How many columns of these rows, from the first on, fit into so many characters; one at least."""
    used = -len(_GAP)
    for number, column in enumerate(zip(*rows, strict=True)):
        used += len(_GAP) + max(map(len, column))
        if used > width and number:
            return number
    return len(rows[0])
