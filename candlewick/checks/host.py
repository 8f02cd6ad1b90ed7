"""This host: the data folder, its disk, open files, ports. Nothing that is tried is left behind."""

import errno
import os
import resource
import shutil
import socket
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from candlewick.checks.finding import Finding, bad, doubtful, well
from candlewick.up.supervisor import check_sources
from consumer.dataset.dataset import Dataset, PartitionFile
from consumer.storage.durable import sync_folder, write_new
from consumer.storage.layout import CANDLES
from shared.candle import Series
from shared.errors import SourceError, StoreError, UnfitStoreError
from shared.interval import DAY_MS
from shared.market import Market
from shared.process.locks import is_locked, try_lock
from shared.settings.model import Settings
from shared.settings.types import is_pattern

_SLOW_SYNC_SECONDS = 0.1
_FEW_DAYS, _MANY_DAYS = 30, 36_500
_LITTLE_BYTES, _VERY_LITTLE_BYTES = 5 * 10**9, 2 * 10**8
_FEW_FILES, _VERY_FEW_FILES = 1024, 256
_BYTES_A_CANDLE = 45  # in a day file of 1m; without a history of its own nothing else is known
_DAYS_LOOKED_AT = 7


def check_host(settings: Settings) -> Iterator[Finding]:
    """All of it."""
    yield from _folder(settings)
    yield _sources(settings)
    yield _open_files()
    yield from _ports(settings)


def _folder(settings: Settings) -> Iterator[Finding]:
    folder = settings.data.folder
    parent = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    where = f"{folder}" if folder.exists() else f"{folder}, which will be made,"
    try:
        seconds = _try_writing(parent)
    except OSError as error:
        remedy = "give this user the right to write there, or name another folder: data.folder"
        yield bad("data folder", f"{folder} cannot be written: {error.strerror or error}", remedy)
        return
    if seconds is None:
        remedy = "two writers would not notice each other: use a local disk, or a file system with flock"
        yield bad("data folder", f"{folder} does not keep locks", remedy)
    elif seconds > _SLOW_SYNC_SECONDS:
        remedy = "candles are stored all the same, later; a local disk is faster"
        yield doubtful("data folder", f"{where} takes {seconds * 1000:.0f} ms to sync a file", remedy)
    else:
        yield well("data folder", f"{where} takes a file in {seconds * 1000:.1f} ms, synced, and keeps locks")
    if settings.data.store:
        yield _object_store(settings)
    else:
        yield _room(settings, parent)


def _object_store(settings: Settings) -> Finding:
    try:
        from consumer.storage.object_store import ObjectStorage  # its library is an extra's

        storage, began = ObjectStorage(settings.data.store), time.monotonic()
        storage.list_folder(CANDLES)
        asked = time.monotonic() - began
        storage.check_conditions()
    except ImportError as error:
        return bad("store", f"its library is missing: {error}", "pip install 'candlewick[object-store]'")
    except UnfitStoreError as error:
        return bad("store", str(error), "use a store that has conditional writes, or a newer version of this one")
    except StoreError as error:
        return bad("store", str(error), "look at the URL, the bucket's rights, and the credentials in the environment")
    return well("store", f"{storage.name} answers in {asked * 1000:.0f} ms, and keeps the conditions of writes")


def _try_writing(parent: Path) -> float | None:
    """How long a file takes to be written, synced and renamed, in seconds; None where a lock does not hold."""
    with tempfile.TemporaryDirectory(dir=parent, prefix=".candlewick-check-") as name:
        began, folder = time.monotonic(), Path(name)
        fd = write_new(folder / "new", b"\0" * 65_536)
        os.fsync(fd)
        (folder / "new").rename(folder / "old")
        sync_folder(folder)
        seconds = time.monotonic() - began
        other = os.open(folder / "old", os.O_RDONLY)
        try:
            return seconds if try_lock(fd) and is_locked(other) else None
        finally:
            os.close(other)
            os.close(fd)


