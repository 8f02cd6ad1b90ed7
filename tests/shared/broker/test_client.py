"""What a broker must be, and how it is named."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from redis.exceptions import ReadOnlyError

from shared.broker.address import broker_name, broker_url, embedded_socket
from shared.broker.client import check_server, fatal_answer, sync_client
from shared.broker.keys import Keys
from shared.errors import BrokerError
from shared.market import Market
from shared.settings.load import load_settings


def test_each_market_has_a_stream_and_stays_in_one_cluster_slot() -> None:
    keys = Keys("candlewick")
    assert keys.candles(Market.SPOT) == "candlewick:candles:{spot}"
    assert keys.dead_letters(Market.SPOT) == "candlewick:dead-letters:{spot}"


@pytest.mark.parametrize(
    ("info", "message"),
    [
        ({"maxmemory_policy": "allkeys-lru"}, "maxmemory-policy allkeys-lru .* set `maxmemory-policy noeviction`"),
        ({"redis_version": "6.2.14"}, "version 6.2.14: Redis 7.0 or Valkey 8 is the oldest"),
        ({"role": "slave"}, "read-only replica"),
    ],
)
def test_a_server_that_would_lose_candles_is_refused(info: dict[str, object], message: str) -> None:
    with pytest.raises(BrokerError, match=message):
        check_server(info, "redis://x")


@pytest.mark.parametrize("kind", ["valkey", "redis"])
def test_the_servers_that_we_name_are_accepted(make_server: Callable[..., Any], kind: str) -> None:
    server = make_server(kind)
    settings = load_settings(flags={"broker": {"url": server.url}})
    client = sync_client(settings)
    check_server(client.info(), broker_name(settings))
    client.close()


def test_a_wrong_password_is_fatal_and_not_shown(make_server: Callable[..., Any]) -> None:
    server = make_server("valkey", requirepass="right")
    settings = load_settings(flags={"broker": {"url": server.url, "password": "wrong"}})
    client = sync_client(settings)
    with pytest.raises(Exception) as caught:  # noqa: PT011 # which one is redis-py's affair
        client.ping()
    client.close()
    fatal = fatal_answer(caught.value, settings)
    assert fatal is not None
    assert "refuses the user or password" in str(fatal)
    assert "wrong'" not in str(fatal)


def test_a_name_for_people_has_no_secret_in_it() -> None:
    settings = load_settings(flags={"broker": {"url": "rediss://user:hunter2@example.org:6380/1?ssl_ca_certs=x"}})
    assert broker_name(settings) == "rediss://example.org:6380/1"


def test_valkey_addresses_are_redis_addresses() -> None:
    assert broker_url(load_settings(flags={"broker": {"url": "valkeys://h:1"}})) == "rediss://h:1"


@pytest.mark.parametrize("options", ["", "?db=1"])
def test_a_socket_s_address_stays_one(options: str) -> None:
    settings = load_settings(flags={"broker": {"url": f"unix:///run/valkey.sock{options}"}})
    assert broker_url(settings) == f"unix:///run/valkey.sock{options}"
    sync_client(settings).close()


def test_the_embedded_socket_lies_with_its_data_unless_the_path_is_too_long(tmp_path: Path) -> None:
    short = load_settings(flags={"data": {"folder": "/srv/d"}})
    assert embedded_socket(short) == Path("/srv/d/broker/valkey.sock")
    long = load_settings(flags={"data": {"folder": tmp_path / ("x" * 120)}})
    assert len(bytes(embedded_socket(long))) < 100
    other = load_settings(flags={"data": {"folder": tmp_path / ("y" * 120)}})
    assert embedded_socket(long) != embedded_socket(other)


@pytest.mark.parametrize("name", ["sentinel://one/candles", "cluster://one"])
def test_a_replica_where_the_address_leads_to_a_primary_in_the_end_is_a_broker_that_is_away(name: str) -> None:
    with pytest.raises(ReadOnlyError):
        check_server({"role": "slave", "cluster_enabled": name.startswith("cluster")}, name)
