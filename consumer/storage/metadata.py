"""Series metadata, which rows cannot tell: one small JSON file a series, beside the dataset.

    data/ledger/market=usdt_futures/interval=1m/symbol=BTCUSDT.json
        {"began": "2024-06-30T00:00:00.000Z", "ended": null, "reason": "", "absent": [[FROM, TO], …], …}

It tells since when the series is recorded, which candles the exchange itself never had, and whether and why the series
ended. Facts are merged without regard to order (``shared.series_fact``), and the file is replaced as a partition is.
"""

import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import orjson

from consumer.storage.interface import NO_VERSION, Change, Storage, Version
from consumer.storage.layout import metadata_key
from shared.candle import Series
from shared.errors import DamagedFileError, InternalStoreError, SeriesLockedError, StoreError, VersionChangedError
from shared.interval import utc
from shared.series_fact import FactKind, SeriesFact
from shared.spans import Spans

log = logging.getLogger(__name__)

_TRIES = 50  # against other writers of the same file; one of all who try succeeds each time


@dataclass(slots=True)
class SeriesMetadata:
    """The facts of one series, merged.

    Attributes:
        began_ms: first open time that was to be recorded; None when nobody said so.
        began_noted_ms: when the latest beginning was noted, in the exchange's time.
        ended_ms: first open time that is not expected any more, as the latest end says.
        ended_noted_ms: when that end was noted.
        reason: why it ended.
        absent: what the exchange was asked for and did not have.
        fetched: what a backfill has fetched: whatever it did not find there is absent or missing.
        repaired: days on which candles came over REST while it was recorded. Nothing is decided by it.
    """

    began_ms: int | None = None
    began_noted_ms: int = -1
    ended_ms: int | None = None
    ended_noted_ms: int = -1
    reason: str = ""
    absent: Spans = field(default_factory=Spans)
    fetched: Spans = field(default_factory=Spans)
    repaired: Spans = field(default_factory=Spans)

    @property
    def is_empty(self) -> bool:
        """Whether nothing is known of what is to be expected."""
        return self == SeriesMetadata(repaired=self.repaired)

    @property
    def end_ms(self) -> int | None:
        """Where the series ended; None while it is recorded, and again when it was taken up later."""
        return self.ended_ms if self.ended_noted_ms > self.began_noted_ms else None

    @property
    def is_recorded(self) -> bool:
        """Whether a producer records it: it began at some time of the exchange's, and has not ended since.

        Nobody promised to go on with a series that was only fetched.
        """
        return self.began_noted_ms > 0 and self.end_ms is None

    def facts(self, series: Series) -> Iterator[SeriesFact]:
        """Facts that merged give this metadata."""
        if self.began_ms is not None:
            yield SeriesFact(series, FactKind.BEGAN, self.began_ms, self.began_ms, self.began_noted_ms)
        if self.ended_ms is not None:
            yield SeriesFact(series, FactKind.ENDED, self.ended_ms, self.ended_ms, self.ended_noted_ms, self.reason)
        for kind, spans in self._spans():
            yield from (SeriesFact(series, kind, *span, 0) for span in spans)

    def _spans(self) -> Iterator[tuple[FactKind, Spans]]:
        yield FactKind.ABSENT, self.absent
        yield FactKind.FETCHED, self.fetched
        yield FactKind.REPAIRED, self.repaired

    def merge(self, fact: SeriesFact) -> None:
        """Merge one fact; in any order and any number of times the result is the same."""
        match fact.kind:
            case FactKind.ABSENT:
                self.absent.add(fact.from_ms, fact.to_ms)
            case FactKind.FETCHED:
                self.fetched.add(fact.from_ms, fact.to_ms)
            case FactKind.REPAIRED:
                self.repaired.add(fact.from_ms, fact.to_ms)
            case FactKind.BEGAN:
                self.began_ms = fact.from_ms if self.began_ms is None else min(self.began_ms, fact.from_ms)
                self.began_noted_ms = max(self.began_noted_ms, fact.noted_ms)
            case FactKind.ENDED:
                latest = (self.ended_noted_ms, self.ended_ms or 0, self.reason)
                if (fact.noted_ms, fact.from_ms, fact.reason) > latest:
                    self.ended_noted_ms, self.ended_ms, self.reason = fact.noted_ms, fact.from_ms, fact.reason


