"""Rows to the bytes of a Parquet file, and back.

Files are compressed by zstd without dictionaries, which make columns of prices larger and slower. Pages carry
checksums, so a bit that flips on disk is noticed as damage, and never read as a wrong price.
"""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import chain
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from consumer.storage.interface import Storage, Version
from consumer.storage.table import INDEX_COLUMN, Rows, check_columns, from_arrow, times_ms, to_arrow
from shared.errors import DamagedFileError, StoreError
from shared.interval import Interval

_MANY = 16  # files: fewer are read before threads have started
_AT_ONCE = 8  # a thread takes so many at a time
_THREADS = 4  # more than there are cores do no harm


class Partition(NamedTuple):
    """What one partition holds; ``ends`` are the ``candle_end_time`` that its rows were stored with, in UTC ms."""

    rows: Rows
    ends: "npt.NDArray[np.int64]"
    version: Version


def encode(rows: Rows, interval: Interval, mark: str = "") -> bytes:
    """Rows as a whole Parquet file; a mark makes it other bytes. MemoryError when there is not enough of it."""
    try:
        sink = pa.BufferOutputStream()
        table = to_arrow(rows, interval)
        if mark:
            table = table.replace_schema_metadata({**(table.schema.metadata or {}), b"mark": mark.encode()})
        pq.write_table(table, sink, compression="zstd", use_dictionary=False, write_page_checksum=True)
        return sink.getvalue().to_pybytes()
    except pa.ArrowMemoryError as error:
        raise MemoryError(str(error)) from error


def decode(content: bytes) -> "tuple[Rows, npt.NDArray[np.int64]]":
    """Rows of a whole Parquet file, its checksums verified, and their stored ends.

    DamagedFileError when it is damaged or not one of ours; StoreError when there is too little memory to tell.
    """
    with _named_errors():
        table = _read(content, None)
        ends = times_ms(table, INDEX_COLUMN)
        return from_arrow(table), ends


def decode_table(content: bytes, names: Sequence[str] | None = None) -> pa.Table:
    """A whole Parquet file as a table of ``SCHEMA``, or these columns of it; what is not read costs nothing.

    Whether its rows are in order is for the caller to see. Errors are those of ``decode``.
    """
    with _named_errors():
        table = _read(content, names)
        check_columns(table, names)
        return table


def read_partition(storage: Storage, key: str) -> Partition | None:
    """One partition of a storage; None where there is none. Errors are those of ``decode``, and the storage's."""
    with _naming(storage, key):
        found = storage.read(key)
        return None if found is None else Partition(*decode(found.content), found.version)


def read_table(storage: Storage, key: str, names: Sequence[str] | None = None) -> pa.Table | None:
    """``decode_table`` of one partition of a storage; None where there is none."""
    with _naming(storage, key):
        found = storage.read(key)
        return None if found is None else decode_table(found.content, names)


def read_tables(storage: Storage, keys: Sequence[str], names: Sequence[str]) -> list[pa.Table | None]:
    """``read_table`` of many partitions, in their order, by a few threads."""

    def some(keys: Sequence[str]) -> list[pa.Table | None]:
        return [read_table(storage, key, names) for key in keys]

    if len(keys) < _MANY:
        return some(keys)
    pieces = [keys[at : at + _AT_ONCE] for at in range(0, len(keys), _AT_ONCE)]
    with ThreadPoolExecutor(_THREADS) as threads:
        return list(chain.from_iterable(threads.map(some, pieces)))


def _read(content: bytes, names: Sequence[str] | None) -> pa.Table:
    file = pq.ParquetFile(pa.BufferReader(content), page_checksum_verification=True)
    return file.read(columns=None if names is None else list(names), use_threads=False)


@contextmanager
def _named_errors() -> Iterator[None]:
    try:
        yield
    except (MemoryError, pa.ArrowMemoryError) as error:
        raise StoreError(str(error) or "out of memory") from error
    except (OSError, pa.ArrowException, ValueError, KeyError) as error:  # Arrow says OSError of bytes, too
        raise DamagedFileError(str(error)) from error


@contextmanager
def _naming(storage: Storage, key: str) -> Iterator[None]:
    try:
        yield
    except DamagedFileError as error:
        raise DamagedFileError(f"{storage.name}/{key} is no partition of ours: {error}") from error
    except StoreError as error:
        raise StoreError(f"{storage.name}/{key} cannot be read: {error}") from error
