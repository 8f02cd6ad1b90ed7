"""A broker that Sentinels watch: its address, and clients that go where the primary is."""

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis

from chaos.brokers.sentinels import Sentinels
from chaos.brokers.several import running
from shared.broker.address import broker_name
from shared.broker.client import async_client, sync_client
from shared.broker.hosts import HostsAddress
from shared.errors import SettingsError
from shared.settings.load import load_settings
from shared.settings.model import Settings
from tests.support.waiting import wait_until


@pytest.fixture
def sentinels(tmp_path: Path) -> Iterator[Sentinels]:
    with running(Sentinels, tmp_path / "sentinels") as sentinels:
        yield sentinels


def test_an_address_is_taken_apart() -> None:
    url = "sentinels://us%2Fer:p%40ss@one,[::1]:7000,three:26380/my-master/3?ssl_ca_certs=ca.pem&protocol=2"
    found = HostsAddress.parse(url, 26379)
    assert found.hosts == (("one", 26379), ("::1", 7000), ("three", 26380))
    assert (found.path, found.has_tls) == ("my-master/3", True)
    assert found.login == {"username": "us/er", "password": "p@ss"}
    assert found.options == {"ssl_ca_certs": "ca.pem"}


def test_a_name_of_it_for_people_has_no_password() -> None:
    settings = load_settings(flags={"broker": {"url": "sentinel://user:secret@one,two/my-master"}})
    assert broker_name(settings) == "sentinel://one,two/my-master"


@pytest.mark.parametrize(
    "url",
    [
        "sentinel://",
        "sentinel://one",
        "sentinel://one/",
        "sentinel:///name",
        "sentinel://one:x/name",
        "sentinel://one,/name",
        "sentinel://one/name/x",
        "sentinel://one/na me",
    ],
)
def test_an_address_that_is_none_says_what_one_is(url: str) -> None:
    with pytest.raises(SettingsError, match=r"sentinel://HOST\[:PORT\],HOST\[:PORT\]/NAME"):
        load_settings(flags={"broker": {"url": url}})


def test_what_the_address_leaves_out_of_user_and_password_the_settings_say(
    make_settings: Callable[..., Settings],
) -> None:
    url = "sentinel://somebody@one/my-master"
    client = sync_client(make_settings(broker={"url": url, "username": "nobody", "password": "secret"}))
    asked = client.connection_pool.connection_kwargs
    assert (asked["username"], asked["password"]) == ("somebody", "secret")
    client.close()


def answers(client: redis.Redis) -> bool:
    try:
        return bool(client.set("after", "the fail-over"))
    except redis.RedisError:
        return False


def test_clients_go_where_the_primary_is(sentinels: Sentinels, make_settings: Callable[..., Settings]) -> None:
    settings = make_settings(broker={"url": sentinels.url, "timeout_seconds": 2})
    client = sync_client(settings)
    client.set("before", "the fail-over")
    sentinels.primary.end()
    wait_until(lambda: answers(client), 60)
    assert client.get("before") == b"the fail-over"
    client.close()

    async def asked() -> object:
        other = async_client(settings)
        try:
            return await other.get("after")
        finally:
            await other.aclose()

    assert asyncio.run(asked()) == b"the fail-over"


def test_sentinels_that_are_away_are_a_broker_that_is_away(
    make_settings: Callable[..., Settings], refused_port: int
) -> None:
    client = sync_client(make_settings(broker={"url": f"sentinel://127.0.0.1:{refused_port}/candles"}))
    with pytest.raises(redis.ConnectionError, match="No master found for 'candles'"):
        client.ping()
    client.close()
