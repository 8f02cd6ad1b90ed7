"""Candles as text with every digit that was recorded, and the columns that fit the terminal.

A value is the float64 nearest to the exchange's decimal, so its shortest digits that lead back to it are the exchange's
own (up to 15 of them). Columns of one kind, such as prices, show as many decimals as their longest value of the same
symbol, the others padded by zeros: points stand below each other, and nothing is rounded. Columns that do not fit are
left out, from the last on, and named.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from math import isnan
from typing import Any

import numpy as np
import pyarrow as pa

from candlewick.cli.columns import columns, fitting
from consumer.storage.table import TIME_COLUMN, times_ms
from shared.text import decimal_text

SHOWN_AT_EACH_END = 30
_KINDS = (
    ("open", "high", "low", "close"),
    ("volume", "taker_buy_base_asset_volume"),
    ("quote_volume", "taker_buy_quote_asset_volume"),
)


def render(
    tables: Iterable[pa.Table], width: int, *, everything: bool = False, names_hidden: bool = True
) -> Iterator[str]:
    """Candles as lines of up to ``width`` characters, with a line of names above.

    Of many rows only the first and last are shown, unless ``everything`` is: no more are kept in memory. The columns
    that are left out are named below if ``names_hidden``.
    """
    shown, left_out = (pa.concat_tables(list(tables)), 0) if everything else _ends(tables)
    if not shown.num_rows:
        yield "no candles"
        return
    texts = text_columns(shown)
    count = fitting(texts, width)
    lines = columns([row[:count] for row in texts])
    yield from lines[: 1 + (SHOWN_AT_EACH_END if left_out else shown.num_rows)]
    if left_out:
        yield f"… {left_out:,} more (--tail, --from and --to choose; --format csv has all)"
        yield from lines[1 + SHOWN_AT_EACH_END :]
    hidden = texts[0][count:]
    if hidden and names_hidden:
        yield from _wrapped("not shown for want of room: ", hidden, width)


def _ends(tables: Iterable[pa.Table]) -> tuple[pa.Table, int]:
    """The first and the last rows of tables, and how many are between."""
    first, last, count = list[pa.Table](), list[pa.Table](), 0
    for table in tables:
        begin = max(0, SHOWN_AT_EACH_END - count)
        first.append(table.slice(0, begin))
        rest = table.slice(begin)
        count += table.num_rows
        last.append(rest.slice(max(0, rest.num_rows - SHOWN_AT_EACH_END)))
        while len(last) > 1 and sum(one.num_rows for one in last[1:]) >= SHOWN_AT_EACH_END:
            last.pop(0)
        first = [one for one in first if one.num_rows] or first[:1]
    end = pa.concat_tables(last)
    end = end.slice(max(0, end.num_rows - SHOWN_AT_EACH_END))
    shown = pa.concat_tables([*first, end])
    return shown, count - shown.num_rows


def text_columns(table: pa.Table) -> list[list[str]]:
    """The texts of every column, the names first; the begin comes last, for the end tells the same."""
    names = [name for name in table.schema.names if name != TIME_COLUMN]
    names += [TIME_COLUMN] if TIME_COLUMN in table.schema.names else []
    symbols = table.column("symbol").to_pylist() if "symbol" in names else [None] * table.num_rows
    found = {name: _texts(table, name) for name in names}
    for kind in (*_KINDS, *((name,) for name in names)):
        present = [name for name in kind if name in found and pa.types.is_floating(table.schema.field(name).type)]
        at = 0
        for _, group in groupby(symbols):
            end = at + sum(1 for _ in group)
            _align([found[name] for name in present], at, end)
            at = end
    return [names, *(list(row) for row in zip(*(found[name] for name in names), strict=True))]


def _texts(table: pa.Table, name: str) -> list[str]:
    column = table.column(name)
    if pa.types.is_timestamp(column.type):
        moments = np.datetime_as_string(times_ms(table, name).astype("datetime64[ms]"), unit="s")
        return [text.replace("T", " ") for text in moments.tolist()]
    return [_text(value) for value in column.to_pylist()]


def _text(value: Any) -> str:
    if value is None or (isinstance(value, float) and isnan(value)):
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return decimal_text(value) if isinstance(value, float) else str(value)


def _align(texts: Sequence[list[str]], first: int, end: int) -> None:
    """Give the numbers of some lines as many decimals as the longest of them has."""
    places = max((len(text.partition(".")[2]) for column in texts for text in column[first:end]), default=0)
    for column in texts if places else ():
        column[first:end] = [_padded(text, places) for text in column[first:end]]


def _padded(text: str, places: int) -> str:
    whole, _, decimals = text.partition(".")
    if whole == "-":
        return text
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
