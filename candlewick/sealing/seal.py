"""Sealing: months that are over and complete become one file a series, once and for all.

A series' month is sealed when the audit finds each of its candles present or absent, every row right and every file
readable. Whatever was sealed before stays as it is; where today's recording has other rows, that is said. The files of
a month are put first, then its manifest: until then nothing says that they are there.
"""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from candlewick.sealing.manifest import (
    Absence,
    Manifest,
    SealedFile,
    decode,
    encode,
    is_whole,
    manifest_key,
    month_span,
    unaccounted,
)
from candlewick.sealing.place import Place
from candlewick.sealing.plan import sealed_span
from consumer.dataset.audit import AuditRange, SeriesAudit, audit_series
from consumer.dataset.dataset import Dataset
from consumer.storage import codec
from consumer.storage.layout import candles_key, partition_span
from consumer.storage.sources import SourceStore
from consumer.storage.table import Rows, runs
from shared.candle import Series
from shared.coverage import Grid
from shared.errors import CandlewickError, DamagedFileError, StoreError
from shared.interval import utc
from shared.series_fact import BEFORE_ITS_FIRST, NOT_AT_THE_EXCHANGE
from shared.text import counted

_SPANS_NAMED = 3


class Step(NamedTuple):
    """What became of one series of a month.

    Attributes:
        sealed: what was sealed of it, now or before; None when nothing was.
        is_new: whether it was sealed now.
        trouble: why it was not sealed, or how it differs from what was; empty when all is well.
    """

    series: Series
    sealed: SealedFile | None = None
    is_new: bool = False
    trouble: str = ""


Tell = Callable[[Step], None]


class Sealing:
    """Seals months of a dataset into a place that the caller holds, with what ``sealed_by`` names.

    With ``incomplete``, what is missing does not bar a series: it is noted.
    """

    def __init__(self, dataset: Dataset, place: Place, sealed_by: str, *, incomplete: bool = False) -> None:
        self._dataset = dataset
        self._place = place
        self._sealed_by = sealed_by
        self._incomplete = incomplete
        self._damaged = [damaged.key for damaged in dataset.storage.damaged()]

    def seal(self, month: str, series: Sequence[Series], tell: Tell = lambda _: None) -> list[Step]:
        """Seal a month of these series, in memory of one of them; ``tell`` has each step when it is taken.

        Nothing is sealed when this raises: DamagedFileError when the month's manifest is not what was written,
        StoreError when the place cannot be read or written.
        """
        manifest, steps = self._manifest(month), list[Step]()

        def files() -> Iterator[tuple[str, bytes]]:
            for one in series:
                step, content = self._step(one, month, manifest.of(one))
                steps.append(step)
                tell(step)
                if step.is_new and step.sealed is not None:
                    yield step.sealed.key, content

        self._place.put(files())
        new = [step.sealed for step in steps if step.is_new and step.sealed is not None]
        if new:
            self._place.put([(manifest_key(month), encode(manifest.with_files(new)))])
        return steps

    def _manifest(self, month: str) -> Manifest:
        content = self._place.get(manifest_key(month))
        if content is None:
            return Manifest(month)
        try:
            manifest = decode(content)
        except DamagedFileError as error:
            raise DamagedFileError(f"{manifest_key(month)}: {error}") from None
        if manifest.month != month or not is_whole(manifest, content):
            raise DamagedFileError(f"{manifest_key(month)} was changed: nothing is added to it")
        return manifest

    def _step(self, series: Series, month: str, sealed: SealedFile | None) -> tuple[Step, bytes]:
        try:
            if sealed is not None:
                return Step(series, sealed, trouble=self._difference(sealed)), b""
            made = self._make(series, month)
        except CandlewickError as error:
            return Step(series, sealed, trouble=str(error)), b""
        return (Step(series), b"") if made is None else (Step(series, made[0], is_new=True), made[1])

    def _make(self, series: Series, month: str) -> tuple[SealedFile, bytes] | None:
        """What is to be sealed of a series; None where it has nothing in the month. StoreError says what bars it."""
        self._check_quarantine(series, month)
        span = sealed_span(series.interval, month)
        audited = audit_series(self._dataset, series, AuditRange(*span))
        _check(audited, incomplete=self._incomplete)
        absent = self._absent(audited)
        if not audited.tally.present + audited.tally.missing and all(one.reason == BEFORE_ITS_FIRST for one in absent):
            return None
        rows = self._rows(series, month)
        content = codec.encode(rows, series.interval)
        sealed = SealedFile(
            series,
            month,
            rows=len(rows),
            nbytes=len(content),
            sha256=_sha256(content),
            expected=tuple(audited.parts),
            absent=tuple(absent),
            missing=tuple(audited.gaps),
            sources=tuple(SourceStore(self._dataset.storage).read(series.market)),
            sealed_by=self._sealed_by,
        )
        if any(unaccounted(sealed, list(runs(rows.times, series.interval)))):
            raise StoreError("its files were changed in this moment: seal it again")
        return sealed, content

    def _check_quarantine(self, series: Series, month: str) -> None:
        begin_ms, end_ms = month_span(month)
        for key in self._damaged:
            folder, _, name = key.rpartition("/")
            span = partition_span(name)
            if folder == candles_key(series) and span and span[0] < end_ms and span[1] > begin_ms:
                raise StoreError(f"{name} is in quarantine, and not refilled yet")

    def _absent(self, audited: SeriesAudit) -> list[Absence]:
        """What is absent; before its first candle is what is absent from the beginning of all that is expected on."""
        if not audited.absent:
            return []
        series, metadata = audited.series, self._dataset.metadata(audited.series)
        begins = [span.begin_ms for span in metadata.fetched]
        begins += [metadata.began_ms] if metadata.began_ms is not None else []
        until_ms = metadata.absent.end_of_run(Grid(series.interval).ceil(min(begins))) if begins else 0
        first_ms = self._dataset.first_open_ms(series)
        until_ms = until_ms if first_ms is None else min(until_ms, first_ms)
        return [
            Absence(span, BEFORE_ITS_FIRST if span.end_ms <= until_ms else NOT_AT_THE_EXCHANGE)
            for span in audited.absent
        ]

    def _rows(self, series: Series, month: str) -> Rows:
        return self._dataset.rows(series, *month_span(month))

    def _difference(self, sealed: SealedFile) -> str:
        """How today's recording differs from what was sealed; empty where it does not, or has no file of the month."""
        begin_ms, end_ms = month_span(sealed.month)
        spans = [part.span for part in self._dataset.partitions(sealed.series)]
        if not any(span.begin_ms < end_ms and span.end_ms > begin_ms for span in spans):
            return ""
        content = self._place.get(sealed.key)
        if content is None or _sha256(content) != sealed.sha256:
            return f"{'its sealed file is gone' if content is None else 'its sealed file was changed'}: see verify"
        now = self._rows(sealed.series, sealed.month)
        if _sha256(codec.encode(now, sealed.series.interval)) == sealed.sha256:  # nearly always
            return ""
        return difference(codec.decode(content)[0], now)


