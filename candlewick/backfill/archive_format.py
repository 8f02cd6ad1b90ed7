"""One file of Binance's public archive: what it is called, and its bytes as rows. Pure; whoever has the bytes asks.

    data/spot/monthly/klines/BTCUSDT/1m/BTCUSDT-1m-2024-05.zip            beside it the same name + .CHECKSUM
    data/futures/um/daily/klines/BTCUSDT/1m/BTCUSDT-1m-2024-06-01.zip     sha256 in hex, two spaces, the file's name

A file is a zip of one CSV: the twelve columns of a REST row, with a header line in newer futures files and without one
in all others, times in milliseconds or, in spot files since 2025, microseconds (docs/binance.md, "The archive"). It is
refused when its checksum differs, when it unpacks to more than so many klines can take, or when not one of its lines is
a kline. Lines that are none, and rows that open outside its month or day or off the grid, are left out, counted and
named; the others are taken. It is unpacked and parsed in blocks, so a month of 1s costs the memory of its zip and its
rows, and no more.

A row whose candle ends after the file's own period is left out: it may have been open when the file was made.
"""

import hashlib
import io
import re
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pyarrow import csv

from consumer.storage.table import Rows, unite
from shared.candle import Series
from shared.errors import ArchiveError
from shared.interval import DAY_MS, Interval, utc
from shared.market import Market
from shared.text import counted

CHECKSUM_SUFFIX = ".CHECKSUM"

_FOLDERS = {Market.SPOT: "spot", Market.USDT_FUTURES: "futures/um", Market.COIN_FUTURES: "futures/cm"}
_COLUMNS = (
    *("open_time", "open", "high", "low", "close", "volume", "close_time", "quote_volume"),
    *("count", "taker_buy_volume", "taker_buy_quote_volume", "ignore"),
)
_PRICES = ("open", "high", "low", "close", "volume", "quote_volume", "count", "taker_buy_volume")
_VALUES = (*_PRICES, "taker_buy_quote_volume")  # in the order of ``consumer.storage.table.VALUE_COLUMNS``
_TYPES = {name: pa.int64() if name in ("open_time", "close_time", "count") else pa.float64() for name in _COLUMNS}
_COUNT = _VALUES.index("count")
_DECIMAL = rb",\d{1,30}(?:\.\d{1,30})?"
_LINE = re.compile(rb"\d{1,16}" + _DECIMAL * 5 + rb",\d{1,16}" + _DECIMAL + rb",(\d{1,16})" + _DECIMAL * 3)
_NUMERIC = b"0123456789.,\r\n"  # all that a line may be made of: no sign, no exponent, no nan
_MICROSECONDS_FROM = 10**14  # as milliseconds that would be the year 5138
_MAX_TRADES = 2**53  # beyond it a float64 no longer counts by one
_LINE_BYTES, _SPARE_BYTES = 320, 65_536
_BLOCK_BYTES = 2**23


class ArchiveFile(NamedTuple):
    """One file of the archive: a series' klines of the month or day from ``begin_ms`` to before ``end_ms``."""

    series: Series
    begin_ms: int
    end_ms: int

    @classmethod
    def month(cls, series: Series, time_ms: int) -> "ArchiveFile":
        """The file of the month that holds ``time_ms``."""
        begin = Interval.MONTH.floor(time_ms)
        return cls(series, begin, Interval.MONTH.end(begin))

    @classmethod
    def day(cls, series: Series, time_ms: int) -> "ArchiveFile":
        """The file of the day that holds ``time_ms``."""
        begin = time_ms - time_ms % DAY_MS
        return cls(series, begin, begin + DAY_MS)

    def with_days(self) -> "Iterator[ArchiveFile]":
        """This month's file, then the files of its days, where a day holds whole candles."""
        yield self
        if self.series.interval.typical_ms <= DAY_MS:
            for day_ms in range(self.begin_ms, self.end_ms, DAY_MS):
                yield ArchiveFile.day(self.series, day_ms)

    @property
    def is_monthly(self) -> bool:
        """Whether it holds a month, not a day."""
        return self.end_ms - self.begin_ms > DAY_MS

    @property
    def name(self) -> str:
        """Its name, such as ``BTCUSDT-1m-2024-05.zip``."""
        period = f"{utc(self.begin_ms):{'%Y-%m' if self.is_monthly else '%Y-%m-%d'}}"
        return f"{self.series.symbol}-{self.series.interval.on_disk}-{period}.zip"

    @property
    def path(self) -> str:
        """Its path below the archive's root."""
        market, symbol, interval = self.series
        cadence = "monthly" if self.is_monthly else "daily"
        return f"data/{_FOLDERS[market]}/{cadence}/klines/{symbol}/{interval.on_disk}/{self.name}"

    @property
    def max_bytes(self) -> int:
        """More bytes than its klines can take, unpacked or not."""
        candles = (self.end_ms - self.begin_ms) // min(self.series.interval.typical_ms, DAY_MS) + 1
        return _SPARE_BYTES + candles * _LINE_BYTES


