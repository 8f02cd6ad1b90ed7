"""python-binance's multiplex socket, by its public address; ``recv`` hands over every decoded message."""

from importlib.metadata import version

from binance import AsyncClient, BinanceSocketManager

from bench.peers.feed import CHANNELS
from bench.peers.stopwatch import Stopwatch, timed


async def receive(address: str, watch: Stopwatch) -> None:
    """Receive until enough was seen. Its queue's bound is lifted: at it the socket gives up."""
    client = AsyncClient()
    manager = BinanceSocketManager(client, max_queue_size=10**6)
    manager.STREAM_URL = f"{address}/"
    async with manager.multiplex_socket(CHANNELS) as stream:
        while not watch.done.is_set():
            message = await stream.recv()
            assert message["data"]["e"] == "kline", message  # noqa: S101 # and no error that it tells of
            watch.see()
    await client.close_connection()


if __name__ == "__main__":
    timed(receive, version("python-binance"))
