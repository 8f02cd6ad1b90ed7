"""Whatever is done to sealed months is named: bytes, rows, files, manifests."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from candlewick.sealing.place import LocalPlace
from candlewick.sealing.verify import verify
from consumer.storage.layout import candles_key
from shared.candle import Series
from shared.interval import HOUR_MS
from tests.support.commands import Run
from tests.support.sealed import CHINESE, FUTURES, HOURS, JUNE, MANIFEST, MINUTES, record, with_its_own_sha256
from tests.support.stores import DataFolder

FILE, OTHER = (candles_key(series, "2024-06.parquet") for series in (HOURS, MINUTES))
Problems = dict[str, list[str]]


def rewrite(path: Path, change: Callable[[pd.DataFrame], pd.DataFrame]) -> None:
    """Write a file anew, with its own columns and types, as somebody with a tool would."""
    table = pq.ParquetFile(path).read()
    frame = change(table.to_pandas().reset_index())
    pq.write_table(type(table).from_pandas(frame, schema=table.schema, preserve_index=False), path)


def later(frame: pd.DataFrame, column: str) -> pd.DataFrame:
    """A frame whose row 77 has a time that is a minute later."""
    moved = frame[column].where(frame.index != 77, frame[column] + pd.Timedelta(minutes=1))
    return frame.assign(**{column: moved})


def flipped_byte(sealed: Path) -> Problems:
    content = bytearray((sealed / FILE).read_bytes())
    content[len(content) // 2] ^= 1
    (sealed / FILE).write_bytes(content)
    return {FILE: ["its sha256 is ", "cannot be read: "]}


def dropped_row(sealed: Path) -> Problems:
    rewrite(sealed / FILE, lambda frame: frame.drop(index=[77]))
    gap = "no rows from 2024-06-04 05:00:00 to 2024-06-04 06:00:00, and nothing says why"
    return {FILE: ["its sha256 is ", "719 rows, and 720 were sealed", gap]}


def changed_price(sealed: Path) -> Problems:
    rewrite(sealed / FILE, lambda frame: frame.assign(volume=frame["volume"] * 1.01))
    return {FILE: ["its sha256 is "]}


def moved_row(sealed: Path) -> Problems:
    rewrite(sealed / FILE, lambda frame: later(later(frame, "candle_begin_time"), "candle_end_time"))
    return {FILE: ["its sha256 is ", "the row of 2024-06-04 05:01:00 is wrong: its time is off the grid"]}


def another_end(sealed: Path) -> Problems:
    rewrite(sealed / FILE, lambda frame: later(frame, "candle_end_time"))
    return {FILE: ["its sha256 is ", "the row of 2024-06-04 05:00:00 is wrong: its candle_end_time is another"]}


def doubled_row(sealed: Path) -> Problems:
    rewrite(sealed / FILE, lambda frame: frame.loc[[*range(78), *range(77, 720)]])
    return {FILE: ["its sha256 is ", "cannot be read: it is not sorted and unique by candle_begin_time"]}


def swapped_files(sealed: Path) -> Problems:
    for old, new in ((FILE, "x"), (OTHER, FILE), ("x", OTHER)):
        (sealed / old).rename(sealed / new)
    return {
        FILE: ["its sha256 is ", f"it holds what was sealed as {OTHER}"],
        OTHER: ["its sha256 is ", f"it holds what was sealed as {FILE}"],
    }


def deleted_file(sealed: Path) -> Problems:
    (sealed / FILE).unlink()
    return {FILE: ["is gone"]}


def folder_in_its_place(sealed: Path) -> Problems:
    (sealed / FILE).unlink()
    (sealed / FILE).mkdir()
    return {FILE: ["cannot be read: "]}


def added_file(sealed: Path) -> Problems:
    added = sealed / candles_key(HOURS, "2024-05.parquet")
    shutil.copy(sealed / FILE, added)
    (sealed / "README").write_text("")
    return {candles_key(HOURS, "2024-05.parquet"): ["no manifest names it"], "README": ["no manifest names it"]}


def edited_manifest(sealed: Path) -> Problems:
    text = (sealed / MANIFEST).read_text()
    (sealed / MANIFEST).write_text(text.replace("candlewick 0", "candlewick 9"))
    return {MANIFEST: ["was changed after it was written: its own sha256 does not fit"]}


def series_left_out(sealed: Path) -> Problems:
    lines = (sealed / MANIFEST).read_text().splitlines(keepends=True)
    (sealed / MANIFEST).write_text("".join(line for line in lines if FILE not in line))
    return {FILE: ["no manifest names it"], MANIFEST: ["was changed after it was written: its own sha256 does not fit"]}


def forged_manifest(sealed: Path) -> Problems:
    text = (sealed / MANIFEST).read_text()
    expected = '"expected":[["2024-06-01T00:00:00Z","2024-07-01T00:00:00Z"]]'
    one_less = expected.replace("-07-01T00:00:00Z", "-06-30T20:00:00Z")
    at = text.index("币安人生USDT")
    edited = text[:at] + text[at:].replace(expected, one_less, 1).replace('"expected":180', '"expected":179', 1)
    (sealed / MANIFEST).write_text(with_its_own_sha256(edited))
    odd = "rows from 2024-06-30 20:00:00 to 2024-07-01 00:00:00, which were not expected"
    return {candles_key(CHINESE, "2024-06.parquet"): [odd]}


def cut_manifest(sealed: Path) -> Problems:
    (sealed / MANIFEST).write_bytes((sealed / MANIFEST).read_bytes()[:-10])
    return {MANIFEST: ["it is no manifest: "]}


def renamed_manifest(sealed: Path) -> Problems:
    (sealed / MANIFEST).rename(sealed / "manifests" / "2024-05.json")
    return {"manifests/2024-05.json": ["is the manifest of 2024-06"]}


def copied_manifest(sealed: Path) -> Problems:
    shutil.copy(sealed / MANIFEST, sealed / "manifests" / "old.json")
    return {"manifests/old.json": ["is no manifest of a month"]}


@pytest.mark.parametrize(
    "tamper",
    [
        *(flipped_byte, dropped_row, changed_price, moved_row, another_end, doubled_row),
        *(swapped_files, deleted_file, folder_in_its_place, added_file),
        *(edited_manifest, series_left_out, forged_manifest, cut_manifest, renamed_manifest, copied_manifest),
    ],
)
def test_whatever_is_changed_is_named_and_nothing_else(
    sealed: Path, candlewick: Run, tamper: Callable[[Path], Problems]
) -> None:
    expected = tamper(sealed)
    found = verify(LocalPlace(sealed)).problems
    assert found.keys() == expected.keys()
    for key, problems in expected.items():
        assert len(problems) <= len(found[key])
        for told, problem in zip(found[key], problems, strict=False):
            assert told.startswith(problem)
    done = candlewick("verify")
    assert (done.returncode, done.stderr) == (1, "")
    assert [line for line in done.stdout.splitlines()[:-1] if not line.startswith("  ")] == sorted(expected)
    assert done.stdout.endswith(f"{len(expected)} file{'s' if len(expected) > 1 else ''} not as sealed\n")


def test_a_manifest_that_is_gone_leaves_files_that_nothing_names(sealed: Path) -> None:
    (sealed / MANIFEST).unlink()
    problems = verify(LocalPlace(sealed)).problems
    assert len(problems) == 7
    assert set(map(tuple, problems.values())) == {("no manifest names it",)}


def test_all_is_well_where_nothing_was_done_wherever_the_folder_is_and_without_a_recording(
    sealed: Path, store: DataFolder, candlewick: Run, tmp_path: Path
) -> None:
    elsewhere = tmp_path / "elsewhere" / "else"
    shutil.copytree(sealed, elsewhere / "months")
    shutil.rmtree(store.root)
    (elsewhere / "candlewick.toml").write_text("not settings")
    (elsewhere / "months" / "staging").mkdir()
    (elsewhere / "months" / "staging" / "0").write_bytes(b"of one that was killed")
    done = candlewick("verify", "months", cwd=elsewhere, CANDLEWICK_BROKER_URL="nonsense")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "1 month, 7 files, 4,515 candles: all as sealed\n"


def test_several_months_are_verified_at_once(store: DataFolder, candlewick: Run) -> None:
    for series in (HOURS, FUTURES):
        record(store, series, begin_ms=JUNE - 40 * 24 * HOUR_MS)
    assert candlewick("seal").stdout.splitlines() == [
        "2024-04: 2 files, 432 candles",
        "2024-05: 2 files, 1,488 candles",
        "2024-06: 2 files, 1,440 candles",
        "6 files sealed in data/sealed",
    ]
    assert candlewick("verify").stdout == "3 months, 6 files, 3,360 candles: all as sealed\n"


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40)
@given(st.data())
def test_no_bit_of_any_file_can_flip_unnoticed(sealed: Path, data: st.DataObject) -> None:
    names = [MANIFEST, *(candles_key(Series(*series), "2024-06.parquet") for series in (HOURS, CHINESE))]
    path = sealed / data.draw(st.sampled_from(names))
    content = path.read_bytes()
    changed = bytearray(content)
    changed[data.draw(st.integers(0, len(content) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    path.write_bytes(changed)
    problems = verify(LocalPlace(sealed)).problems
    path.write_bytes(content)
    assert path.relative_to(sealed).as_posix() in problems
