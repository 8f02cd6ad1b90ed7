"""What an attacker, or a curious neighbour, would try first: the network, the secrets, the way to the broker."""

import shutil
import signal
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
import trustme

from consumer.dataset.dataset import Dataset
from consumer.storage.layout import series_folder
from shared.broker.client import embedded_socket
from shared.candle import Series
from shared.interval import Interval
from shared.market import Market
from shared.settings.load import load_settings
from tests.support.commands import Run, Start
from tests.support.pipeline import BASE, GROUPS, write_settings
from tests.support.servers import RealServer
from tests.support.waiting import wait_until

PASSWORD = "correct-horse-battery-staple"
SPOT = Series(Market.SPOT, "BTCUSDT", Interval.M1)


@pytest.fixture
def tls_server(tmp_path: Path) -> Iterator[RealServer]:
    """A Redis that speaks TLS alone and wants a password; its authority's certificate is ``ca.pem`` in the folder."""
    binary = shutil.which("redis-server")
    if binary is None:
        pytest.skip("redis-server is not installed, and the embedded Valkey speaks no TLS")
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    trustme.CA().cert_pem.write_to_path(str(tmp_path / "other-ca.pem"))
    certificate = authority.issue_cert("127.0.0.1")
    certificate.private_key_and_cert_chain_pem.write_to_path(str(tmp_path / "server.pem"))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    options = {
        "port": "0",
        "tls-port": str(port),
        "tls-cert-file": str(tmp_path / "server.pem"),
        "tls-key-file": str(tmp_path / "server.pem"),
        "tls-auth-clients": "no",
        "requirepass": PASSWORD,
    }
    folder = tmp_path / "server"
    folder.mkdir()
    server = RealServer([binary], folder, options)
    server.url = f"rediss://127.0.0.1:{port}/0?ssl_ca_certs={tmp_path / 'ca.pem'}"
    server.start()
    yield server
    server.kill()


def stored(data: Path) -> int:
    root = data / "candles"
    return len(Dataset.in_folder(root.parent).rows(SPOT)) if (root / series_folder(SPOT)).is_dir() else 0


def test_a_broker_with_tls_and_a_password_is_recorded_through_and_the_password_is_never_shown(
    tls_server: RealServer, start: Start, simulator: Callable[..., str], candlewick: Run, tmp_path: Path
) -> None:
    address = simulator("--speed", 120, "--start", BASE, "--updates", 1)
    secret = {"CANDLEWICK_BROKER_PASSWORD": PASSWORD}
    write_settings(tmp_path, address, GROUPS, broker={"url": tls_server.url})
    up = start("up", "--log-level", "DEBUG", **secret)
    wait_until(lambda: stored(tmp_path / "data") > 2, 60)
    family = [up.pid, *(child.pid for child in psutil.Process(up.pid).children(recursive=True))]
    assert not [pid for pid in family if PASSWORD in " ".join(psutil.Process(pid).cmdline())]
    shown = [
        candlewick(*command, **secret)
        for command in (
            ("status",),
            ("status", "--json"),
            ("settings",),
            ("health", "writer"),
            ("dead-letters", "list"),
            ("symbols", "list", "spot"),
            ("replay", "--into", "again"),
        )
    ]
    assert {one.returncode for one in shown} == {0}
    assert stored(tmp_path / "again") > 2
    up.send_signal(signal.SIGTERM)
    assert up.wait(20) == 0
    said = "".join(one.stdout + one.stderr for one in shown) + (tmp_path / "log").read_text()
    assert PASSWORD not in said
    for file in (path for path in (tmp_path / "data").rglob("*") if path.is_file()):
        assert PASSWORD.encode() not in file.read_bytes(), file


@pytest.mark.parametrize(
    ("password", "authority", "message"),
    [
        ("wrong", "ca.pem", "refuses the user or password"),
        (PASSWORD, "other-ca.pem", "certificate verify failed"),
        (PASSWORD, "no-such.pem", "No such file or directory"),
    ],
)
def test_a_broker_that_cannot_be_trusted_or_does_not_trust_us_is_one_line(
    tls_server: RealServer, candlewick: Run, password: str, authority: str, message: str
) -> None:
    url = tls_server.url.replace("ca.pem", authority)
    done = candlewick("dead-letters", "list", "--broker", url, CANDLEWICK_BROKER_PASSWORD=password)
    assert done.returncode == 2
    assert message in done.stderr
    assert done.stderr.count("\n") == 1
    assert PASSWORD not in done.stderr + done.stdout
    assert "wrong" not in done.stderr


def test_nothing_listens_beyond_this_host(start: Start, simulator: Callable[..., str], tmp_path: Path) -> None:
    address = simulator("--speed", 120, "--start", BASE, "--updates", 1)
    write_settings(tmp_path, address, GROUPS)
    up = start("up")
    wait_until(lambda: stored(tmp_path / "data") > 0, 60)
    family = {up.pid, *(child.pid for child in psutil.Process(up.pid).children(recursive=True))}
    family |= {one.pid for one in psutil.process_iter() if _lives_in(one, tmp_path)}
    listening = [one for one in psutil.net_connections("inet") if one.status == "LISTEN" and one.pid in family]
    assert [one.laddr.ip for one in listening if one.laddr] == ["127.0.0.1"], "the simulator alone"


def _lives_in(process: psutil.Process, folder: Path) -> bool:
    try:
        return Path(process.cwd()).is_relative_to(folder)
    except psutil.Error:
        return False


def test_the_embedded_broker_s_socket_is_for_its_user_alone(start: Start, tmp_path: Path) -> None:
    """Its port is none, and whoever can open the socket can read and write everything."""
    start("broker")
    path = embedded_socket(load_settings(flags={"data": {"folder": tmp_path / "data"}}))
    wait_until(path.is_socket)
    assert path.stat().st_mode & 0o077 == 0