@dataclass(slots=True)
class Odd:
    """Lines of a file that were left out.

    Attributes:
        count: how many.
        first: what is wrong with the first.
        is_doubtful: whether one of them might have been any candle of the file's.
    """

    count: int = 0
    first: str = ""
    is_doubtful: bool = False

    def note(self, reason: str, count: int = 1) -> None:
        """Count what is left out for a reason."""
        self.first = self.first or reason
        self.count += count


class Archived(NamedTuple):
    """What a file holds.

    Attributes:
        rows: ascending, each a whole candle of the file's month or day.
        odd: what was left out.
        conflicts: open times (ms) under which the file has two different rows; the one with more trades is taken.
    """

    rows: Rows
    odd: Odd
    conflicts: tuple[int, ...]

    @property
    def remarks(self) -> Iterator[str]:
        """A line about each thing that is not as it should be."""
        if self.odd.count:
            yield f"{counted(self.odd.count, 'row is', 'rows are')} left out: {self.odd.first}"
        if self.conflicts:
            more = f" and {len(self.conflicts) - 1:,} other times" if len(self.conflicts) > 1 else ""
            yield f"two different rows at {utc(self.conflicts[0])}{more}: the one with more trades is taken"


def verify(content: bytes, checksum: str) -> None:
    """Compare a file's bytes with the text of its CHECKSUM file. ArchiveError when that holds no sha256, or another."""
    expected = "".join(checksum.split()[:1]).lower()
    if not re.fullmatch(r"[0-9a-f]{64}", expected):
        raise ArchiveError(f"its CHECKSUM is no sha256: {checksum!r:.60}")
    actual = hashlib.sha256(content).hexdigest()
    if actual != expected:
        raise ArchiveError(f"its sha256 is {actual[:12]}…, its CHECKSUM says {expected[:12]}…")


def read_archive(file: ArchiveFile, content: bytes) -> Archived:
    """What one file's verified bytes hold. ArchiveError when it cannot be unpacked, or no line of it is a kline."""
    odd = Odd()
    parts = [_rows(file, block, odd) for block in _blocks(content, file.max_bytes)]
    if not sum(map(len, parts)):
        raise ArchiveError(odd.first or "it holds no kline")
    rows, _, conflicts = unite(parts)
    if file.series.interval.typical_ms > DAY_MS:  # shorter candles of a day end in it
        ended = [file.series.interval.end(int(time)) <= file.end_ms for time in rows.times]
        rows = Rows(rows.times[ended], rows.values[:, ended])
    return Archived(rows, odd, conflicts)


