"""Recorded klines, from files in the archive's format."""

import bisect
import csv
import gzip
import io
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from shared.candle import Series, checked_symbol
from shared.errors import MalformedCandleError, SettingsError
from shared.interval import Interval
from shared.market import Market
from simulator.market.klines import Kline


class RecordedSource:
    """Klines from files in Binance's archive format.

    Files are ``FOLDER/<market>/<SYMBOL>-<INTERVAL>-*.{csv,csv.gz,zip}``: twelve columns, with or without a header
    line, times in milliseconds or microseconds (spot since 2025).

    Raises:
        SettingsError: when the folder holds no such file or one of them cannot be read.
    """

    def __init__(self, folder: Path) -> None:
        self._klines: dict[Series, dict[int, Kline]] = {}
        for path in sorted(folder.glob("*/*")):
            series = _series_of_file(path)
            if series is not None:
                rows = {row.open_time_ms: row for row in read_archive(path)}
                if not rows:
                    raise SettingsError(f"{path} holds no kline")
                self._klines.setdefault(series, {}).update(rows)
        if not self._klines:
            raise SettingsError(
                f"{folder} holds no klines: files are named MARKET/SYMBOL-INTERVAL-*.csv, .csv.gz or .zip"
            )
        self._opens = {series: sorted(klines) for series, klines in self._klines.items()}

    @property
    def first_ms(self) -> int:
        """The earliest open time of all."""
        return min(opens[0] for opens in self._opens.values())

    @property
    def end_ms(self) -> int | None:
        """When the last kline of all has ended."""
        return max(series.interval.end(opens[-1]) for series, opens in self._opens.items())

    @property
    def series(self) -> Sequence[Series]:
        """Everything that was read."""
        return tuple(self._klines)

    def symbols(self, market: Market) -> Sequence[str]:  # noqa: D102 # as the protocol says
        return sorted({series.symbol for series in self._klines if series.market is market})

    def has(self, series: Series) -> bool:  # noqa: D102
        return series in self._klines

    def kline(self, series: Series, open_time_ms: int) -> Kline | None:  # noqa: D102
        return self._klines.get(series, {}).get(open_time_ms)

    def next_open(self, series: Series, from_ms: int) -> int | None:  # noqa: D102
        opens = self._opens.get(series, [])
        index = bisect.bisect_left(opens, from_ms)
        return opens[index] if index < len(opens) else None

    def opens(self, series: Series, start_ms: int, end_ms: int) -> Sequence[int]:  # noqa: D102
        opens = self._opens.get(series, [])
        return opens[bisect.bisect_left(opens, start_ms) : bisect.bisect_right(opens, end_ms)]


def read_archive(path: Path) -> Iterator[Kline]:
    """The klines of one archive file, in the file's order.

    Raises:
        SettingsError: naming the file, when it cannot be read.
    """
    try:
        for row in csv.reader(io.StringIO(_archive_text(path))):
            if row and row[0].isdigit():
                yield _kline_of_row(row)
    except (OSError, ValueError, IndexError, zipfile.BadZipFile, EOFError) as error:
        raise SettingsError(f"{path} cannot be read as archived klines: {error}") from error


def _archive_text(path: Path) -> str:
    if path.suffix == ".zip":
        with zipfile.ZipFile(path) as archive:
            return archive.read(archive.namelist()[0]).decode()
    return (gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()).decode()


_MICROSECONDS_FROM = 10**14  # as milliseconds that would be the year 5138


def _kline_of_row(row: Sequence[str]) -> Kline:
    open_time, close_time = int(row[0]), int(row[6])
    if open_time >= _MICROSECONDS_FROM:
        open_time, close_time = open_time // 1000, close_time // 1000
    return Kline(open_time, row[1], row[2], row[3], row[4], row[5], close_time, row[7], int(row[8]), row[9], row[10])


def _series_of_file(path: Path) -> Series | None:
    stem, _, ending = path.name.partition(".")
    parts = stem.split("-")
    if ending not in ("csv", "csv.gz", "zip") or len(parts) < 3:  # noqa: PLR2004 # symbol, interval, date
        return None
    try:
        return Series(Market(path.parent.name), checked_symbol(parts[0]), Interval.from_disk(parts[1]))
    except (ValueError, MalformedCandleError):
        return None
