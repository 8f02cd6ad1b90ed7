"""Fixtures of these tests."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from producers.exchange.rest import RestClient
from producers.exchange.weight import WeightBudget
from shared.market import Market
from shared.settings.sections import ExchangeSettings
from tests.support.candles import BTC
from tests.support.rest import Server


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    server, app = Server(), web.Application()
    app.router.add_get("/{path:.*}", server.handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    server.address = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield server
    await runner.cleanup()


@pytest.fixture
def client(server: Server, tmp_path: Path) -> Callable[..., Any]:
    """A client of one market, as one process has it."""

    @asynccontextmanager
    async def make(market: Market = BTC.market, **settings: Any) -> AsyncIterator[RestClient]:
        values = {"simulator": server.address, "weight_folder": str(tmp_path), "rest_timeout_seconds": 5.0} | settings
        exchange = ExchangeSettings(**values)
        client = RestClient(market, exchange, WeightBudget(market, exchange))
        try:
            yield client
        finally:
            await client.close()

    return make
