"""Rows as CSV, JSON and Parquet, written through Arrow a block at a time: memory does not grow with what is exported.

Times are ISO 8601 in UTC (in CSV as pandas writes them), numbers the shortest digits that lead back to the float64.
``json`` is one JSON array, ``jsonl`` an object a line.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq

from consumer.storage.table import INDEX_COLUMN, SCHEMA, TIME_COLUMN, Rows, to_arrow
from shared.interval import Interval

_BLOCK_ROWS = 50_000
_NAMES = SCHEMA.names
_TIMES = (INDEX_COLUMN, TIME_COLUMN)
_CSV_TIME, _JSON_TIME = "%Y-%m-%d %H:%M:%S+00:00", "%Y-%m-%dT%H:%M:%SZ"


def export(form: str, parts: Iterable[Rows], interval: Interval, sink: BinaryIO) -> int:
    """Write rows in a form of ``FORMS``, in the order in which they come; how many."""
    blocks = _Counted(to_arrow(block, interval) for rows in parts for block in _blocks(rows))
    FORMS[form](blocks, sink)
    return blocks.rows


class _Counted:
    """Tables on their way, and how many rows have gone by."""

    def __init__(self, tables: Iterator[pa.Table]) -> None:
        self.rows = 0
        self._tables = tables

    def __iter__(self) -> Iterator[pa.Table]:
        for table in self._tables:
            self.rows += table.num_rows
            yield table


def _blocks(rows: Rows) -> Iterator[Rows]:
    for first in range(0, len(rows), _BLOCK_ROWS):
        last = first + _BLOCK_ROWS
        yield Rows(rows.times[first:last], rows.values[:, first:last])


def _csv(tables: Iterable[pa.Table], sink: BinaryIO) -> None:
    sink.write((",".join(_NAMES) + "\n").encode())
    options = pyarrow.csv.WriteOptions(include_header=False, quoting_style="none")
    for table in tables:
        columns = [_times(table, name, _CSV_TIME) if name in _TIMES else table.column(name) for name in _NAMES]
        pyarrow.csv.write_csv(pa.table(columns, names=_NAMES), sink, options)


def _json(tables: Iterable[pa.Table], sink: BinaryIO) -> None:
    """One array, an object a line."""
    before = b"[\n"
    for table in tables:
        sink.write(before + _objects(table, ",\n"))
        before = b",\n"
    sink.write(b"[]\n" if before == b"[\n" else b"\n]\n")


def _json_lines(tables: Iterable[pa.Table], sink: BinaryIO) -> None:
    sink.writelines(_objects(table, "\n") + b"\n" for table in tables)


def _parquet(tables: Iterable[pa.Table], sink: BinaryIO) -> None:
    with pq.ParquetWriter(sink, SCHEMA, compression="zstd") as writer:
        for table in tables:
            writer.write_table(table)


FORMS: Mapping[str, Callable[[Iterable[pa.Table], BinaryIO], None]] = {
    "csv": _csv,
    "json": _json,
    "jsonl": _json_lines,
    "parquet": _parquet,
}


def _times(table: pa.Table, name: str, form: str) -> Any:
    """A column of whole seconds as text."""
    seconds: Any = table.column(name).cast(pa.timestamp("s", "UTC"))
    return pc.strftime(seconds, format=form)


def _objects(table: pa.Table, separator: str) -> bytes:
    """Each row as a JSON object, put together by Arrow."""
    pieces: list[Any] = []
    for number, name in enumerate(_NAMES):
        is_time = name in _TIMES
        quote = '"' if is_time else ""
        text: Any = _times(table, name, _JSON_TIME) if is_time else table.column(name).cast(pa.string())
        pieces += [f'{"," if number else "{"}"{name}":{quote}', text.combine_chunks(), quote]
    lines = pc.binary_join_element_wise(*pieces, "}", "")
    joined: Any = pc.binary_join(pa.ListArray.from_arrays(pa.array([0, len(lines)], pa.int32()), lines), separator)
    return str(joined[0].as_py()).encode()
