"""A broker that is a Redis Cluster: its address, and clients that go where a key is."""

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import redis
from redis.exceptions import MovedError

from chaos.brokers.cluster import Cluster
from chaos.brokers.several import running
from shared.broker.client import async_client, check_server, server_info, sync_client
from shared.broker.keys import TAGS, Keys
from shared.errors import BrokerError, SettingsError
from shared.market import Market
from shared.settings.load import load_settings
from shared.settings.model import Settings
from tests.support.waiting import wait_until


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    with running(Cluster, tmp_path / "cluster") as cluster:
        yield cluster


@pytest.mark.parametrize(
    "url", ["cluster://", "cluster://one:x", "cluster://one,", "cluster://one/1", "cluster://one/name"]
)
def test_an_address_that_is_none_says_what_one_is(url: str) -> None:
    with pytest.raises(SettingsError, match=r"cluster://HOST\[:PORT\],HOST\[:PORT\], some of its nodes"):
        load_settings(flags={"broker": {"url": url}})


def test_every_key_has_one_of_the_tags() -> None:
    keys, market = Keys("any"), Market.SPOT
    of_a_market = (
        keys.candles,
        keys.dead_letters,
        keys.checkpoints,
        keys.stored,
        keys.symbols,
        keys.members,
        keys.sources,
    )
    found = [name(market) for name in of_a_market] + [keys.follower(market, "x")]
    assert all("{spot}" in key for key in found)
    assert all("{all}" in key for key in (keys.weight("spot", "a"), keys.crash_count("x"), keys.heartbeat("x", "y")))
    assert set(TAGS) == {"spot", "usdt_futures", "coin_futures", "all"}


def test_commands_and_pipelines_go_where_their_keys_are_and_none_over_two_markets(
    cluster: Cluster, make_settings: Callable[..., Settings]
) -> None:
    settings = make_settings(broker={"url": cluster.url, "prefix": "any"})
    keys, client = Keys("any"), sync_client(settings)
    names = {market: keys.candles(market) for market in Market} | {"all": keys.heartbeat("writer", "one")}
    for market, key in names.items():
        client.set(key, market)
    for market, key in names.items():
        assert client.get(key) == market.encode()
        with cluster.owner(key).client() as direct:
            assert direct.get(key) == market.encode()
            assert server_info(client, key)["tcp_port"] == cluster.owner(key).port
    assert [*client.scan_iter(match="any:heartbeat:*")] == [names["all"].encode()]
    pipeline: Any
    for transaction in (True, False):
        pipeline = client.pipeline(transaction=transaction)
        assert pipeline.info().get(names[Market.SPOT]).execute()[1] == b"spot"
    pipeline = client.pipeline(transaction=True)
    with pipeline as watching:
        watching.watch(names[Market.SPOT])
        watching.multi()
        watching.set(names[Market.SPOT], "changed")
        client.set(names[Market.SPOT], "meanwhile")
        with pytest.raises(redis.WatchError):
            watching.execute()
    pipeline = client.pipeline().get(names[Market.SPOT])
    with pytest.raises(ValueError, match="a pipeline over keys of spot and coin_futures"):
        pipeline.get(names[Market.COIN_FUTURES])
    client.close()

    async def asked() -> list[Any]:
        other = async_client(settings)
        try:
            pipeline: Any = other.pipeline(transaction=True)
            found = [await other.get(key) for key in names.values()]
            return [*found, (await pipeline.info().get(names["all"]).execute())[1]]
        finally:
            await other.aclose()

    assert asyncio.run(asked()) == [b"meanwhile", b"usdt_futures", b"coin_futures", b"all", b"all"]
    with (
        pytest.raises(BrokerError, match="write cluster:// and some of its nodes"),
        cluster.servers[0].client() as node,
    ):
        check_server(node.info(), "redis://one")


def answers(client: redis.Redis, key: str) -> bool:
    try:
        return bool(client.set(key, "after"))
    except redis.ConnectionError:  # and nothing else: to whoever calls, it is away
        return False


def test_clients_go_where_the_primary_is_and_a_node_that_answers_is_enough(
    cluster: Cluster, make_settings: Callable[..., Settings]
) -> None:
    key = Keys("any").candles(Market.SPOT)
    client = sync_client(make_settings(broker={"url": cluster.url, "prefix": "any", "timeout_seconds": 2}))
    client.set(key, "before")
    killed = cluster.owner(key)
    killed.end()
    wait_until(lambda: answers(client, key), 60)
    assert cluster.owner(key) is not killed
    killed.start_and_wait()
    cluster.await_whole()
    with killed.client() as direct, pytest.raises(MovedError):
        direct.get(key)
    with killed.client() as direct:
        direct.execute_command("CLUSTER FAILOVER")
    wait_until(lambda: cluster.owner(key) is killed, 60)
    wait_until(lambda: answers(client, key), 60)
    client.close()


def test_a_cluster_that_is_away_and_a_server_that_is_none(
    make_settings: Callable[..., Settings], refused_port: int, valkey_url: str
) -> None:
    client = sync_client(make_settings(broker={"url": f"cluster://127.0.0.1:{refused_port}"}))
    with pytest.raises(redis.ConnectionError, match="no node of the cluster answers"):
        client.ping()
    client.close()
    host = urlsplit(valkey_url).netloc
    single = sync_client(make_settings(broker={"url": f"cluster://{host}"}))
    with pytest.raises(BrokerError, match="use redis:// in place of cluster://"):
        single.ping()
    single.close()
