"""Text in columns, for a terminal: the first column to the left, all others to the right, two spaces between."""

import shutil
from collections.abc import Iterator, Sequence
from unicodedata import east_asian_width

_GAP = "  "


def terminal_columns() -> int:
    """How many characters fit a line: the terminal's, or 80 where the output goes elsewhere; ``COLUMNS`` decides."""
    return shutil.get_terminal_size((80, 24)).columns


def columns(rows: Sequence[Sequence[str]]) -> list[str]:
    """Rows of as many texts as lines, each column as wide as its widest text."""
    widths = [max(map(width_of, column)) for column in zip(*rows, strict=True)]
    return [_GAP.join(_padded(row, widths)).rstrip() for row in rows]


def width_of(text: str) -> int:
    """How many places of a terminal a text takes: two a character of East Asian scripts."""
    return len(text) + sum(east_asian_width(character) in "WF" for character in text)


def _padded(row: Sequence[str], widths: Sequence[int]) -> Iterator[str]:
    for number, (text, width) in enumerate(zip(row, widths, strict=True)):
        blank = " " * (width - width_of(text))
        yield blank + text if number else text + blank


def fitting(rows: Sequence[Sequence[str]], width: int) -> int:
    """How many columns of these rows, from the first on, fit into so many characters; one at least."""
    used = -len(_GAP)
    for number, column in enumerate(zip(*rows, strict=True)):
        used += len(_GAP) + max(map(width_of, column))
        if used > width and number:
            return number
    return len(rows[0])