def _room(settings: Settings, parent: Path) -> Finding:
    free = shutil.disk_usage(parent).free
    rate = bytes_a_day(settings, files_of(Dataset.of(settings)))
    days = free / rate.nbytes if rate.nbytes else float("inf")
    a_day = f"{'' if rate.is_measured else 'about '}{_size(rate.nbytes)} a day"
    text = f"{_size(free)} free" + (f": {days:,.0f} days at {a_day}" if days < _MANY_DAYS else f"; {a_day}")
    if not rate.nbytes:
        text = f"{_size(free)} free; how fast it fills is not known yet"
    remedy = "make room, or name a folder on another disk: data.folder"
    if free < _VERY_LITTLE_BYTES or days < 1:
        return bad("disk", text, remedy)
    if free < _LITTLE_BYTES or days < _FEW_DAYS:
        return doubtful("disk", text, f"{remedy}; `candlewick compact` makes closed months smaller")
    return well("disk", text)


class Rate(NamedTuple):
    """How fast a store grows, in bytes a day, 0 where nobody knows; measured, or estimated."""

    nbytes: float
    is_measured: bool


def files_of(dataset: Dataset) -> dict[Series, list[PartitionFile]]:
    """Every series' files."""
    return {series: dataset.partitions(series) for series in dataset.series(with_metadata=True)}


def bytes_a_day(settings: Settings, stored: Mapping[Series, Sequence[PartitionFile]]) -> Rate:
    """By the files of the store's last days; before a day is over, by the series that are stored or named."""
    files = [file for of_series in stored.values() for file in of_series]
    newest_ms = max((file.span.begin_ms for file in files), default=0)
    recent = [file for file in files if file.span.begin_ms > newest_ms - _DAYS_LOOKED_AT * DAY_MS]
    first_ms = min((file.span.begin_ms for file in recent), default=newest_ms)
    if first_ms < newest_ms:  # more than the day that still grows
        size = sum(file.size for file in recent if file.span.begin_ms < newest_ms)
        return Rate(size / ((newest_ms - first_ms) / DAY_MS), is_measured=True)
    has_patterns = any(is_pattern(symbol) for group in settings.record for symbol in group.symbols)
    if has_patterns and not stored:
        return Rate(0.0, is_measured=False)
    named = {series for market in Market for series in settings.series(market)}.union(stored)
    return Rate(sum(DAY_MS / series.interval.typical_ms * _BYTES_A_CANDLE for series in named), is_measured=False)


def _sources(settings: Settings) -> Finding:
    try:
        check_sources(settings)
    except SourceError as error:
        return bad("source", str(error), "record into another data folder, or say --mix-sources")
    found = dict.fromkeys(settings.exchange.source(market) for market in Market if settings.groups(market))
    return well("source", ", ".join(found))


def _open_files() -> Finding:
    files, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    text = f"{files:,} may be open at once"
    remedy = f"ulimit -n {min(most, 65_536) if most > 0 else 65_536}, or LimitNOFILE= of the service"
    if 0 <= files < _VERY_FEW_FILES:
        return bad("open files", text, remedy)
    if 0 <= files < _FEW_FILES:
        return doubtful("open files", text, remedy)
    return well("open files", text)


def _ports(settings: Settings) -> Iterator[Finding]:
    host, first = settings.metrics.host, settings.metrics.port
    if not first:
        yield well("metrics", "none: metrics.port is 0")
        return
    ports = f"{host}, ports {first} to {first + len(Market)}"
    for port in range(first, first + len(Market) + 1):
        if (error := _refusal(host, port)) is not None:
            why = "taken, perhaps by a recording that runs" if error.errno == errno.EADDRINUSE else error.strerror
            text = f"{port} of {ports}: {why}"
            yield doubtful("metrics", text, "if none runs, choose others: metrics.port; recording does not need them")
            return
    yield well("metrics", f"{ports}: free")


def _refusal(host: str, port: int) -> OSError | None:
    """Why a port cannot be listened on; None when it can."""
    try:
        with socket.socket(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]) as tried:
            tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            tried.bind((host, port))
    except OSError as error:  # a name that is not known is one, too
        return error
    return None


def _size(count: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:  # noqa: PLR2004 # decimal units
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} TB"
