"""Manifests: written and read back, and noticed when a byte of one is another."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from candlewick.sealing.manifest import (
    Absence,
    Manifest,
    SealedFile,
    decode,
    encode,
    is_whole,
    manifest_key,
    month_of_manifest,
    month_span,
    parse_month,
    unaccounted,
)
from shared.errors import CandlewickError, DamagedFileError
from shared.interval import HOUR_MS
from shared.spans import Span
from tests.support.sealed import ALL, HOURS, JULY, JUNE, with_its_own_sha256

WHOLE = Span(JUNE, JULY)


def file_of(
    *, expected: Span = WHOLE, absent: tuple[Span, ...] = (), missing: tuple[Span, ...] = (), rows: int = 720
) -> SealedFile:
    absences = tuple(Absence(span, "the exchange has none") for span in absent)
    return SealedFile(HOURS, "2024-06", rows, 1, "ab" * 32, (expected,), absences, missing, ("binance",), "candlewick")


def hours(begin: int, end: int) -> Span:
    return Span(JUNE + begin * HOUR_MS, JUNE + end * HOUR_MS)


@st.composite
def manifests(draw: st.DrawFn) -> Manifest:
    """Series with ranges that are one candle or more, in any order."""
    files = []
    for series in draw(st.lists(st.sampled_from(ALL), unique=True, max_size=4)):
        edges = [series.interval.floor(JUNE + draw(st.integers(0, 500)) * HOUR_MS)]
        for _ in range(draw(st.integers(1, 5))):
            edges.append(series.interval.end(edges[-1]))
        spans = [Span(edges[0], edge) for edge in edges[1:]]
        files.append(
            SealedFile(
                series,
                "2024-06",
                rows=draw(st.integers(0, 10**6)),
                nbytes=draw(st.integers(0, 10**9)),
                sha256=draw(st.text("0123456789abcdef", min_size=64, max_size=64)),
                expected=tuple(draw(st.lists(st.sampled_from(spans)))),
                absent=tuple(Absence(span, draw(st.text())) for span in draw(st.lists(st.sampled_from(spans)))),
                missing=tuple(draw(st.lists(st.sampled_from(spans)))),
                sources=tuple(draw(st.lists(st.text()))),
                sealed_by=draw(st.text()),
            )
        )
    return Manifest("2024-06").with_files(files)


@given(manifests())
def test_a_manifest_is_read_back_as_it_was_written_and_is_json(manifest: Manifest) -> None:
    content = encode(manifest)
    assert decode(content) == manifest
    assert is_whole(manifest, content)
    assert len(json.loads(content)["series"]) == len(manifest.files)


@given(manifests(), st.data())
def test_no_byte_can_be_another_unnoticed(manifest: Manifest, data: st.DataObject) -> None:
    content = bytearray(encode(manifest))
    content[data.draw(st.integers(0, len(content) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    try:
        found = decode(bytes(content))
    except DamagedFileError:
        return
    assert not is_whole(found, bytes(content))


@given(manifests(), manifests())
def test_lines_that_are_there_stay_word_for_word_when_others_come(first: Manifest, second: Manifest) -> None:
    new = [file for file in second.files if first.of(file.series) is None]
    before, after = lines_of(first), lines_of(first.with_files(new))
    assert [line for line in after if line in before] == before
    assert len(after) == len(before) + len(new)


def lines_of(manifest: Manifest) -> list[str]:
    return [line.rstrip(",") for line in encode(manifest).decode().split("\n") if line.startswith('{"market"')]


def test_counts_that_contradict_their_ranges_are_noticed_even_with_a_fitting_sha256() -> None:
    text = encode(Manifest("2024-06", (file_of(),))).decode()
    edited = with_its_own_sha256(text.replace('"expected":720', '"expected":719')).encode()
    assert edited != text.encode()
    assert not is_whole(decode(edited), edited)


@pytest.mark.parametrize(
    ("old", "new", "error"),
    [
        ('"format": 1', '"format": 2', "its format is 2, and only 1 is known here"),
        ('"month": "2024-06"', '"month": "../x"', "'../x' is not a month of the form 2024-06"),
        ('"symbol":"BTCUSDT"', '"symbol":"../x"', "'../x' is not allowed"),
        ('"market":"spot"', '"market":"fx"', "'fx' is not a valid Market"),
        ('"rows":720', '"rows":7e99', "is no number of rows or bytes"),
        ('["2024-06-01T00:00:00Z"', '["2024-06-01T00:00:01Z"', "is no range of candles"),
        ('["2024-06-01T00:00:00Z"', '["2024-08-01T00:00:00Z"', "is no range of candles"),
        ('["2024-06-01T00:00:00Z"', "[7", "it is no manifest"),
        ('"ranges"', '"spans"', "'ranges'"),
        ("{", "[" * 100_000, "it is no manifest"),
        ("{", "", "it is no manifest"),
    ],
)
def test_what_is_no_manifest_is_refused_with_the_reason(old: str, new: str, error: str) -> None:
    text = encode(Manifest("2024-06", (file_of(),))).decode()
    assert old in text
    with pytest.raises(DamagedFileError) as caught:
        decode(text.replace(old, new, 1).encode())
    assert error in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "content", [b"", b"null", b"[]", b"7", b'{"format": 1}', b"\xff\xfe", b'{"format": 1, "month": 7}']
)
def test_other_json_is_no_manifest_either(content: bytes) -> None:
    with pytest.raises(DamagedFileError, match="it is no manifest"):
        decode(content)


@pytest.mark.parametrize(
    ("file", "present", "problems"),
    [
        (file_of(), [Span(JUNE, JULY)], []),
        (file_of(absent=(hours(5, 7),), rows=718), [hours(0, 5), hours(7, 720)], []),
        (file_of(absent=(hours(5, 6),), missing=(hours(6, 7),), rows=718), [hours(0, 5), hours(7, 720)], []),
        (file_of(expected=hours(9, 12), rows=3), [hours(9, 12)], []),
        (file_of(rows=0, absent=(hours(0, 720),)), [], []),
        (
            file_of(),
            [hours(0, 5), hours(6, 720)],
            [
                "719 rows, and 720 were sealed",
                "no rows from 2024-06-01 05:00:00 to 2024-06-01 06:00:00, and nothing says why",
            ],
        ),
        (
            file_of(absent=(hours(5, 7),)),
            [hours(0, 720)],
            ["rows from 2024-06-01 05:00:00 to 2024-06-01 07:00:00, which counts as absent"],
        ),
        (
            file_of(expected=hours(0, 3), rows=4),
            [hours(0, 4)],
            ["rows from 2024-06-01 03:00:00 to 2024-06-01 04:00:00, which were not expected"],
        ),
        (
            file_of(expected=hours(0, 3), missing=(hours(3, 4),), rows=3),
            [hours(0, 3)],
            ["from 2024-06-01 03:00:00 to 2024-06-01 04:00:00 is missing and was not expected"],
        ),
        (
            file_of(absent=(hours(5, 7),), missing=(hours(6, 7),), rows=718),
            [hours(0, 5), hours(7, 720)],
            ["from 2024-06-01 06:00:00 to 2024-06-01 07:00:00 counts twice"],
        ),
    ],
)
def test_each_expected_candle_is_a_row_or_absent_or_missing_and_nothing_else_is_there(
    file: SealedFile, present: list[Span], problems: list[str]
) -> None:
    assert list(unaccounted(file, present)) == problems


def test_a_month_has_one_spelling() -> None:
    assert month_span("2024-02") == Span(1_706_745_600_000, 1_709_251_200_000)
    assert month_of_manifest(manifest_key("2024-02")) == "2024-02"
    for text in ("2024-2", "2024", "2024-13", "2024-06-30", "june", "", "2024-06.parquet", "../2024-06"):
        with pytest.raises(CandlewickError, match="is not a month of the form 2024-06"):
            parse_month(text)
        assert month_of_manifest(f"manifests/{text}.json") is None
    assert month_of_manifest("manifests/2024-06.txt") is None
