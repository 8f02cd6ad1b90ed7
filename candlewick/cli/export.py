"""Tables as CSV, JSON, Parquet and Arrow, a block at a time: memory does not grow with what is exported.

Times are ISO 8601 in UTC (in CSV as pandas writes them), numbers the shortest digits that lead back to the float64.
``json`` is one JSON array, ``jsonl`` an object a line, ``arrow`` Arrow's IPC stream.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq

_BLOCK_ROWS = 50_000
_CSV_TIME, _JSON_TIME = "%Y-%m-%d %H:%M:%S+00:00", "%Y-%m-%dT%H:%M:%SZ"


def export(form: str, tables: Iterable[pa.Table], sink: BinaryIO) -> int:
    """Write tables, which have one schema, in a form of ``FORMS``, in the order in which they come; how many rows.

    At least one table, perhaps empty, tells the schema.
    """
    blocks = _Counted(block for table in tables for block in _blocks(_plain(table)))
    FORMS[form](blocks, sink)
    return blocks.rows


class _Counted:
    """Tables on their way, and how many rows have gone by."""

    def __init__(self, tables: Iterator[pa.Table]) -> None:
        self.rows = 0
        self._first = next(tables)
        self._tables = tables
        self.schema = self._first.schema

    def __iter__(self) -> Iterator[pa.Table]:
        self.rows += self._first.num_rows
        yield self._first
        for table in self._tables:
            self.rows += table.num_rows
            yield table


def _plain(table: pa.Table) -> pa.Table:
    """A table without dictionaries: each block would bring its own."""
    for number, field in enumerate(table.schema):
        if pa.types.is_dictionary(field.type):
            table = table.set_column(number, field.name, table.column(number).cast(field.type.value_type))
    return table


def _blocks(table: pa.Table) -> Iterator[pa.Table]:
    yield table.slice(0, _BLOCK_ROWS)
    for first in range(_BLOCK_ROWS, table.num_rows, _BLOCK_ROWS):
        yield table.slice(first, _BLOCK_ROWS)


def _csv(tables: _Counted, sink: BinaryIO) -> None:
    names = tables.schema.names
    sink.write((",".join(names) + "\n").encode())
    options = pyarrow.csv.WriteOptions(include_header=False, quoting_style="none")
    for table in tables:
        columns = [_times(table, name, _CSV_TIME) if _is_time(table, name) else table.column(name) for name in names]
        pyarrow.csv.write_csv(pa.table(columns, names=names), sink, options)


def _json(tables: _Counted, sink: BinaryIO) -> None:
    """One array, an object a line."""
    before = b"[\n"
    for table in tables:
        if table.num_rows:
            sink.write(before + _objects(table, ",\n"))
            before = b",\n"
    sink.write(b"[]\n" if before == b"[\n" else b"\n]\n")


def _json_lines(tables: _Counted, sink: BinaryIO) -> None:
    sink.writelines(_objects(table, "\n") + b"\n" for table in tables if table.num_rows)


def _parquet(tables: _Counted, sink: BinaryIO) -> None:
    with pq.ParquetWriter(sink, tables.schema, compression="zstd") as writer:
        for table in tables:
            writer.write_table(table)


def _arrow(tables: _Counted, sink: BinaryIO) -> None:
    with pa.ipc.new_stream(sink, tables.schema) as writer:  # type: ignore[arg-type] # it writes to whatever has a write
        for table in tables:
            writer.write_table(table)


FORMS: Mapping[str, Callable[[_Counted, BinaryIO], None]] = {
    "csv": _csv,
    "json": _json,
    "jsonl": _json_lines,
    "parquet": _parquet,
    "arrow": _arrow,
}


def _is_time(table: pa.Table, name: str) -> bool:
    return pa.types.is_timestamp(table.schema.field(name).type)


def _times(table: pa.Table, name: str, form: str) -> Any:
    """A column of whole seconds as text."""
    seconds: Any = table.column(name).cast(pa.timestamp("s", "UTC"))
    return pc.strftime(seconds, format=form)


def _objects(table: pa.Table, separator: str) -> bytes:
    """Each row as a JSON object, put together by Arrow."""
    pieces: list[Any] = []
    for number, name in enumerate(table.schema.names):
        is_time = _is_time(table, name)
        quote = '"' if is_time or pa.types.is_string(table.schema.field(name).type) else ""
        text: Any = _times(table, name, _JSON_TIME) if is_time else table.column(name).cast(pa.string())
        text = pc.fill_null(text.combine_chunks(), "null")
        pieces += [f'{"," if number else "{"}"{name}":{quote}', text, quote]
    lines = pc.binary_join_element_wise(*pieces, "}", "")
    joined: Any = pc.binary_join(pa.ListArray.from_arrays(pa.array([0, len(lines)], pa.int32()), lines), separator)
    return str(joined[0].as_py()).encode()