class MetadataStore:
    """The metadata of all series of a storage.

    A file that is damaged or not ours is quarantined if the store ``quarantines``; otherwise it stays, and cannot be
    written.
    """

    def __init__(self, storage: Storage, *, quarantines: bool = False) -> None:
        self.storage = storage
        self._quarantines = quarantines

    def read(self, series: Series) -> SeriesMetadata:
        """A series' metadata; empty where there is no file. StoreError when it is damaged or cannot be read."""
        return self._read(metadata_key(series))[1]

    def write(self, series: Series, facts: Iterable[SeriesFact]) -> bool:
        """Merge facts into a series' metadata; whether that changed it. When this returns they are durable.

        StoreError when the storage refuses, or the file is damaged and may not be quarantined.
        """
        facts = tuple(facts)
        for _ in range(_TRIES):
            change = self._change(metadata_key(series), facts)
            (result,) = self.storage.replace([[change]])
            if not isinstance(result, StoreError):
                return change.content is not None
            if isinstance(result, SeriesLockedError):
                raise result
            if not isinstance(result, VersionChangedError):
                raise StoreError(f"the metadata of {series} cannot be written: {result}")
        raise SeriesLockedError(f"{series}: other writers were faster {_TRIES} times: {result}")

    def try_write(self, series: Series, facts: Iterable[SeriesFact]) -> StoreError | None:
        """``write``, whose error, an internal one too, is returned and not raised; None when there is none."""
        try:
            self.write(series, facts)
        except StoreError as error:
            return error
        except Exception as error:
            log.exception("an internal error while the metadata of %s was written", series)
            return InternalStoreError(f"metadata of {series} cannot be written, by an internal error: {error!r}")
        return None

    def _change(self, key: str, facts: Iterable[SeriesFact]) -> Change:
        try:
            version, metadata = self._read(key)
        except DamagedFileError as error:
            if not self._quarantines:
                raise
            metadata = SeriesMetadata()
            version = self.storage.quarantine(key, self.storage.version(key), str(error), _encode(metadata))
        before = _encode(metadata)
        for fact in facts:
            metadata.merge(fact)
        after = _encode(metadata)
        return Change(key, version, after if after != before or version is NO_VERSION else None)

    def _read(self, key: str) -> tuple[Version, SeriesMetadata]:
        name = f"{self.storage.name}/{key}"
        try:
            found = self.storage.read(key)
            return (NO_VERSION, SeriesMetadata()) if found is None else (found.version, _decode(found.content))
        except (DamagedFileError, ValueError, KeyError, TypeError) as error:
            raise DamagedFileError(f"{name} is no metadata of ours: {error}") from error
        except StoreError as error:
            raise StoreError(f"{name} cannot be read: {error}") from error


def _encode(metadata: SeriesMetadata) -> bytes:
    return orjson.dumps(
        {
            "began": _text(metadata.began_ms),
            "began_noted": _text(metadata.began_noted_ms or None),
            "ended": _text(metadata.ended_ms),
            "ended_noted": _text(metadata.ended_noted_ms),
            "reason": metadata.reason,
            "absent": [[_text(begin), _text(end)] for begin, end in metadata.absent],
            "fetched": [[_text(begin), _text(end)] for begin, end in metadata.fetched],
            "repaired": [[_text(begin), _text(end)] for begin, end in metadata.repaired],
        },
        option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE,
    )


def _decode(content: bytes) -> SeriesMetadata:
    found = orjson.loads(content)
    return SeriesMetadata(
        began_ms=_time(found["began"], None),
        began_noted_ms=_time(found["began_noted"], -1),
        ended_ms=_time(found["ended"], None),
        ended_noted_ms=_time(found["ended_noted"], -1),
        reason=str(found["reason"]),
        absent=_spans(found["absent"]),
        fetched=_spans(found.get("fetched", ())),  # a file of before 0.1.0 has none, and no repaired days
        repaired=_spans(found.get("repaired", ())),
    )


def _spans(found: Any) -> Spans:
    return Spans((_time(begin, None), _time(end, None)) for begin, end in found)


def _text(time_ms: int | None) -> str | None:
    if time_ms is None or time_ms < 0:
        return None
    return utc(time_ms).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _time(text: Any, without: int | None) -> Any:
    """Milliseconds from a time; ``without`` where there is none."""
    if text is None:
        return without
    moment = datetime.fromisoformat(text)
    return int(moment.timestamp()) * 1000 + moment.microsecond // 1000
