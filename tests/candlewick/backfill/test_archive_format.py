"""Archive files: what they are called, what is in them, and why one is refused."""

import hashlib
import io
import zipfile
from pathlib import Path

import numpy as np
import pytest

from candlewick.backfill.archive_format import ArchiveFile, read_archive, verify
from consumer.storage.layout import series_folder
from consumer.storage.table import VALUE_COLUMNS, Rows, rows_from_candles
from shared.candle import Series
from shared.errors import ArchiveError
from shared.interval import DAY_MS, Interval
from shared.market import Market
from tests.support.archives import checksum, line, lines, zipped
from tests.support.candles import BTC, JUNE_30, MINUTE, make_candle
from tests.support.stores import DataFolder

SPOT = Series(Market.SPOT, "BTCUSDT", Interval.M1)


COIN = Series(Market.COIN_FUTURES, "BTCUSD_PERP", Interval.MONTH)


HEADER = (
    "open_time,open,high,low,close,volume,close_time,quote_volume,count,taker_buy_volume,taker_buy_quote_volume,ignore"
)


DAY = ArchiveFile.day(BTC, JUNE_30)


@pytest.mark.parametrize(
    ("file", "path"),
    [
        (ArchiveFile.day(SPOT, JUNE_30 + 5), "data/spot/daily/klines/BTCUSDT/1m/BTCUSDT-1m-2024-06-30.zip"),
        (DAY, "data/futures/um/daily/klines/BTCUSDT/1m/BTCUSDT-1m-2024-06-30.zip"),
        (ArchiveFile.month(BTC, JUNE_30), "data/futures/um/monthly/klines/BTCUSDT/1m/BTCUSDT-1m-2024-06.zip"),
        (
            ArchiveFile.month(COIN, JUNE_30),
            "data/futures/cm/monthly/klines/BTCUSD_PERP/1mo/BTCUSD_PERP-1mo-2024-06.zip",
        ),
    ],
)
def test_files_lie_where_the_archive_has_them(file: ArchiveFile, path: str) -> None:
    assert file.path == path


@pytest.mark.parametrize("header", [[], [HEADER]])
@pytest.mark.parametrize("unit", [1, 1000])
@pytest.mark.parametrize("ending", ["\n", "\r\n"])
def test_rows_are_those_of_the_lines_with_or_without_header_in_ms_or_microseconds(
    header: list[str], unit: int, ending: str
) -> None:
    text = ending.join([*header, *lines(BTC, JUNE_30, JUNE_30 + DAY_MS, unit)])
    rows = read_archive(DAY, zipped(text)).rows
    expected = rows_from_candles([make_candle(open_time_ms=JUNE_30 + at * MINUTE) for at in range(1440)]).rows
    assert np.array_equal(rows.times, expected.times)
    assert np.array_equal(rows.values, expected.values), "digit for digit what a candle's strings become"


def test_a_file_of_both_units_is_read_by_value() -> None:
    rows = read_archive(DAY, zipped([line(JUNE_30), line(JUNE_30 + MINUTE, unit=1000)])).rows
    assert rows.times.tolist() == [JUNE_30, JUNE_30 + MINUTE]


def test_rows_are_sorted_and_repeats_become_one() -> None:
    first, second = lines(BTC, JUNE_30, JUNE_30 + 2 * MINUTE)
    assert read_archive(DAY, zipped([second, first, second])).rows.times.tolist() == [JUNE_30, JUNE_30 + MINUTE]


def test_a_file_of_many_blocks_is_read_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    text = [HEADER, *lines(BTC, JUNE_30, JUNE_30 + DAY_MS)]
    whole = read_archive(DAY, zipped(text)).rows
    monkeypatch.setattr("candlewick.backfill.archive_format._BLOCK_BYTES", 1000)
    assert np.array_equal(read_archive(DAY, zipped(text)).rows.values, whole.values)


