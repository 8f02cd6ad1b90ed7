"""The proof that sealed months are what was sealed. It needs the place alone: no recording, no settings, no broker."""

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from candlewick.sealing.manifest import (
    MANIFESTS,
    SealedFile,
    decode,
    is_whole,
    month_of_manifest,
    unaccounted,
)
from candlewick.sealing.place import Place
from consumer.dataset.row_checks import FoundRows
from consumer.storage import codec
from consumer.storage.layout import SUFFIX
from consumer.storage.table import Rows, candle_ends, runs
from shared.errors import StoreError
from shared.interval import utc
from shared.spans import Spans


@dataclass(slots=True)
class Verified:
    """What was found.

    Attributes:
        months: how many manifests there are.
        files: what they name, by key.
        problems: what is not as it was sealed, by key, each in a few words.
    """

    months: int = 0
    files: dict[str, SealedFile] = field(default_factory=dict)
    problems: dict[str, list[str]] = field(default_factory=dict)

    def add(self, key: str, problem: str) -> None:
        """One more problem of a key."""
        self.problems.setdefault(key, []).append(problem)


def verify(place: Place, tell: Callable[[int, int], None] = lambda _done, _of: None) -> Verified:
    """Prove every file and manifest of a place, in memory of one file; ``tell`` has how many are done, of how many.

    A file is right when its bytes have the sha256 of the manifest, its rows ascend without a repeat on the series'
    grid, and each expected candle is a row, absent or missing. A manifest is right when it is what was written.
    Nothing else may be there. StoreError when nothing was sealed there, or the place cannot be listed.
    """
    keys = place.keys()
    if not keys:
        raise StoreError(f"nothing was sealed in {place.name}")
    found, unknown = Verified(), set[str]()
    for key in (key for key in keys if key.startswith(f"{MANIFESTS}/")):
        month = month_of_manifest(key)
        if month is None:
            found.add(key, "is no manifest of a month")
            continue
        found.months += 1
        if not _read_manifest(place, key, month, found):
            unknown.add(month)
    for key in keys:
        month_of_file = key.rpartition("/")[2].removesuffix(SUFFIX)
        if not key.startswith(f"{MANIFESTS}/") and key not in found.files and month_of_file not in unknown:
            found.add(key, "no manifest names it")
    by_sha256 = {file.sha256: key for key, file in found.files.items()}
    for number, (key, file) in enumerate(sorted(found.files.items())):
        for problem in _problems(place, file, by_sha256):
            found.add(key, problem)
        tell(number + 1, len(found.files))
    return found


def _read_manifest(place: Place, key: str, month: str, found: Verified) -> bool:
    """Take in what a manifest names; whether it can be read at all."""
    try:
        content = place.get(key) or b""
        manifest = decode(content)
    except StoreError as error:
        found.add(key, str(error))
        return False
    if not is_whole(manifest, content):
        found.add(key, "was changed after it was written: its own sha256 does not fit")
    if manifest.month != month:
        found.add(key, f"is the manifest of {manifest.month}")
    for file in manifest.files:
        if file.key in found.files:
            found.add(key, f"{file.key} is named twice")
        found.files[file.key] = file
    return True


def _problems(place: Place, file: SealedFile, by_sha256: Mapping[str, str]) -> Iterator[str]:
    try:
        content = place.get(file.key)
        if content is None:
            yield "is gone"
            return
        sha256 = hashlib.sha256(content).hexdigest()
        if sha256 != file.sha256:
            other = by_sha256.get(sha256)
            yield f"its sha256 is {sha256[:16]}…, and {file.sha256[:16]}… was sealed"
            if other is not None:
                yield f"it holds what was sealed as {other}"
                return
        rows, ends = codec.decode(content)
    except StoreError as error:
        yield " ".join(f"cannot be read: {error}".split())
        return
    yield from _wrong_rows(file, rows, ends)


def _wrong_rows(file: SealedFile, rows: Rows, ends: "npt.NDArray[np.int64]") -> Iterator[str]:
    """What contradicts the manifest or the grid. That rows ascend without a repeat was seen when they were read."""
    interval, wrong = file.series.interval, FoundRows()
    wrong.check(rows, interval, Spans())
    for index in np.flatnonzero(candle_ends(rows.times, interval) != ends):
        wrong.add(int(rows.times[index]), "its candle_end_time is another")
    if wrong.wrong_rows:
        first = wrong.wrong[0]
        more = f", and {wrong.wrong_rows - 1:,} more" if wrong.wrong_rows > 1 else ""
        yield f"the row of {utc(first.open_time_ms):%Y-%m-%d %H:%M:%S} is wrong: {first.reason}{more}"
    yield from unaccounted(file, list(runs(rows.times, interval)))
