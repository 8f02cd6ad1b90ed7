"""What is known of each series besides its rows: one small JSON file a series, beside the dataset.

    data/ledger/market=usdt_futures/interval=1m/symbol=BTCUSDT.json
        {"began": "2024-06-30T00:00:00.000Z", "ended": null, "reason": "", "absent": [[FROM, TO], …], …}

It holds what the rows cannot tell: since when the series is recorded, which candles the exchange itself never had, and
whether and why the series came to an end. It says nothing about rows that are there: an audit counts those. Notes are
merged without regard to order (``shared.series_fact``), and a file is replaced like a partition: staged, synced,
renamed, its folder synced.
"""

import contextlib
import os
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import orjson

from consumer.storage.durable import DurableFolders, Staging, open_folder, sync_folder, try_flock
from consumer.storage.layout import series_folder
from consumer.storage.quarantine import Aside
from shared.candle import Series
from shared.errors import DamagedFileError, SeriesLockedError, StoreError
from shared.interval import utc
from shared.series_fact import Note, NoteKind
from shared.spans import Spans

_LOCK_SECONDS, _LOCK_POLL_SECONDS = 1.0, 0.01


@dataclass(slots=True)
class SeriesLedger:
    """The notes of one series, merged.

    Attributes:
        began_ms: first open time that was to be recorded; None when nobody said so.
        began_noted_ms: when the latest beginning was noted, in the exchange's time.
        ended_ms: first open time that is not expected any more, as the latest end says.
        ended_noted_ms: when that end was noted.
        reason: why it ended.
        absent: what the exchange was asked for and did not have.
    """

    began_ms: int | None = None
    began_noted_ms: int = -1
    ended_ms: int | None = None
    ended_noted_ms: int = -1
    reason: str = ""
    absent: Spans = field(default_factory=Spans)

    @property
    def end_ms(self) -> int | None:
        """Where the series ended; None while it is recorded, and again when it was taken up later."""
        return self.ended_ms if self.ended_noted_ms > self.began_noted_ms else None

    @property
    def is_recorded(self) -> bool:
        """Whether a producer records it: it began at some time of the exchange's, and has not ended since.

        A series that was only fetched from history began at no time (0): nobody promised to go on with it.
        """
        return self.began_noted_ms > 0 and self.end_ms is None

    def take(self, note: Note) -> None:
        """Merge one note; in any order and any number of times the result is the same."""
        match note.kind:
            case NoteKind.ABSENT:
                self.absent.add(note.from_ms, note.to_ms)
            case NoteKind.BEGAN:
                self.began_ms = note.from_ms if self.began_ms is None else min(self.began_ms, note.from_ms)
                self.began_noted_ms = max(self.began_noted_ms, note.noted_ms)
            case NoteKind.ENDED:
                latest = (self.ended_noted_ms, self.ended_ms or 0, self.reason)
                if (note.noted_ms, note.from_ms, note.reason) > latest:
                    self.ended_noted_ms, self.ended_ms, self.reason = note.noted_ms, note.from_ms, note.reason


class Ledger:
    """The ledger files of one data folder.

    Args:
        root: the folder ``ledger`` of a data folder; made when the first note is written.
        aside: where a file goes that is damaged or not ours; None: it stays, and cannot be written.
    """

    def __init__(self, root: Path, aside: Aside | None = None) -> None:
        self.root = root
        self._aside = aside
        self._folders = DurableFolders(root)

    def path(self, series: Series) -> Path:
        """A series' file."""
        return self.root / f"{series_folder(series)}.json"

    def read(self, series: Series) -> SeriesLedger:
        """A series' notes; empty ones where there is no file.

        Raises:
            DamagedFileError: when the file is damaged or not ours.
            StoreError: when the disk does not let it be read.
        """
        path = self.path(series)
        try:
            return _decode(path.read_bytes())
        except FileNotFoundError:
            return SeriesLedger()
        except (IsADirectoryError, ValueError, KeyError, TypeError) as error:
            raise DamagedFileError(f"{path} is no ledger of ours: {error}") from error
        except OSError as error:
            raise StoreError(f"{path} cannot be read: {error}") from error

    def write(self, series: Series, notes: Iterable[Note], staging: Staging) -> bool:
        """Merge notes into a series' file; when this returns they are on disk, synced.

        Returns:
            Whether the file changed.

        Raises:
            StoreError: when the disk refuses, or the file is damaged and may not be moved aside.
        """
        path = self.path(series)
        try:
            self._folders.make(path.parent)
            with _locked(path.parent):
                ledger = self._read_or_begin(series)
                before = _encode(ledger)
                for note in notes:
                    ledger.take(note)
                after = _encode(ledger)
                if changed := after != before or not path.exists():
                    _replace(path, after, staging.new_path().with_suffix(".json"))
                sync_folder(path.parent)
        except OSError as error:
            raise StoreError(f"the ledger of {series} cannot be written: {error}") from error
        return changed

    def _read_or_begin(self, series: Series) -> SeriesLedger:
        """A series' notes, to be added to; a file that is damaged or not ours goes aside, if it may."""
        try:
            return self.read(series)
        except DamagedFileError as error:
            if self._aside is None:
                raise
            self._aside.move(self.path(series), str(error))
            return SeriesLedger()


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold a folder of ledgers against other writers; each holds it for the time of one small file."""
    fd = open_folder(folder)
    deadline = time.monotonic() + _LOCK_SECONDS
    try:
        while not try_flock(fd):
            if time.monotonic() > deadline:
                raise SeriesLockedError(f"{folder} is locked by another writer for more than {_LOCK_SECONDS:g} s")
            time.sleep(_LOCK_POLL_SECONDS)
        yield
    finally:
        os.close(fd)


def _replace(path: Path, content: bytes, staged: Path) -> None:
    fd = os.open(staged, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
    try:
        try:
            while content:  # a disk that is nearly full takes a part of it
                content = content[os.write(fd, content) :]
            os.fsync(fd)
        finally:
            os.close(fd)
        staged.rename(path)
    except BaseException:
        staged.unlink(missing_ok=True)
        raise


def _encode(ledger: SeriesLedger) -> bytes:
    return orjson.dumps(
        {
            "began": _text(ledger.began_ms),
            "began_noted": _text(ledger.began_noted_ms or None),
            "ended": _text(ledger.ended_ms),
            "ended_noted": _text(ledger.ended_noted_ms),
            "reason": ledger.reason,
            "absent": [[_text(begin), _text(end)] for begin, end in ledger.absent],
        },
        option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE,
    )


def _decode(content: bytes) -> SeriesLedger:
    found = orjson.loads(content)
    return SeriesLedger(
        began_ms=_time(found["began"]),
        began_noted_ms=_noted(found["began_noted"]),
        ended_ms=_time(found["ended"]),
        ended_noted_ms=_noted(found["ended_noted"]),
        reason=str(found["reason"]),
        absent=Spans((_must(begin), _must(end)) for begin, end in found["absent"]),
    )


def _text(time_ms: int | None) -> str | None:
    if time_ms is None or time_ms < 0:
        return None
    return utc(time_ms).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _time(text: Any) -> int | None:
    return None if text is None else _must(text)


def _noted(text: Any) -> int:
    return -1 if text is None else _must(text)


def _must(text: Any) -> int:
    moment = datetime.fromisoformat(text)
    return int(moment.timestamp()) * 1000 + moment.microsecond // 1000