def test_a_candle_that_ends_after_its_file_is_left_out() -> None:
    weekly = Series(Market.SPOT, "BTCUSDT", Interval.W1)
    month = ArchiveFile.month(weekly, JUNE_30 - 60 * DAY_MS)  # May 2024; its last week ends on 2 June
    monday = weekly.interval.end(weekly.interval.floor(month.begin_ms))
    rows = read_archive(month, zipped(lines(weekly, monday, month.end_ms))).rows
    assert rows.times.tolist() == [monday, monday + 7 * DAY_MS, monday + 14 * DAY_MS]


GOOD = line(JUNE_30)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"<html>gone</html>", "it is no zip that can be read: File is not a zip file"),
        (zipped([GOOD])[:-30], "it is no zip that can be read"),
        (zipped([GOOD], [GOOD]), "it holds 2 files, not one"),
        (zipped(), "it holds 0 files, not one"),
        (zipped([GOOD], method=zipfile.ZIP_BZIP2), "its compression is 12, not deflate"),
        (zipped(""), "it holds no kline"),
        (zipped([HEADER]), "it holds no kline"),
        (zipped(["<html>"]), "it holds a line that is no kline: '<html>'"),
        (zipped(["1,2,3"]), "it holds a line that is no kline: '1,2,3'"),
        (zipped([GOOD + ",1"]), "it holds a line that is no kline: '1719705600000,"),
        (zipped([GOOD.replace("61607.90", "-1")]), "it holds a line that is no kline: '1719705600000,-1"),
        (zipped([GOOD.replace("61607.90", "nan")]), "it holds a line that is no kline: '1719705600000,nan"),
        (zipped([GOOD.replace("61607.90", "")]), "it holds a line that is no kline: "),
        (zipped([GOOD.replace("61607.90", "1.2.3")]), "it holds a line that is no kline: "),
        (zipped([GOOD.replace(",418,", ",418.5,")]), "it holds a line that is no kline: "),
        (zipped([GOOD.replace(",418,", f",{2**53 + 2},")]), "it holds a line that is no kline: '1719705600000,"),
        (zipped([GOOD.replace("61607.90", "9" * 400)]), "it holds a line that is no kline: "),
        (
            zipped([line(JUNE_30 - MINUTE)]),
            "its row with open time 1719705540000 does not belong in BTCUSDT-1m-2",
        ),
        (zipped([line(JUNE_30 + DAY_MS)]), "its row with open time 1719792000000 does not belong in"),
        (zipped([line(JUNE_30 + 1)]), "its row with open time 1719705600001 is not on the grid of 1m"),
        (zipped([f"{JUNE_30 * 1000 + 1}{GOOD[13:]}"]), "its row with open time 1719705600000001 is not on the grid"),
        (zipped("0" * 10_000_000), "it unpacks to more than 526,656 bytes, more than its klines can take"),
        (zipped("0" * 500_000), "it holds a line that is no kline: b'0000"),
    ],
)
def test_what_is_no_file_of_klines_is_refused_with_its_reason(content: bytes, reason: str) -> None:
    with pytest.raises(ArchiveError) as caught:
        read_archive(DAY, content)
    assert str(caught.value).startswith(reason)
    assert len(str(caught.value)) < 250
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("first", [False, True])
@pytest.mark.parametrize(
    ("bad", "reason", "is_doubtful"),
    [
        ("<html>", "it holds a line that is no kline: '<html>'", True),
        (HEADER, "it holds a line that is no kline: 'open_time,", True),
        ("1,2,3", "it holds a line that is no kline: '1,2,3'", True),
        (line(JUNE_30 + MINUTE, trades=str(2**53 + 2)), "it holds a line that is no kline: '1719705660000,", True),
        (line(JUNE_30 + MINUTE, price=""), "it holds a line that is no kline: '1719705660000,,", True),
        (line(JUNE_30 + MINUTE + 14_789), "its row with open time 1719705674789 is not on the grid of 1m", False),
        (line(JUNE_30 - MINUTE), "its row with open time 1719705540000 does not belong in BTCUSDT-1m-2", False),
    ],
)
def test_what_is_no_kline_of_a_file_is_left_out_and_named_and_bars_no_other(
    bad: str, reason: str, is_doubtful: bool, first: bool
) -> None:
    if first and bad == HEADER:
        return  # that is where a header belongs
    good = [line(JUNE_30), line(JUNE_30 + 2 * MINUTE)]
    archived = read_archive(DAY, zipped([bad, *good] if first else [good[0], bad, good[1]]))
    assert archived.rows.times.tolist() == [JUNE_30, JUNE_30 + 2 * MINUTE]
    assert (archived.odd.count, archived.odd.is_doubtful) == (1, is_doubtful)
    (remark,) = archived.remarks
    assert remark.startswith(f"1 row is left out: {reason}")