def difference(before: Rows, now: Rows) -> str:
    """How rows differ from those that were sealed, in words; empty where they do not."""
    _, old, new = np.intersect1d(before.times, now.times, assume_unique=True, return_indices=True)
    changed = before.times[old][np.any(before.values[:, old] != now.values[:, new], axis=0)]
    gone = np.setdiff1d(before.times, now.times, assume_unique=True)
    added = np.setdiff1d(now.times, before.times, assume_unique=True)
    found = {"changed": changed, "not sealed": added, "not recorded any more": gone}
    told = ", ".join(f"{len(times):,} {word}" for word, times in found.items() if len(times))
    if not told:
        return ""
    first_ms = min(int(times.min()) for times in found.values() if len(times))
    return f"the recording differs from what was sealed: {told}, the first of {_time(first_ms)}"


def _check(audited: SeriesAudit, *, incomplete: bool) -> None:
    """StoreError when a series may not be sealed as it was audited."""
    if audited.errors:
        raise StoreError(audited.errors[0])
    if audited.rows.wrong_rows:
        row = audited.rows.wrong[0]
        more = f", and {audited.rows.wrong_rows - 1:,} more" if audited.rows.wrong_rows > 1 else ""
        raise StoreError(f"the row of {_time(row.open_time_ms)} is wrong: {row.reason}{more}")
    if audited.gaps and not incomplete:
        named = ", ".join(f"{_time(gap.begin_ms)} to {_time(gap.end_ms)}" for gap in audited.gaps[:_SPANS_NAMED])
        more = f" and {len(audited.gaps) - _SPANS_NAMED:,} more" if len(audited.gaps) > _SPANS_NAMED else ""
        raise StoreError(f"{counted(audited.tally.missing, 'candle')} missing, {named}{more}")


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _time(time_ms: int) -> str:
    return f"{utc(time_ms):%Y-%m-%d %H:%M}"
