"""What was sealed of a month: its manifest, one JSON file, and what has to be true by it. Pure.

    {
    "format": 1,
    "month": "2024-06",
    "series": [
    {"market":"spot","symbol":"BTCUSDT","interval":"1m","file":"candles/…/2024-06.parquet","sha256":"…", …},
    …
    ],
    "sha256": "…"
    }

One line a series, sorted by file, so that an older line stays word for word what it was when others are added. The
last ``sha256`` is that of all lines above it: ``head -n -2 manifests/2024-06.json | sha256sum``. What can be counted
from ranges is written for people and other tools, and is never read: a manifest is whole when it is, byte for byte,
what its own content makes (``is_whole``).
"""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

import orjson

from consumer.storage.layout import SUFFIX, Period, candles_key, partition_name, partition_span
from shared.candle import Series, checked_series
from shared.errors import CandlewickError, DamagedFileError
from shared.interval import Interval, utc
from shared.market import Market
from shared.spans import Span, Spans
from shared.text import quoted

FORMAT = 1
MANIFESTS, _JSON = "manifests", ".json"


class Absence(NamedTuple):
    """Candles that the exchange never had, as a range of open times in ms, and why they count as absent."""

    span: Span
    reason: str


@dataclass(frozen=True, slots=True)
class SealedFile:
    """One series of a sealed month. Ranges are of open times in UTC ms, each from an open time, ascending.

    Attributes:
        month: such as ``2024-06``; a candle belongs to the month in which it opens.
        rows: how many candles the file holds.
        nbytes: its size in bytes.
        sha256: of its bytes, in hexadecimal.
        expected: where candles are expected in the month.
        absent: what the exchange never had of that.
        missing: what was not there when it was sealed; nothing, unless that was asked for.
        sources: the exchanges that the market's candles come from.
        sealed_by: the program and its version.
    """

    series: Series
    month: str
    rows: int
    nbytes: int
    sha256: str
    expected: tuple[Span, ...]
    absent: tuple[Absence, ...]
    missing: tuple[Span, ...]
    sources: tuple[str, ...]
    sealed_by: str

    @property
    def key(self) -> str:
        """Its path below the folder of sealed months."""
        return sealed_key(self.series, self.month)

    @property
    def absent_candles(self) -> int:
        """How many candles are absent."""
        return self.count(absence.span for absence in self.absent)

    def count(self, spans: Iterable[Span]) -> int:
        """How many candles of the series open in these ranges."""
        return sum(self.series.interval.candles(*span) for span in spans)


@dataclass(frozen=True, slots=True)
class Manifest:
    """What was sealed of a month, sorted by file."""

    month: str
    files: tuple[SealedFile, ...] = ()

    def of(self, series: Series) -> SealedFile | None:
        """What was sealed of a series; None when nothing was."""
        return next((file for file in self.files if file.series == series), None)

    def with_files(self, files: Iterable[SealedFile]) -> "Manifest":
        """This manifest with more files."""
        return Manifest(self.month, tuple(sorted((*self.files, *files), key=lambda file: file.key)))


def parse_month(text: str) -> str:
    """A month of the form ``2024-06``. CandlewickError for any other text."""
    span = partition_span(text + SUFFIX)
    if span is None or month_of(span[0]) != text:
        raise CandlewickError(f"{quoted(text)} is not a month of the form 2024-06")
    return text


def month_of(time_ms: int) -> str:
    """The month that a time in UTC ms is in."""
    return partition_name(Period.MONTH, time_ms).removesuffix(SUFFIX)


def month_span(month: str) -> Span:
    """From a month's first instant to the next month's, in UTC ms."""
    span = partition_span(parse_month(month) + SUFFIX)
    assert span is not None  # noqa: S101 # it is a month
    return Span(*span)


def sealed_key(series: Series, month: str) -> str:
    """Where a series' sealed month is: as a store has it."""
    return candles_key(series, month + SUFFIX)


def manifest_key(month: str) -> str:
    """Where a month's manifest is."""
    return f"{MANIFESTS}/{month}{_JSON}"


def month_of_manifest(key: str) -> str | None:
    """The month whose manifest has this key, the inverse of ``manifest_key``; None where it is no manifest's."""
    month = key.removeprefix(f"{MANIFESTS}/").removesuffix(_JSON)
    try:
        return month if manifest_key(parse_month(month)) == key else None
    except CandlewickError:
        return None


