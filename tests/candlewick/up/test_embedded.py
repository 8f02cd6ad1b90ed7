"""The embedded broker: one a folder, found by asking, mended when it cannot be reached or loaded, and told why not."""

import contextlib
import os
import random
import shutil
import signal
import stat
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from candlewick.up import embedded
from candlewick.up.embedded import Reach, Server
from candlewick.up.serving import serving_pids
from shared.broker.address import embedded_folder, embedded_socket
from shared.broker.client import sync_client
from shared.errors import BrokerError
from shared.settings.load import load_settings
from shared.settings.model import Settings
from tests.support.disk import Disk


@pytest.fixture
def settings(tmp_path: Path) -> Iterator[Settings]:
    """A data folder with a broker of its own, which ends with the test."""
    settings = load_settings(flags={"data": {"folder": tmp_path / "data"}})
    yield settings
    embedded.stop(settings)


def pid_of(settings: Settings) -> int:
    found = embedded.look(settings)
    assert found.reach is Reach.READY
    assert found.pid is not None
    return found.pid


@contextlib.contextmanager
def connected(settings: Settings) -> Iterator[Any]:
    client = sync_client(settings)
    yield client
    client.close()


def put(settings: Settings, count: int = 100) -> None:
    with connected(settings) as client:
        for number in range(count):
            client.xadd("stream", {"number": number})


def entries(settings: Settings) -> int:
    with connected(settings) as client:
        return int(client.xlen("stream"))


@pytest.mark.parametrize("name", ["lock", "server", "valkey.log"])
def test_without_any_of_its_files_beside_the_data_it_is_still_the_only_one(settings: Settings, name: str) -> None:
    assert embedded.start(settings)
    (embedded_folder(settings) / name).unlink(missing_ok=True)
    first = pid_of(settings)
    assert not embedded.start(settings), "it lives"
    with pytest.raises(BrokerError, match="runs already"):
        embedded.run_in_foreground(settings)
    assert serving_pids(embedded_folder(settings)) == [first]


def test_of_many_that_start_at_one_moment_one_lives(settings: Settings) -> None:
    started: list[bool] = []
    threads = [threading.Thread(target=lambda: started.append(embedded.start(settings))) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sorted(started) == [False] * 4 + [True]
    assert serving_pids(embedded_folder(settings)) == [pid_of(settings)]


def test_one_that_cannot_be_reached_is_ended_and_what_it_answered_for_is_there(settings: Settings) -> None:
    embedded.start(settings)
    put(settings)
    first = pid_of(settings)
    embedded_socket(settings).unlink()
    assert embedded.look(settings).reach is Reach.UNREACHABLE
    assert embedded.start(settings, is_patient=False)
    assert not psutil.pid_exists(first)
    assert entries(settings) == 100


def test_one_that_hangs_is_ended(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    embedded.start(settings)
    put(settings)
    first = pid_of(settings)
    os.kill(first, signal.SIGSTOP)
    monkeypatch.setitem(embedded.PATIENCE_SECONDS, Reach.SILENT, 0.1)
    assert embedded.start(settings)
    assert not psutil.pid_exists(first)
    assert entries(settings) == 100


def test_one_whose_folder_was_deleted_gives_way_to_one_on_the_new_folder(settings: Settings) -> None:
    """Its files are gone, and it would go on answering whoever is connected."""
    embedded.start(settings)
    put(settings)
    first = pid_of(settings)
    folder, socket = embedded_folder(settings), embedded_socket(settings)
    if socket.parent == folder:  # a socket elsewhere stays: then it answers, from a folder that is gone
        kept = socket.with_name("kept")
        socket.rename(kept)
        kept.rename(folder.parent / "kept")
    shutil.rmtree(folder)
    folder.mkdir()
    if (folder.parent / "kept").exists():
        (folder.parent / "kept").rename(socket)
    assert embedded.look(settings) == Server(Reach.FOREIGN, first)
    assert embedded.start(settings)
    assert not psutil.pid_exists(first)
    assert entries(settings) == 0


def test_another_temporary_folder_finds_the_same_one(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    embedded.start(settings)
    before = embedded_socket(settings)
    monkeypatch.setenv("TMPDIR", "/nonexistent")
    assert embedded_socket(settings) == before
    assert not embedded.start(settings)


@pytest.mark.parametrize("seed", range(12))
def test_damaged_files_are_moved_away_or_loaded(
    settings: Settings, seed: int, caplog: pytest.LogCaptureFixture
) -> None:
    """Zeros, cuts, flipped bytes, anywhere in any of the files, or one of them gone: it starts, whatever it finds."""
    rng = random.Random(seed)
    embedded.start(settings)
    put(settings)
    embedded.stop(settings)
    files = sorted((embedded_folder(settings) / "appendonlydir").iterdir())
    path = files[seed % len(files)]
    content = bytearray(path.read_bytes())
    at = rng.randrange(len(content))
    match seed // len(files):
        case 0:
            content[at : at + 64] = bytes(64)
        case 1:
            del content[at:]
        case 2:
            content += bytes(4096)
        case _:
            path.unlink()
    if content and path.exists():
        path.write_bytes(content)
    assert embedded.start(settings)
    moved = list((settings.data.folder / "damaged").glob("broker~*"))
    lines = [record.getMessage() for record in caplog.records if "damaged" in record.getMessage()]
    assert len(moved) == len(lines) <= 1
    if moved:
        assert str(moved[0]) in lines[0]
        assert entries(settings) == 0
    put(settings, 1)


def test_on_a_full_disk_it_says_so_and_starts_when_there_is_room(
    disk: Disk, make_settings: Callable[..., Settings]
) -> None:
    settings = make_settings(data={"folder": disk.folder / "data"}, broker={"url": ""})
    ballast = disk.fill()
    with pytest.raises(BrokerError, match="No space left on device on"):
        embedded.start(settings)
    assert not serving_pids(disk.folder)
    ballast.unlink()
    disk.remount("ro")
    with pytest.raises(BrokerError, match="Read-only file system"):
        embedded.start(settings)


def test_its_files_and_its_socket_are_for_its_user_alone(settings: Settings) -> None:
    embedded.start(settings)
    put(settings)
    folder = embedded_folder(settings)
    for path in (folder, embedded_socket(settings), *folder.rglob("*")):
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path


def test_one_that_lives_on_without_its_folder_is_found_and_ended(settings: Settings) -> None:
    """Nobody who starts later can reach it, and whoever is connected would go on using it."""
    embedded.start(settings)
    first = pid_of(settings)
    with connected(settings) as client:
        client.ping()
        shutil.rmtree(embedded_folder(settings))
        assert embedded.look(settings).reach is Reach.UNREACHABLE
        assert embedded.start(settings)
        assert not psutil.pid_exists(first)
        assert serving_pids(embedded_folder(settings)) == [pid_of(settings)]
