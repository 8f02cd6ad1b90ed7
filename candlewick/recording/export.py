"""Exporting one series into a layout: what came of it."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from candlewick.recording.joined import JoinedReader
from candlewick.recording.layouts import Parts
from shared.candle import Series
from shared.errors import CandlewickError
from shared.spans import Span


class Exported(NamedTuple):
    """One series of an export.

    Attributes:
        rows: how many were written.
        error: why not all of them; empty when they were.
        of: how many series the export has.
    """

    series: Series
    rows: int
    error: str
    of: int


def exported(
    write: Callable[[Path, Series, Parts], int], folder: Path, series: Series, reader: JoinedReader, span: Span, of: int
) -> Exported:
    """Export one series. OSError when the folder cannot be written; what is wrong with the series is in the answer."""
    try:
        if not reader.has_any(series, *span):
            return Exported(series, 0, "", of)
        return Exported(series, write(folder, series, lambda: reader.tables(series, *span)), "", of)
    except CandlewickError as error:
        return Exported(series, 0, str(error), of)