def encode(manifest: Manifest) -> bytes:
    """A manifest as bytes; the same one always as the same bytes."""
    lines = ",\n".join(orjson.dumps(_line(file)).decode() for file in manifest.files)
    body = f'{{\n"format": {FORMAT},\n"month": "{manifest.month}",\n"series": [\n{lines}\n],\n'
    return f'{body}"sha256": "{hashlib.sha256(body.encode()).hexdigest()}"\n}}\n'.encode()


def decode(content: bytes) -> Manifest:
    """A manifest from bytes. DamagedFileError where it is none; whether somebody changed it tells ``is_whole``."""
    try:
        return _manifest(orjson.loads(content))
    except DamagedFileError:
        raise
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError, CandlewickError) as error:
        raise DamagedFileError(f"it is no manifest: {' '.join(str(error).split()):.200}") from None


def is_whole(manifest: Manifest, content: bytes) -> bool:
    """Whether bytes are, one by one, what was written for this manifest."""
    return encode(manifest) == content


def unaccounted(file: SealedFile, present: Sequence[Span]) -> Iterator[str]:
    """What contradicts a manifest among the candles that are there, as ascending ranges; nothing when all is well.

    Each expected candle is present, absent or missing, and only one of these; nothing else is there.
    """
    rows, named = file.count(present), Spans()
    if rows != file.rows:
        yield f"{rows:,} rows, and {file.rows:,} were sealed"
    there, expected = Spans(present), Spans(file.expected)
    for word, spans in (("absent", [absence.span for absence in file.absent]), ("missing", list(file.missing))):
        for span in spans:
            yield from (f"rows {_told(row)}, which counts as {word}" for row in there.between(*span))
            yield from (f"{_told(twice)} counts twice" for twice in named.between(*span))
            yield from (f"{_told(odd)} is {word} and was not expected" for odd in expected.gaps(*span))
            named.add(*span)
    for span in present:
        yield from (f"rows {_told(odd)}, which were not expected" for odd in expected.gaps(*span))
        named.add(*span)
    for span in file.expected:
        yield from (f"no rows {_told(gap)}, and nothing says why" for gap in named.gaps(*span))


def _told(span: Span) -> str:
    return f"from {utc(span.begin_ms):%Y-%m-%d %H:%M:%S} to {utc(span.end_ms):%Y-%m-%d %H:%M:%S}"


def _line(file: SealedFile) -> dict[str, Any]:
    return {
        "market": file.series.market,
        "symbol": file.series.symbol,
        "interval": file.series.interval,
        "file": file.key,
        "bytes": file.nbytes,
        "sha256": file.sha256,
        "rows": file.rows,
        "expected": file.count(file.expected),
        "absent": file.absent_candles,
        "missing": file.count(file.missing),
        "ranges": {
            "expected": [_text(span) for span in file.expected],
            "absent": [[*_text(span), reason] for span, reason in file.absent],
            "missing": [_text(span) for span in file.missing],
        },
        "sources": file.sources,
        "sealed_by": file.sealed_by,
    }


def _manifest(found: Any) -> Manifest:
    if found["format"] != FORMAT:
        raise DamagedFileError(f"its format is {quoted(found['format'])}, and only {FORMAT} is known here")
    month = parse_month(found["month"])
    return Manifest(month).with_files(_file(line, month) for line in found["series"])


def _file(line: Any, month: str) -> SealedFile:
    series = checked_series(Market(line["market"]), line["symbol"], line["interval"])
    ranges = line["ranges"]
    return SealedFile(
        series,
        month,
        rows=_count(line["rows"]),
        nbytes=_count(line["bytes"]),
        sha256=str(line["sha256"]),
        expected=tuple(_span(series.interval, *pair) for pair in ranges["expected"]),
        absent=tuple(Absence(_span(series.interval, *pair), str(reason)) for *pair, reason in ranges["absent"]),
        missing=tuple(_span(series.interval, *pair) for pair in ranges["missing"]),
        sources=tuple(map(str, line["sources"])),
        sealed_by=str(line["sealed_by"]),
    )


def _count(value: Any) -> int:
    if type(value) is not int:
        raise TypeError(f"{quoted(value)} is no number of rows or bytes")
    return value


def _text(span: Span) -> list[str]:
    return [f"{utc(time_ms):%Y-%m-%dT%H:%M:%SZ}" for time_ms in span]


def _span(interval: Interval, begin: str, end: str) -> Span:
    span = Span(*(int(datetime.fromisoformat(text).timestamp()) * 1000 for text in (begin, end)))
    if span.begin_ms >= span.end_ms or not all(map(interval.is_open_time, span)):
        raise ValueError(f"{begin} to {end} is no range of candles")
    return span
