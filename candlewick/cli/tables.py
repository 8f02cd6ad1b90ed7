"""Rows as text with every digit that was recorded, and the columns that fit the terminal.

A value is the float64 nearest to the exchange's decimal, so its shortest digits that lead back to it are the exchange's
own (up to 15 of them). Columns of one kind, such as prices, show as many decimals as their longest value, the others
padded by zeros: points stand below each other, and nothing is rounded. Columns that do not fit are left out, from the
last on, and named.
"""

from collections.abc import Iterator, Sequence
from decimal import Decimal

import numpy as np
import numpy.typing as npt

from candlewick.cli.columns import columns, fitting
from consumer.storage.table import INDEX_COLUMN, TIME_COLUMN, VALUE_COLUMNS, Rows, candle_ends
from shared.interval import Interval

_SHOWN_AT_EACH_END = 30
_KINDS = [
    [VALUE_COLUMNS.index(name) for name in names]
    for names in (
        ("open", "high", "low", "close"),
        ("volume", "taker_buy_base_asset_volume"),
        ("quote_volume", "taker_buy_quote_asset_volume"),
        ("trade_num",),
    )
]


def render(
    rows: Rows, interval: Interval, width: int, *, everything: bool = False, names_hidden: bool = True
) -> Iterator[str]:
    """Rows as lines of up to ``width`` characters, with a line of names above.

    Of many rows only the first and last are shown, unless ``everything`` is. The columns that are left out are named
    below if ``names_hidden``.
    """
    if not len(rows):
        yield "no candles"
        return
    shown, left_out = rows, 0
    if not everything and len(rows) > 2 * _SHOWN_AT_EACH_END:
        kept = np.r_[0:_SHOWN_AT_EACH_END, len(rows) - _SHOWN_AT_EACH_END : len(rows)]
        shown, left_out = Rows(rows.times[kept], rows.values[:, kept]), len(rows) - len(kept)
    table = text_columns(shown, interval)
    count = fitting(table, width)
    lines = columns([row[:count] for row in table])
    yield from lines[: 1 + (_SHOWN_AT_EACH_END if left_out else len(shown))]
    if left_out:
        yield f"… {left_out:,} more (--tail, --from and --to choose; --format csv has all)"
        yield from lines[1 + _SHOWN_AT_EACH_END :]
    hidden = table[0][count:]
    if hidden and names_hidden:
        yield from _wrapped("not shown for want of room: ", hidden, width)


def text_columns(rows: Rows, interval: Interval) -> list[list[str]]:
    """The texts of every column, the names first."""
    ends = candle_ends(rows.times, interval)
    times = [_moments(ends), _moments(rows.times)]
    values = [[""]] * len(VALUE_COLUMNS)
    for kind in _KINDS:
        for number, column in zip(kind, _decimals(rows.values[kind]), strict=True):
            values[number] = column
    names = [INDEX_COLUMN, *VALUE_COLUMNS, TIME_COLUMN]
    return [names, *(list(row) for row in zip(times[0], *values, times[1], strict=True))]


def _moments(times_ms: npt.NDArray[np.int64]) -> list[str]:
    texts = np.datetime_as_string(times_ms.astype("datetime64[ms]"), unit="s")
    return [text.replace("T", " ") for text in texts.tolist()]


def _decimals(values: npt.NDArray[np.float64]) -> list[list[str]]:
    """Columns that are of one kind as texts with all their digits and as many decimals."""
    texts = [[decimal_text(value) for value in column.tolist()] for column in values]
    places = max((len(text.partition(".")[2]) for column in texts for text in column), default=0)
    return [[_padded(text, places) if places else text for text in column] for column in texts]


def decimal_text(value: float) -> str:
    """The shortest decimal that leads back to a float64, without an exponent."""
    text = format(Decimal(repr(value)), "f")
    return text.removesuffix(".0")


def _padded(text: str, places: int) -> str:
    whole, _, decimals = text.partition(".")
    return f"{whole}.{decimals.ljust(places, '0')}"


def _wrapped(begin: str, names: Sequence[str], width: int) -> Iterator[str]:
    line = begin
    for number, name in enumerate(names):
        text = name + ("," if number < len(names) - 1 else "")
        if len(line) + len(text) > width and line.strip():
            yield line.rstrip()
            line = "  "
        line += text + " "
    yield line.rstrip()