def test_two_different_rows_of_one_time_in_a_file_are_told() -> None:
    texts = [
        line(JUNE_30),
        line(JUNE_30, price="61608.00", trades="419"),
        line(JUNE_30 + MINUTE),
        line(JUNE_30 + MINUTE),
    ]
    archived = read_archive(DAY, zipped(texts))
    assert archived.rows.values[0].tolist() == [61608.0, 61607.9]
    assert list(archived.remarks) == [
        "two different rows at 2024-06-30 00:00:00+00:00: the one with more trades is taken"
    ]


def test_a_damaged_byte_anywhere_is_refused_even_without_a_checksum() -> None:
    content = bytearray(zipped(lines(BTC, JUNE_30, JUNE_30 + DAY_MS)))
    content[len(content) // 2] ^= 1
    with pytest.raises(ArchiveError, match=r"it is no zip that can be read|no kline"):
        read_archive(DAY, bytes(content))


def test_a_checksum_holds_in_every_form_that_is_used() -> None:
    digest = hashlib.sha256(b"x").hexdigest()
    for text in (digest, f"{digest}  FILE.zip", f"{digest.upper()} *FILE.zip\n"):
        verify(b"x", text)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (checksum(b"y", "n"), "its sha256 is 2d711642b726…, its CHECKSUM says a1fce4363854…"),
        ("", "its CHECKSUM is no sha256: ''"),
        ("<html>", "its CHECKSUM is no sha256: '<html>'"),
    ],
)
def test_a_checksum_that_does_not_hold_is_named(text: str, reason: str) -> None:
    with pytest.raises(ArchiveError) as caught:
        verify(b"x", text)
    assert str(caught.value) == reason


def test_rows_are_stored_as_candles_are(tmp_path: Path) -> None:
    candles = [make_candle(open_time_ms=JUNE_30 + at * MINUTE) for at in range(-30, 3000, 3)]
    rows = rows_from_candles(candles).rows
    files = []
    for name in ("candles", "rows"):
        store = DataFolder(tmp_path / name)
        written = store.write(BTC, candles) if name == "candles" else store.write_rows(BTC, rows)
        assert (written.files, written.conflicts) == (4, ())
        assert store.write_rows(BTC, rows).files == 0, "repeats change nothing"
        files.append({path.name: path.read_bytes() for path in (store.root / series_folder(BTC)).iterdir()})
        doubled = store.write_rows(BTC, Rows(rows.times, rows.values * 2))
        assert doubled.conflicts == tuple(rows.times.tolist()), "different rows under one key are told"
        store.close()
    assert files[0] == files[1]


def test_the_real_days_are_read(real_data: Path) -> None:
    total = 0
    for path in sorted((real_data / "klines" / "spot").glob("BTCUSDT-1m-*.zip")):
        content = path.read_bytes()
        verify(content, path.with_name(f"{path.name}.CHECKSUM").read_text())
        begin = 1_577_836_800_000 + total * MINUTE
        archived = read_archive(ArchiveFile.day(SPOT, begin), content)
        assert not list(archived.remarks)
        rows = archived.rows
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            cells = [row.split(",") for row in archive.read(archive.namelist()[0]).decode().split()]
        assert rows.times.tolist() == [int(row[0]) for row in cells]
        for column, number in enumerate((1, 2, 3, 4, 5, 7, 8, 9, 10)):
            assert rows.values[column].tolist() == [float(row[number]) for row in cells], VALUE_COLUMNS[column]
        total += len(rows)
    assert total == 4320
