"""A simulated exchange in the test's own process, and clients of its two sides."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from simulator.faults.model import Faults
from simulator.server.simulator import Simulator, SimulatorOptions
from tests.support.candles import JUNE_30


def exchange(faults: dict[str, float] | None = None, **options: Any) -> Simulator:
    return Simulator(
        SimulatorOptions(**{"start_ms": JUNE_30 + 1000, "speed": 30.0} | options, faults=Faults(**(faults or {})))
    )


def socket_address(simulator: Simulator, path: str) -> str:
    return f"ws{simulator.address.removeprefix('http')}{path}"


async def ask(socket: ClientConnection, message: object) -> Any:
    """Send a control message and wait for its answer, past whatever else comes."""
    await socket.send(json.dumps(message, ensure_ascii=False))
    async with asyncio.timeout(10):
        while True:
            answer = json.loads(await socket.recv())
            if "id" in answer:
                return answer


async def until_closed(socket: ClientConnection) -> tuple[list[Any], int]:
    """What a connection still sends, and the code it closes with; 1006 without a closing handshake."""
    got = []
    async with asyncio.timeout(20):
        try:
            while True:
                got.append(json.loads(await socket.recv()))
        except ConnectionClosed as closed:
            return got, closed.rcvd.code if closed.rcvd else 1006


@asynccontextmanager
async def rest(simulator: Simulator) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=simulator.address, trust_env=False) as client:
        yield client


async def klines(client: httpx.AsyncClient, path: str = "/spot/api/v3", **query: Any) -> Any:
    return (await client.get(f"{path}/klines", params={"symbol": "BTCUSDT", "interval": "1m"} | query)).json()


async def until(condition: Callable[[], bool]) -> None:
    """Let the exchange run until a condition holds."""
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.002)
