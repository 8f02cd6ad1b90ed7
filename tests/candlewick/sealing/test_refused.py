"""What is not sealed: bad input, damaged files, folders that hold something else, a second one at work."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from consumer.storage.durable import open_folder
from consumer.storage.layout import candles_key, series_folder
from shared.interval import HOUR_MS
from shared.process.locks import try_lock
from tests.support.commands import Run
from tests.support.sealed import FUTURES, HOURS, JUNE, MANIFEST, contents, record, rows, with_its_own_sha256
from tests.support.stores import DataFolder


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (("seal", "--month", "2024-6"), "'2024-6' is not a month of the form 2024-06"),
        (("seal", "--month", "june"), "'june' is not a month of the form 2024-06"),
        (("seal", "--month", "2024-07"), "2024-07 is not over: spot is stored up to 2024-07-13 00:00; two days beyond"),
        (("seal", "--month", "2030-01"), "2030-01 is not over"),
        (("seal", "--month", "2020-01"), "nothing was recorded of 2020-01 in data"),
        (("seal", "spot", "XRPUSDT"), "XRPUSDT was never recorded in data"),
        (("seal", "--data", "nowhere"), "there is no store in nowhere"),
        (("seal", "--into", "data"), "data holds candles and no manifests: seal into a folder of its own"),
        (("seal", "--into", "data/candles/x"), "data/candles/x is among what is recorded"),
        (("seal", "--into", "data/candles/../candles"), "is among what is recorded"),
        (("verify",), "nothing was sealed in data/sealed"),
        (("verify", "nowhere"), "nothing was sealed in nowhere"),
        (("verify", "data"), "nothing was sealed in data"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(
    store: DataFolder, candlewick: Run, arguments: tuple[str, ...], error: str
) -> None:
    record(store, HOURS)
    before = contents(store.root)
    done = candlewick(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert error in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert contents(store.root) == before


def test_where_no_month_is_over_there_is_nothing_to_do(store: DataFolder, candlewick: Run) -> None:
    store.write_rows(HOURS, rows(HOURS, [JUNE]))
    done = candlewick("seal")
    assert (done.returncode, done.stdout) == (0, "nothing to seal: no month is over yet\n")
    assert not (store.data / "sealed").exists()


def damaged_partition(store: DataFolder) -> str:
    path = store.root / series_folder(HOURS) / "2024-06.parquet"
    path.write_bytes(path.read_bytes()[:-99])
    return "2024-06.parquet is no partition of ours"


def quarantined_partition(store: DataFolder) -> str:
    key = candles_key(HOURS, "2024-06.parquet")
    store.local.quarantine(key, store.local.version(key), "it is damaged", b"")
    return "2024-06.parquet is in quarantine, and not refilled yet"


def wrong_row(store: DataFolder) -> str:
    found = rows(HOURS, [JUNE + HOUR_MS])
    found.values[1] = 0.5
    store.write_rows(HOURS, found, overrides=True)
    return "the row of 2024-06-01 01:00 is wrong: high is below low, and 1 more"


def no_metadata(store: DataFolder) -> str:
    shutil.rmtree(store.data / "ledger")
    record(store, FUTURES)
    return "missing, so nobody knows since when and how far it is recorded"


def damaged_metadata(store: DataFolder) -> str:
    path = store.data / "ledger" / f"{series_folder(HOURS)}.json"
    path.write_text("{")
    return "is no metadata of ours"


def damaged_sources(store: DataFolder) -> str:
    (store.data / "ledger" / "market=spot" / "sources.json").write_text("[]")
    return "does not name sources"


@pytest.mark.parametrize(
    "damage", [damaged_partition, quarantined_partition, wrong_row, no_metadata, damaged_metadata, damaged_sources]
)
def test_a_series_that_is_not_as_it_should_be_is_named_and_bars_no_other(
    store: DataFolder, candlewick: Run, damage: Callable[[DataFolder], str]
) -> None:
    for series in (HOURS, FUTURES):
        record(store, series)
    reason = damage(store)
    done = candlewick("seal", "--incomplete")
    assert (done.returncode, done.stdout.splitlines()[0]) == (1, "2024-06: 1 file, 720 candles")
    assert done.stderr.startswith("not sealed: spot BTCUSDT-1h, 2024-06: ")
    assert reason in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_of_two_that_seal_at_once_the_second_says_so(store: DataFolder, candlewick: Run, tmp_path: Path) -> None:
    record(store, HOURS)
    (tmp_path / "out").mkdir()
    fd = open_folder(tmp_path / "out", tmp_path)
    assert try_lock(fd)
    done = candlewick("seal", "--into", "out")
    assert (done.returncode, done.stderr) == (2, "candlewick: another candlewick seal is at work in out\n")
    os.close(fd)
    assert candlewick("seal", "--into", "out").returncode == 0


@pytest.mark.parametrize("is_forged", [False, True])
def test_nothing_is_added_to_a_manifest_that_was_changed(
    sealed: Path, store: DataFolder, candlewick: Run, *, is_forged: bool
) -> None:
    manifest = sealed / MANIFEST
    edited = manifest.read_text().replace('"rows":180', '"rows":181').replace('"expected":180', '"expected":181')
    manifest.write_text(with_its_own_sha256(edited) if is_forged else edited)
    before = contents(sealed)
    record(store, HOURS._replace(symbol="NEWUSDT"))
    done = candlewick("seal")
    assert (done.returncode, done.stdout) == (1, "0 files sealed in data/sealed\n")
    assert done.stderr == "not sealed: 2024-06: manifests/2024-06.json was changed: nothing is added to it\n"
    assert contents(sealed) == before


@pytest.mark.parametrize("content", [None, b"changed"])
def test_a_sealed_file_that_is_not_what_was_sealed_is_named_and_left_alone(
    sealed: Path, candlewick: Run, content: bytes | None
) -> None:
    path = sealed / candles_key(HOURS, "2024-06.parquet")
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    done = candlewick("seal")
    assert done.returncode == 1
    what = "is gone" if content is None else "was changed"
    assert done.stderr == f"sealed before: spot BTCUSDT-1h, 2024-06: its sealed file {what}: see verify\n"
    assert path.exists() == (content is not None)


def test_a_disk_that_refuses_is_one_line_and_leaves_nothing(store: DataFolder, candlewick: Run) -> None:
    record(store, HOURS)
    (store.data / "sealed" / "candles").mkdir(parents=True)
    (store.data / "sealed" / "manifests").mkdir()
    (store.data / "sealed" / "candles" / "market=spot").write_text("in the way")
    done = candlewick("seal")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("candlewick: data/sealed cannot be written: ")
    assert len(done.stderr.splitlines()) == 1
    assert not (store.data / "sealed" / "staging").exists()
