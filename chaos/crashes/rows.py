"""What is stored against what is true: every row, once, with its values. And a reader that never stops looking.

Rows are taken from the files one by one, not through Candlewick's own reading, which merges by key: a row that lies in
two files, or twice in one, is seen as two.
"""

import threading
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from consumer.dataset.dataset import Dataset
from consumer.storage.layout import series_of_folder
from consumer.storage.table import SCHEMA, TIME_COLUMN, VALUE_COLUMNS
from shared.candle import Candle, Series
from shared.errors import StoreError

Key = tuple[str, str, str, int]
"""Market, interval, symbol, open time in UTC ms."""

Row = tuple[Key, tuple[float, ...]]
"""A key and the values of ``VALUE_COLUMNS``."""

_PAUSE_SECONDS = 0.03  # between two looks: the machine has other work than to be looked at


@dataclass(slots=True)
class Compared:
    """How what is stored differs from what is true; all zeros when it does not.

    Attributes:
        lost: true rows that are nowhere, or only with other values.
        doubled: rows that are there once more than they should be, or should not be at all.
        unreadable: files that are no whole Parquet files of ours, or whose rows do not ascend.
    """

    lost: int = 0
    doubled: int = 0
    unreadable: int = 0


def true_row(candle: Candle) -> Row:
    """The row that a candle must become."""
    values = tuple(float(getattr(candle, name)) for name in VALUE_COLUMNS)
    return _key(candle.series, candle.open_time_ms), values


def compare(root: Path, truth: Iterable[Row]) -> Compared:
    """Compare every file below a dataset's root with the truth."""
    files = (path for path in sorted(root.rglob("*")) if not path.is_dir())
    return compare_files(((str(path.parent.relative_to(root)), path) for path in files), truth)


def compare_files(files: Iterable[tuple[str, Any]], truth: Iterable[Row]) -> Compared:
    """Compare files, each with its folder below a dataset's root and what pyarrow opens, with the truth."""
    compared = Compared()
    stored: Counter[Row] = Counter()
    for folder, file in files:
        series = series_of_folder(folder)
        try:
            table = pq.ParquetFile(file, page_checksum_verification=True).read()
        except (OSError, pa.ArrowException):
            compared.unreadable += 1
            continue
        times = _times(table) if table.schema.equals(SCHEMA) else []
        if series is None or not times or times != sorted(times):
            compared.unreadable += 1
        if series is not None and times:
            values = zip(*(table.column(name).to_pylist() for name in VALUE_COLUMNS), strict=True)
            stored.update((_key(series, time), row) for time, row in zip(times, values, strict=True))
    expected = set(truth)
    compared.lost = len(expected - stored.keys())
    compared.doubled = stored.total() - len(expected & stored.keys())
    return compared


@dataclass(slots=True)
class Seen:
    """What a reader met; all but ``polls`` and ``clean`` must stay zero.

    Attributes:
        polls: how often it read everything.
        torn: files that could not be read as what they are.
        doubled: rows that were there twice.
        missing: rows that an earlier poll had seen and a later one had not.
        wrong: rows with values that are not true.
        clean: polls that ended with an error which says that a file or folder is gone; the next one answers.
        first: the first fault's words.
    """

    polls: int = 0
    torn: int = 0
    doubled: int = 0
    missing: int = 0
    wrong: int = 0
    clean: int = 0
    first: str = ""

    @property
    def errors(self) -> int:
        """Everything that a reader must never see."""
        return self.torn + self.doubled + self.missing + self.wrong


@dataclass
class Onlooker:
    """Reads the whole dataset again and again, with pandas and with Candlewick's own reading, until it is left.

    Args:
        root: the dataset's root.
        series: what Candlewick's own reading is asked for.
        truth: every row that may ever be there.
    """

    root: Path
    series: Sequence[Series]
    truth: Iterable[Row]
    seen: Seen = field(default_factory=Seen)

    def __enter__(self) -> Self:
        """Begin to look."""
        self._true = dict(self.truth)
        self._stopping = threading.Event()
        self._known: dict[str, set[Key]] = {}
        self._thread = threading.Thread(target=self._look, name="onlooker")
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Look a last time, and end."""
        self._stopping.set()
        self._thread.join()

    def _look(self) -> None:
        last = False
        while not last:
            last = self._stopping.wait(_PAUSE_SECONDS)
            self.poll()

    def poll(self) -> None:
        """Read everything once, both ways."""
        try:
            self._take("pandas", _frame_rows(pd.read_parquet(self.root)))
            for series in self.series:
                self._take(str(series), self._ours(series))
        except FileNotFoundError as error:
            self.seen.clean += 1
            self.seen.first = self.seen.first or str(error)
        except Exception as error:  # noqa: BLE001 # whatever a reader gets instead of rows
            self.seen.torn += 1
            self.seen.first = self.seen.first or str(error)
        self.seen.polls += 1

    def _ours(self, series: Series) -> list[Row]:
        try:
            rows = Dataset.in_folder(self.root.parent).rows(series)
        except StoreError as error:
            if "never recorded" in str(error):
                return []
            raise
        keys = (_key(series, int(time)) for time in rows.times)
        return [(key, tuple(rows.values[:, at])) for at, key in enumerate(keys)]  # noqa: PD011 # no frame

    def _take(self, reader: str, rows: list[Row]) -> None:
        keys = {key for key, _ in rows}
        missing = self._known.get(reader, set()) - keys
        wrong = [key for key, values in rows if self._true.get(key) != values]
        self._known[reader] = keys | self._known.get(reader, set())
        self.seen.doubled += len(rows) - len(keys)
        self.seen.missing += len(missing)
        self.seen.wrong += len(wrong)
        if not self.seen.first and (missing or wrong or len(rows) > len(keys)):
            self.seen.first = f"{reader}: {len(rows)} rows, missing {sorted(missing)[:3]}, wrong {sorted(wrong)[:3]}"


def _key(series: Series, open_time_ms: int) -> Key:
    return str(series.market), series.interval.on_disk, series.symbol, open_time_ms


def _times(table: pa.Table) -> list[int]:
    return [int(time) for time in table.column(TIME_COLUMN).cast(pa.int64()).to_numpy()]


def _frame_rows(frame: pd.DataFrame) -> list[Row]:
    times = frame[TIME_COLUMN].dt.as_unit("ms").astype("int64").tolist()
    names = (frame[name].astype(str) for name in ("market", "interval", "symbol"))
    keys = zip(*names, times, strict=True)
    values = frame[list(VALUE_COLUMNS)].itertuples(index=False, name=None)
    return list(zip(keys, values, strict=True))