def _blocks(content: bytes, max_bytes: int) -> Iterator[bytes]:
    """The one CSV in a zip, in blocks of whole lines, without its header."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            members = archive.infolist()
            if len(members) != 1:
                raise ArchiveError(f"it holds {len(members)} files, not one")
            if members[0].compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise ArchiveError(f"its compression is {members[0].compress_type}, not deflate")
            with archive.open(members[0]) as lines:
                yield from _lines(lines, max_bytes)
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, NotImplementedError, OSError, ValueError) as error:
        raise ArchiveError(f"it is no zip that can be read: {error}") from None


def _lines(file: IO[bytes], max_bytes: int) -> Iterator[bytes]:
    size, rest, at_start = 0, b"", True
    while chunk := file.read(_BLOCK_BYTES):
        size += len(chunk)
        if size > max_bytes:
            raise ArchiveError(f"it unpacks to more than {max_bytes:,} bytes, more than its klines can take")
        cut = chunk.rfind(b"\n") + 1
        block, rest = (rest + chunk[:cut], chunk[cut:]) if cut else (b"", rest + chunk)
        if len(rest) > _SPARE_BYTES:
            raise ArchiveError(f"it holds a line that is no kline: {rest[:40]!r}…")
        if block:
            yield _without_header(block) if at_start else block
            at_start = False
    if rest:
        yield _without_header(rest) if at_start else rest


def _without_header(block: bytes) -> bytes:
    """The first block without the line of column names that newer futures files begin with."""
    line, _, rest = block.partition(b"\n")
    names = line.decode("ascii", "replace").strip().split(",")
    if names[:7] == list(_COLUMNS[:7]) and len(names) == len(_COLUMNS):
        return rest
    return block


def _rows(file: ArchiveFile, block: bytes, odd: Odd) -> Rows:
    """Rows of a block of whole lines, in its order; what is no kline of the file's is noted as odd."""
    table = _table(block)
    if table is None:
        table = _table(_lines_that_are_klines(block, odd))
        if table is None:
            raise ArchiveError("it holds lines that cannot be read as klines")
    values = np.array([table.column(name).to_numpy() for name in _VALUES], np.float64)
    times, good = _checked_times(file, table.column("open_time").to_numpy(), odd)
    return Rows(times[good], values[:, good])


def _table(block: bytes) -> "pa.Table | None":
    """The columns of lines that are all klines; None where one is none."""
    if block.translate(None, _NUMERIC):
        return None
    if not block.strip():
        return pa.table({name: pa.array([], kind) for name, kind in _TYPES.items()})
    try:
        table = csv.read_csv(
            io.BytesIO(block),
            read_options=csv.ReadOptions(use_threads=False, column_names=list(_COLUMNS)),
            convert_options=csv.ConvertOptions(column_types=_TYPES, null_values=[]),
        )
    except pa.ArrowException:
        return None
    numbers = [table.column(name).to_numpy() for name in _VALUES]
    if not all(np.isfinite(column).all() for column in numbers) or (numbers[_COUNT] > _MAX_TRADES).any():
        return None
    return table


def _lines_that_are_klines(block: bytes, odd: Odd) -> bytes:
    """Those of a block's lines that are, for a block of which some are not."""
    kept = []
    for line in block.splitlines():
        match = _LINE.fullmatch(line)
        if match is not None and int(match[1]) <= _MAX_TRADES:
            kept.append(line)
        elif line:
            odd.note(f"it holds a line that is no kline: {line.decode('utf-8', 'replace')!r:.80}")
            odd.is_doubtful = True
    return b"\n".join(kept)


def _checked_times(
    file: ArchiveFile, times: npt.NDArray[np.int64], odd: Odd
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
    """Open times in ms, from ms or µs, and which of them lie inside the file's period and on the grid."""
    micro = times >= _MICROSECONDS_FROM
    times_ms = np.where(micro, times // 1000, times)
    outside = (times_ms < file.begin_ms) | (times_ms >= file.end_ms)
    interval = file.series.interval
    if interval.typical_ms <= DAY_MS:
        off = times_ms % interval.typical_ms != 0
    else:
        off = np.array([not interval.is_open_time(int(time)) for time in times_ms], bool)
    off = (off | (micro & (times % 1000 != 0))) & ~outside
    for mask, what in ((outside, f"does not belong in {file.name}"), (off, f"is not on the grid of {interval}")):
        if mask.any():
            odd.note(f"its row with open time {times[mask][0]} {what}", int(mask.sum()))
    return times_ms, ~(outside | off)
