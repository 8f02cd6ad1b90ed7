"""Sentinels and a cluster that speak TLS alone and ask for a user and a password."""

import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis
import trustme

from shared.broker.client import async_client, sync_client
from shared.broker.keys import Keys
from shared.broker.rights import CLUSTER, access_rules
from shared.market import Market
from shared.settings.model import Settings
from tests.support.ports import free_ports
from tests.support.servers import RealServer
from tests.support.waiting import wait_until

PASSWORD = "correct-horse-battery-staple"
KEY = Keys("any").candles(Market.SPOT)


class Secured:
    """Options of a server, and of an address that leads to it."""

    def __init__(self, folder: Path) -> None:
        authority = trustme.CA()
        authority.cert_pem.write_to_path(str(folder / "ca.pem"))
        authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(str(folder / "server.pem"))
        self.tls = {
            "tls-cert-file": str(folder / "server.pem"),
            "tls-key-file": str(folder / "server.pem"),
            "tls-ca-cert-file": str(folder / "ca.pem"),
            "tls-auth-clients": "no",
            "tls-replication": "yes",
        }
        self.options = f"ssl_ca_certs={folder / 'ca.pem'}"

    def server(self, folder: Path, **options: str) -> RealServer:
        """A Redis that listens with TLS on ``port``, to ``admin``, and to ``one`` with Candlewick's rights alone."""
        folder.mkdir()
        acl = folder / "users.acl"
        acl.write_text(
            f"user default off\nuser admin on >{PASSWORD} ~* &* +@all\n"
            f"user one on >{PASSWORD} {access_rules('any')} +{' +'.join(CLUSTER)}\n"
        )
        server = RealServer([str(shutil.which("redis-server"))], folder, self.tls | {"aclfile": str(acl)} | options)
        server.port = int(options["tls-port"])
        server.url = f"rediss://admin:{PASSWORD}@127.0.0.1:{server.port}/0?{self.options}"
        server.start()
        return server


@pytest.fixture
def secured(tmp_path: Path) -> Secured:
    if shutil.which("redis-server") is None:
        pytest.skip("redis-server is not installed, and the embedded Valkey speaks no TLS")
    return Secured(tmp_path)


@pytest.fixture
def cluster_url(secured: Secured, tmp_path: Path) -> Iterator[str]:
    """A cluster of one node."""
    port = free_ports(2)
    options = {"port": "0", "tls-port": f"{port}", "cluster-port": f"{port + 1}", "tls-cluster": "yes"}
    server = secured.server(tmp_path / "node", **options, **{"cluster-enabled": "yes"})
    with redis.Redis.from_url(server.url) as client:
        client.execute_command("CLUSTER ADDSLOTSRANGE", 0, 16383)
    yield f"clusters://one@127.0.0.1:{port}?{secured.options}"
    server.kill()


@pytest.fixture
def sentinel_url(secured: Secured, tmp_path: Path) -> Iterator[str]:
    """A primary, and one Sentinel that watches it."""
    port = free_ports(2)
    server = secured.server(tmp_path / "server", **{"port": "0", "tls-port": f"{port}"})
    config = tmp_path / "sentinel.conf"
    lines = [f"{name} {value}" for name, value in secured.tls.items()]
    watched = [
        f"sentinel monitor candles 127.0.0.1 {port} 1",
        "sentinel auth-user candles admin",
        f"sentinel auth-pass candles {PASSWORD}",
        "user default off",
        f"user watcher on >{PASSWORD} ~* &* +@all",
    ]
    config.write_text("\n".join(["port 0", f"tls-port {port + 1}", f"dir {tmp_path}", *lines, *watched]) + "\n")
    command = [str(shutil.which("redis-server")), str(config), "--sentinel"]
    sentinel = subprocess.Popen(command, stdout=subprocess.DEVNULL, stdin=subprocess.DEVNULL)
    yield f"sentinels://one@127.0.0.1:{port + 1}/candles?{secured.options}"
    sentinel.kill()
    sentinel.wait()
    server.kill()


@pytest.mark.parametrize("kind", ["cluster", "sentinel"])
async def test_both_clients_come_through(
    kind: str, request: pytest.FixtureRequest, make_settings: Callable[..., Settings]
) -> None:
    url = request.getfixturevalue(f"{kind}_url")
    login = {"password": PASSWORD, "sentinel_username": "watcher", "sentinel_password": PASSWORD}
    settings = make_settings(broker={"url": url, "prefix": "any"} | login)
    client = sync_client(settings)

    def answers() -> bool:
        try:
            return bool(client.set(KEY, "a candle"))
        except redis.ConnectionError:
            return False

    wait_until(answers)  # a Sentinel looks for its primary at first, and a node for its cluster
    client.close()
    other = async_client(settings)
    assert await other.get(KEY) == b"a candle"
    await other.aclose()


async def test_a_wrong_password_is_no_broker_that_is_away(
    cluster_url: str, make_settings: Callable[..., Settings]
) -> None:
    client = sync_client(make_settings(broker={"url": cluster_url, "prefix": "any", "password": "wrong"}))
    with pytest.raises(redis.AuthenticationError):
        client.get(KEY)
    client.close()
