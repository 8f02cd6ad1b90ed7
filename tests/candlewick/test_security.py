"""What an attacker, or a curious neighbour, would try first: the network, the secrets, the way to the broker."""

import asyncio
import json
import re
import shutil
import signal
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
import redis
import trustme

from consumer.dataset.dataset import Dataset
from consumer.storage.layout import series_folder
from consumer.writer import Writer
from producers.live.share import Share
from producers.producer import Producer
from shared.broker.address import embedded_socket
from shared.broker.client import async_client
from shared.broker.keys import Keys
from shared.broker.rights import COMMANDS, OPTIONAL, access_rules
from shared.candle import Series
from shared.errors import BrokerError
from shared.interval import Interval
from shared.market import Market
from shared.settings.load import load_settings
from shared.settings.model import Settings
from tests.support.commands import Run, Start
from tests.support.pipeline import BASE, GROUPS, write_settings
from tests.support.servers import RealServer
from tests.support.waiting import wait_until
from tests.support.writing import candles, publish

ROOT = Path(__file__).parents[2]
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
    secret = {"CANDLEWICK_BROKER_PASSWORD": PASSWORD, "CANDLEWICK_EXCHANGE_PROXY": f"http://me:{PASSWORD}@127.0.0.1:1"}
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


def test_nothing_listens_beyond_this_host_and_files_are_for_whom_they_are_meant(
    start: Start, simulator: Callable[..., str], tmp_path: Path
) -> None:
    address = simulator("--speed", 120, "--start", BASE, "--updates", 1)
    write_settings(tmp_path, address, GROUPS)
    up = start("up", CANDLEWICK_DATA_FILE_UMASK="027")
    wait_until(lambda: stored(tmp_path / "data") > 0, 60)
    family = {up.pid, *(child.pid for child in psutil.Process(up.pid).children(recursive=True))}
    family |= {one.pid for one in psutil.process_iter() if _lives_in(one, tmp_path)}
    listening = [one for one in psutil.net_connections("inet") if one.status == "LISTEN" and one.pid in family]
    assert [one.laddr.ip for one in listening if one.laddr] == ["127.0.0.1"], "the simulator alone"
    for path in (tmp_path / "data").rglob("*"):
        forbidden = 0o077 if (tmp_path / "data" / "broker") in (path, *path.parents) else 0o007
        assert path.stat().st_mode & forbidden == 0, path


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


def user_with(server: RealServer, rules: str) -> str:
    """The URL of the server for a new user."""
    admin = redis.Redis.from_url(server.url)
    admin.execute_command("ACL", "SETUSER", "candlewick", "reset", "on", ">secret", *rules.split())  # type: ignore[no-untyped-call]
    admin.close()
    return server.url.replace("redis://", "redis://candlewick:secret@")


@pytest.mark.parametrize("kind", ["valkey", "redis"])
def test_a_user_with_exactly_the_listed_rights_can_do_everything(
    kind: str,
    make_server: Callable[..., RealServer],
    start: Start,
    simulator: Callable[..., str],
    candlewick: Run,
    tmp_path: Path,
) -> None:
    server = make_server(kind)
    url = user_with(server, access_rules("candlewick"))
    address = simulator("--speed", 120, "--start", BASE, "--updates", 1)
    write_settings(tmp_path, address, GROUPS[:1], broker={"url": url})
    admin = redis.Redis.from_url(server.url)
    for _ in range(3):
        admin.xadd("candlewick:candles:{spot}", {"no": "candle"})
    admin.hset("candlewick:stored:{spot}", mapping={"stored-at": "x", "FORMERUSDT@1m": 5, "asked": "y"})
    before = {name.removeprefix("cmdstat_") for name in admin.info("commandstats")}
    up = start("up")
    wait_until(lambda: stored(tmp_path / "data") > 3, 60)
    for line in ("status", "health writer", "symbols add spot ETHUSDT", "symbols list", "follow spot -n 1 --name me"):
        assert candlewick(*line.split()).returncode in (0, 1), line
    letters = json.loads(candlewick("dead-letters", "list", "--json").stdout)
    for command in ("requeue", "drop"):
        assert candlewick("dead-letters", command, "spot", letters.pop()["id"]).returncode == 0
    assert candlewick("replay", "--into", "again").returncode == 0
    up.terminate()
    assert up.wait(20) == 0, (tmp_path / "log").read_text()
    sent = {name.removeprefix("cmdstat_") for name in admin.info("commandstats")} - before
    assert sent - {*COMMANDS, *OPTIONAL} <= {"hello", "auth", "select", "client|setinfo"}
    refused = {entry["object"] for entry in admin.acl_log()}
    assert refused <= {"client|setinfo"}, "the library introduces itself where it may"
    admin.close()


@pytest.mark.parametrize("right", ["xack", "hmget", "set", "hincrby", "xautoclaim", "xreadgroup", "xinfo|groups"])
def test_a_right_that_a_writer_lacks_is_named(
    right: str, make_server: Callable[..., RealServer], make_settings: Callable[..., Settings]
) -> None:
    server = make_server()
    url = user_with(server, f"{access_rules('candlewick')} -{right}")
    admin = redis.Redis.from_url(server.url)
    publish(admin, Keys("candlewick"), candles(3))
    writer = Writer(make_settings(broker={"url": url, "prefix": "candlewick"}, writer={"flush_seconds": 0.05}))
    with pytest.raises(BrokerError, match=re.escape(f"'{right}'")):
        writer.run()
    admin.close()


@pytest.mark.parametrize("right", ["xadd", "hgetall", "hset", "xinfo|stream", "set", "info"])
async def test_a_right_that_a_producer_lacks_is_named(
    right: str,
    make_server: Callable[..., RealServer],
    make_settings: Callable[..., Settings],
    simulator: Callable[..., str],
) -> None:
    server = make_server()
    url = user_with(server, f"{access_rules('candlewick')} -{right}")
    settings = make_settings(
        broker={"url": url, "prefix": "candlewick"},
        exchange={"simulator": simulator("--speed", 60)},
        record=[{"market": "spot", "symbols": ["BTCUSDT"], "intervals": ["1m"]}],
    )
    client = async_client(settings)
    await client.hset("candlewick:stored:{spot}", "stored-at", "-") if right != "hset" else None
    producer = Producer(Market.SPOT, settings, Share(), client)
    try:
        with pytest.raises((BrokerError, redis.exceptions.NoPermissionError), match=re.escape(f"'{right}'")):
            async with asyncio.timeout(30):
                await producer.run(asyncio.Event())
    finally:
        await producer.close()


def test_the_documents_list_the_rights_that_the_code_needs() -> None:
    text = " ".join((ROOT / "docs" / "security.md").read_text().split())
    assert f"ACL SETUSER candlewick on >PASSWORD {access_rules('candlewick')} " in text
