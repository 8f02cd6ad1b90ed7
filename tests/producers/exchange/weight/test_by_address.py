"""One budget for all hosts behind one address, in a real broker."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from producers.exchange.weight import WeightBudget
from producers.exchange.weight_by_address import weight_budget
from shared.broker.keys import Keys
from shared.errors import PoolClosedError
from shared.settings.load import load_settings
from shared.settings.model import Settings
from tests.support.servers import RealServer
from tests.support.weight import COIN, LIMIT, SPOT, USDT


@pytest.fixture
def host(tmp_path: Path, make_settings: Callable[..., Settings]) -> Callable[..., Any]:
    """The budget of a process on a host of its own, with each call."""
    hosts = iter(range(100))

    @asynccontextmanager
    async def make(market: Any = USDT, *, patient: bool = False, **exchange: Any) -> AsyncIterator[WeightBudget]:
        folder = tmp_path / f"host-{next(hosts)}"
        settings = make_settings(exchange={"weight_folder": str(folder), "address": "office"} | exchange)
        budget = weight_budget(market, settings, patient=patient)
        yield budget
        await budget.release()

    return make


async def spent(budget: WeightBudget, weight: int = 10) -> int:
    """How much weight it lets go without any wait."""
    total = 0
    while await budget._try(weight) == 0:
        total += weight
    return total


async def test_hosts_behind_one_address_share_what_one_would_have_alone(host: Any) -> None:
    async with host() as one, host() as other, host(address="elsewhere") as apart, host(SPOT) as spot:
        share = LIMIT * 0.5 / 6
        assert await spent(one) == pytest.approx(share, abs=60), "what leaks meanwhile goes too"
        assert await other._try(100) > 0
        assert await apart._try(100) == 0
        assert await spot._try(100) == 0


async def test_those_without_an_address_share_nothing_in_the_broker(host: Any, client: Any, keys: Keys) -> None:
    async with host(address="") as budget:
        assert await budget._try(10) == 0
    assert not client.exists(keys.weight("futures", ""))


async def test_many_at_once_are_all_counted(host: Any, client: Any, keys: Keys) -> None:
    async with host() as one, host(COIN) as other:
        await asyncio.gather(*(each.acquire(1) for each in (one, other) for _ in range(20)))
        assert (await one.report()).limit == LIMIT
    assert b'"level"' in client.get(keys.weight("futures", "office"))
    assert client.ttl(keys.weight("futures", "office")) > 86_400


async def test_a_ban_is_everybodys_and_is_remembered_while_the_broker_is_away(
    tmp_path: Path, make_server: Callable[..., RealServer], caplog: pytest.LogCaptureFixture
) -> None:
    server = make_server()

    def budget(name: str) -> WeightBudget:
        exchange = {"weight_folder": str(tmp_path / name), "address": "office"}
        return weight_budget(USDT, load_settings(flags={"broker": {"url": server.url}, "exchange": exchange}))

    one, other = budget("one"), budget("other")
    await one.close(600, 418)
    with pytest.raises(PoolClosedError):
        await other.acquire(1)
    report = await other.report()
    assert report.status == 418
    assert 590 < report.closed_seconds <= 600
    server.kill()
    with caplog.at_level(logging.WARNING), pytest.raises(PoolClosedError):
        await other.acquire(1)
    assert "weight is not shared with the hosts behind office for now" in caplog.text
    await one.release()
    await other.release()


@pytest.mark.parametrize("value", ["", "{", "null", '{"level": "much"}', '{"at": 1e300}'])
async def test_what_is_no_state_is_begun_anew(host: Any, client: Any, keys: Keys, value: str) -> None:
    client.set(keys.weight("futures", "office"), value)
    async with host() as budget:
        assert await budget._try(10) == 0
        assert await budget._try(LIMIT) > 0
